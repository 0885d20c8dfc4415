//! Who may set the appliance up: whoever reads its console. A token stands there, is good once, and
//! opens a session.

use std::sync::{Mutex, PoisonError};

use crate::random;

/// Without look-alikes, as in install codes.
const ALPHABET: &[u8; 30] = b"ABCDEFGHJKMNPQRSTVWXYZ23456789";

/// How many browsers are remembered.
const BROWSERS: usize = 16;

/// An open session.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Session {
    id: String,
    /// Stands in every form: what another site sends does not have it.
    pub(crate) csrf: String,
}

struct State {
    token: String,
    open: Vec<Session>,
}

/// The token, and the sessions that it opened.
pub(crate) struct Sessions {
    state: Mutex<State>,
    /// Tells whoever is at the console.
    tell: Box<dyn Fn(&str) + Send + Sync>,
}

fn draw_token() -> anyhow::Result<String> {
    // Of 256 values the last 16 would favour some letters.
    let bytes = random::<64>()?;
    let letters = bytes
        .iter()
        .filter(|&&byte| byte < 240)
        .map(|&byte| char::from(ALPHABET[usize::from(byte) % 30]));
    let letters: Vec<char> = letters.take(12).collect();
    let groups: Vec<String> = letters.chunks(4).map(|group| group.iter().collect()).collect();
    Ok(groups.join("-"))
}

fn draw_id() -> anyhow::Result<String> {
    Ok(uuid::Uuid::from_bytes(random()?).simple().to_string())
}

fn plain(token: &str) -> String {
    token.chars().filter(char::is_ascii_alphanumeric).map(|it| it.to_ascii_uppercase()).collect()
}

/// Compares without telling by its time how much was right.
fn is_same(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left.bytes().zip(right.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

impl Sessions {
    /// Draws the first token, and tells it.
    pub(crate) fn new(tell: impl Fn(&str) + Send + Sync + 'static) -> anyhow::Result<Self> {
        let token = draw_token()?;
        tell(&token);
        Ok(Self { state: Mutex::new(State { token, open: Vec::new() }), tell: Box::new(tell) })
    }

    /// Opens a session for the token; the next one takes another. `None` where the token is wrong.
    pub(crate) fn open(&self, token: &str) -> anyhow::Result<Option<String>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Of 30^12 nobody guesses one; whoever tries must not be able to take it from the
        // operator's hands.
        if !is_same(&plain(token), &plain(&state.token)) {
            return Ok(None);
        }
        state.token = draw_token()?;
        (self.tell)(&state.token);
        let session = Session { id: draw_id()?, csrf: draw_id()? };
        let id = session.id.clone();
        let forgotten = (state.open.len() + 1).saturating_sub(BROWSERS);
        state.open.drain(..forgotten);
        state.open.push(session);
        Ok(Some(id))
    }

    /// The session with this id.
    pub(crate) fn find(&self, id: &str) -> Option<Session> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open.iter().find(|session| is_same(&session.id, id)).cloned()
    }
}

impl Session {
    pub(crate) fn has(&self, csrf: &str) -> bool {
        is_same(&self.csrf, csrf)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn told() -> (Sessions, Arc<Mutex<Vec<String>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let kept = told.clone();
        (Sessions::new(move |token| kept.lock().unwrap().push(token.to_owned())).unwrap(), told)
    }

    #[test]
    fn a_token_opens_one_session_as_people_type_it() {
        let (sessions, told) = told();
        let token = told.lock().unwrap()[0].clone();
        assert_eq!((token.len(), token.matches('-').count()), (14, 2));
        let id = sessions.open(&token.to_lowercase().replace('-', " ")).unwrap().unwrap();
        let session = sessions.find(&id).unwrap();
        assert!(session.has(&session.csrf) && !session.has("") && !session.has(&id));
        assert!(sessions.find("").is_none() && sessions.find(&session.csrf).is_none());
        assert!(sessions.open(&token).unwrap().is_none(), "it is good once");
        let next = told.lock().unwrap()[1].clone();
        assert_ne!(next, token);
        assert!(sessions.open(&next).unwrap().is_some(), "another browser takes the next");
    }

    #[test]
    fn wrong_tokens_take_nothing_from_whoever_reads_the_console() {
        let (sessions, told) = told();
        for wrong in ["AAAA-AAAA-AAAA", "", "-", "ü", &"A".repeat(100_000)] {
            assert!(sessions.open(wrong).unwrap().is_none());
        }
        let token = told.lock().unwrap().last().unwrap().clone();
        assert!(sessions.open(&token).unwrap().is_some());
        assert_eq!(told.lock().unwrap().len(), 2);
    }

    #[test]
    fn only_so_many_browsers_are_remembered() {
        let (sessions, told) = told();
        let open = || {
            let token = told.lock().unwrap().last().unwrap().clone();
            sessions.open(&token).unwrap().unwrap()
        };
        let first = open();
        let last = std::iter::repeat_with(open).nth(15).unwrap();
        assert!(sessions.find(&first).is_none() && sessions.find(&last).is_some());
    }
}
