//! Access to the page: anyone who can read the appliance's screen may set it up. The screen shows a
//! token that can be used once and opens a session.

use std::sync::{Mutex, PoisonError};

use crate::random;

/// Letters and digits of a token, without look-alikes, as in install codes.
const ALPHABET: &[u8; 30] = b"ABCDEFGHJKMNPQRSTVWXYZ23456789";

/// Maximum number of open sessions; the oldest is closed for a new one.
const MAX_SESSIONS: usize = 16;

/// An open session.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Session {
    id: String,
    /// Secret in every form of the page, which a forged request of another site lacks.
    pub(crate) csrf: String,
}

struct State {
    token: String,
    sessions: Vec<Session>,
}

/// The current token, and the open sessions.
pub(crate) struct Sessions {
    state: Mutex<State>,
    /// Shows a new token on the machine's screen.
    show_token: Box<dyn Fn(&str) + Send + Sync>,
}

fn draw_token() -> anyhow::Result<String> {
    // The last 16 of 256 values are skipped, because they would favour some letters.
    let bytes = random::<64>()?;
    let letters = bytes
        .iter()
        .filter(|&&byte| byte < 240)
        .map(|&byte| char::from(ALPHABET[usize::from(byte) % 30]));
    let letters: Vec<char> = letters.take(12).collect();
    let groups: Vec<String> = letters.chunks(4).map(|group| group.iter().collect()).collect();
    Ok(groups.join("-"))
}

fn new_id() -> anyhow::Result<String> {
    Ok(uuid::Uuid::from_bytes(random()?).simple().to_string())
}

fn normalize(token: &str) -> String {
    token.chars().filter(char::is_ascii_alphanumeric).map(|it| it.to_ascii_uppercase()).collect()
}

/// Compares in constant time.
fn is_same(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left.bytes().zip(right.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

impl Sessions {
    /// Draws the first token, and shows it with `show_token`.
    pub(crate) fn new(show_token: impl Fn(&str) + Send + Sync + 'static) -> anyhow::Result<Self> {
        let token = draw_token()?;
        show_token(&token);
        let state = Mutex::new(State { token, sessions: Vec::new() });
        Ok(Self { state, show_token: Box::new(show_token) })
    }

    /// Opens a session with the token, and replaces the token. Returns the session's id, or `None`
    /// if the token is wrong.
    pub(crate) fn open(&self, token: &str) -> anyhow::Result<Option<String>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A wrong attempt does not replace the token, or anyone could lock the installer out.
        // With 30^12 tokens, guessing is hopeless.
        if !is_same(&normalize(token), &normalize(&state.token)) {
            return Ok(None);
        }
        state.token = draw_token()?;
        (self.show_token)(&state.token);
        let session = Session { id: new_id()?, csrf: new_id()? };
        let id = session.id.clone();
        let closed = (state.sessions.len() + 1).saturating_sub(MAX_SESSIONS);
        state.sessions.drain(..closed);
        state.sessions.push(session);
        Ok(Some(id))
    }

    /// Returns the session with this id.
    pub(crate) fn find(&self, id: &str) -> Option<Session> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sessions.iter().find(|session| is_same(&session.id, id)).cloned()
    }
}

impl Session {
    pub(crate) fn has_csrf(&self, csrf: &str) -> bool {
        is_same(&self.csrf, csrf)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Returns sessions, and the tokens that they show.
    fn sessions() -> (Sessions, Arc<Mutex<Vec<String>>>) {
        let tokens = Arc::new(Mutex::new(Vec::new()));
        let shown = tokens.clone();
        let show = move |token: &str| shown.lock().unwrap().push(token.to_owned());
        (Sessions::new(show).unwrap(), tokens)
    }

    #[test]
    fn token_opens_one_session() {
        let (sessions, tokens) = sessions();
        let token = tokens.lock().unwrap()[0].clone();
        assert_eq!((token.len(), token.matches('-').count()), (14, 2));
        let id = sessions.open(&token.to_lowercase().replace('-', " ")).unwrap().unwrap();
        let session = sessions.find(&id).unwrap();
        assert!(session.has_csrf(&session.csrf));
        assert!(!session.has_csrf("") && !session.has_csrf(&id));
        assert!(sessions.find("").is_none() && sessions.find(&session.csrf).is_none());
        assert!(sessions.open(&token).unwrap().is_none(), "a token can be used once");
        let next = tokens.lock().unwrap()[1].clone();
        assert_ne!(next, token);
        assert!(sessions.open(&next).unwrap().is_some(), "the next browser uses the next token");
    }

    #[test]
    fn wrong_tokens_change_nothing() {
        let (sessions, tokens) = sessions();
        for wrong in ["AAAA-AAAA-AAAA", "", "-", "ü", &"A".repeat(100_000)] {
            assert!(sessions.open(wrong).unwrap().is_none());
        }
        let token = tokens.lock().unwrap().last().unwrap().clone();
        assert!(sessions.open(&token).unwrap().is_some());
        assert_eq!(tokens.lock().unwrap().len(), 2);
    }

    #[test]
    fn oldest_session_is_closed() {
        let (sessions, tokens) = sessions();
        let open = || {
            let token = tokens.lock().unwrap().last().unwrap().clone();
            sessions.open(&token).unwrap().unwrap()
        };
        let first = open();
        let last = std::iter::repeat_with(open).nth(15).unwrap();
        assert!(sessions.find(&first).is_none() && sessions.find(&last).is_some());
    }
}
