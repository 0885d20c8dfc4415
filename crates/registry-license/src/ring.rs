//! The ring: which keys there are, which one signs, which ones are published. What becomes of them
//! is decided here, on values; files are others' business.

use chrono::TimeDelta;
use registry_core::clock::Timestamp;
use registry_core::license::{LicenseClaims, LicenseSigner, PublicKey, SignError};
use registry_core::offline::OfflineAnswer;
use registry_core::secret::{AnswerToken, LicenseToken};
use serde::{Deserialize, Serialize};

use crate::signer::Signer;

/// How long a key has to be published before it signs: every appliance that checks in daily has
/// seen it by then.
pub const PUBLISHED_BEFORE: TimeDelta = TimeDelta::hours(48);

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published, and not signing yet.
    Standby,
    /// Signing.
    Active,
    /// Published until the last license that it signed has ended.
    Retired,
}

/// A key as the plan names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    /// Its `kid`.
    pub kid: String,
    /// The file of its private half, in the folder of the plan.
    pub file: String,
    /// Where it is in its life.
    pub state: KeyState,
    /// Since when it is published.
    pub published_at: Timestamp,
    /// Since when it does not sign any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<Timestamp>,
}

/// Which keys there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingPlan {
    /// The keys, oldest first.
    pub keys: Vec<KeyEntry>,
}

/// Why a ring is not changed, or not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// There is no such key.
    #[error("there is no key `{0}`")]
    Unknown(String),
    /// The key was not published for long enough.
    #[error(
        "key `{kid}` is published since {since} only: appliances that have not checked in since do not know it. Wait until \
         {until}, or say --force"
    )]
    TooFresh {
        /// The key.
        kid: String,
        /// Since when it is published.
        since: String,
        /// When it may sign.
        until: String,
    },
    /// A key that signs cannot be taken away.
    #[error("key `{0}` is the active one: activate another first")]
    Active(String),
    /// A retired key does not come back.
    #[error("key `{0}` is retired")]
    Retired(String),
    /// Exactly one key signs.
    #[error("{0} keys are active, and exactly one has to be")]
    NotOneActive(usize),
    /// Two keys have one `kid`.
    #[error("two keys have the kid `{0}`")]
    Twice(String),
}

impl RingPlan {
    /// A ring of one key, which signs.
    #[must_use]
    pub fn of_one(kid: String, file: String, now: Timestamp) -> Self {
        let state = KeyState::Active;
        Self { keys: vec![KeyEntry { kid, file, state, published_at: now, retired_at: None }] }
    }

    /// Publishes a key.
    pub fn publish(&mut self, kid: String, file: String, now: Timestamp) -> Result<(), RingError> {
        if self.keys.iter().any(|key| key.kid == kid) {
            return Err(RingError::Twice(kid));
        }
        self.keys.push(KeyEntry {
            kid,
            file,
            state: KeyState::Standby,
            published_at: now,
            retired_at: None,
        });
        Ok(())
    }

    /// Has a published key sign from now on; the one that did is retired.
    pub fn activate(&mut self, kid: &str, now: Timestamp, force: bool) -> Result<(), RingError> {
        let key = self.find(kid)?;
        let until = key.published_at + PUBLISHED_BEFORE;
        match key.state {
            KeyState::Active => return Ok(()),
            KeyState::Retired => return Err(RingError::Retired(kid.to_owned())),
            KeyState::Standby if now < until && !force => {
                let (since, until) = (key.published_at.to_rfc3339(), until.to_rfc3339());
                return Err(RingError::TooFresh { kid: kid.to_owned(), since, until });
            }
            KeyState::Standby => {}
        }
        for key in &mut self.keys {
            if key.kid == kid {
                key.state = KeyState::Active;
            } else if key.state == KeyState::Active {
                (key.state, key.retired_at) = (KeyState::Retired, Some(now));
            }
        }
        Ok(())
    }

    /// Takes a key away that never signed, or has not for a while.
    pub fn retire(&mut self, kid: &str, now: Timestamp) -> Result<(), RingError> {
        if self.find(kid)?.state == KeyState::Active {
            return Err(RingError::Active(kid.to_owned()));
        }
        for key in self.keys.iter_mut().filter(|key| key.kid == kid) {
            key.state = KeyState::Retired;
            key.retired_at.get_or_insert(now);
        }
        Ok(())
    }

    /// The keys that still verify something at `now`, where no license lives longer than `longest`.
    pub fn in_use(&self, now: Timestamp, longest: TimeDelta) -> impl Iterator<Item = &KeyEntry> {
        self.keys
            .iter()
            .filter(move |key| key.retired_at.is_none_or(|retired| retired + longest > now))
    }

    fn find(&self, kid: &str) -> Result<&KeyEntry, RingError> {
        self.keys
            .iter()
            .find(|key| key.kid == kid)
            .ok_or_else(|| RingError::Unknown(kid.to_owned()))
    }
}

/// The keys themselves: one signs, all are published.
pub struct Ring {
    active: Signer,
    published: Vec<PublicKey>,
}

impl Ring {
    /// A ring of these keys, of which exactly one is active.
    pub fn new(keys: Vec<(Signer, KeyState)>) -> Result<Self, RingError> {
        let published: Vec<PublicKey> =
            keys.iter().map(|(signer, _)| signer.public_key().clone()).collect();
        for (index, key) in published.iter().enumerate() {
            if published[..index].iter().any(|other| other.kid == key.kid) {
                return Err(RingError::Twice(key.kid.clone()));
            }
        }
        let mut active: Vec<Signer> = keys
            .into_iter()
            .filter(|(_, state)| *state == KeyState::Active)
            .map(|(signer, _)| signer)
            .collect();
        match (active.pop(), active.len()) {
            (Some(active), 0) => Ok(Self { active, published }),
            (found, rest) => Err(RingError::NotOneActive(rest + usize::from(found.is_some()))),
        }
    }
}

impl LicenseSigner for Ring {
    fn sign(&self, claims: &LicenseClaims) -> Result<LicenseToken, SignError> {
        self.active.sign(claims)
    }

    fn sign_answer(&self, answer: &OfflineAnswer) -> Result<AnswerToken, SignError> {
        self.active.sign_answer(answer)
    }

    fn public_keys(&self) -> Vec<PublicKey> {
        self.published.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::ed25519_pem;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::hours(hours)
    }

    fn states(plan: &RingPlan) -> Vec<(&str, KeyState)> {
        plan.keys.iter().map(|key| (key.kid.as_str(), key.state)).collect()
    }

    #[test]
    fn a_key_is_published_for_two_days_before_it_signs() {
        let mut plan = RingPlan::of_one("a".into(), "a.pem".into(), at(0));
        plan.publish("b".into(), "b.pem".into(), at(1)).unwrap();
        assert_eq!(
            plan.publish("b".into(), "c.pem".into(), at(1)),
            Err(RingError::Twice("b".into()))
        );
        assert!(matches!(plan.activate("b", at(48), false), Err(RingError::TooFresh { .. })));
        assert_eq!(states(&plan), [("a", KeyState::Active), ("b", KeyState::Standby)]);
        plan.activate("b", at(49), false).unwrap();
        plan.activate("b", at(50), false).unwrap();
        assert_eq!(states(&plan), [("a", KeyState::Retired), ("b", KeyState::Active)]);
        assert_eq!(plan.keys[0].retired_at, Some(at(49)));
        assert_eq!(plan.activate("a", at(99), true), Err(RingError::Retired("a".into())));
        assert_eq!(plan.retire("b", at(99)), Err(RingError::Active("b".into())));
        assert_eq!(plan.activate("c", at(99), true), Err(RingError::Unknown("c".into())));
    }

    #[test]
    fn force_activates_at_once_and_a_standby_key_can_be_taken_back() {
        let mut plan = RingPlan::of_one("a".into(), "a.pem".into(), at(0));
        plan.publish("b".into(), "b.pem".into(), at(1)).unwrap();
        plan.publish("c".into(), "c.pem".into(), at(1)).unwrap();
        plan.activate("b", at(1), true).unwrap();
        plan.retire("c", at(2)).unwrap();
        assert_eq!(
            states(&plan),
            [("a", KeyState::Retired), ("b", KeyState::Active), ("c", KeyState::Retired)]
        );
    }

    #[test]
    fn a_retired_key_is_published_until_its_last_license_has_ended() {
        let mut plan = RingPlan::of_one("a".into(), "a.pem".into(), at(0));
        plan.publish("b".into(), "b.pem".into(), at(0)).unwrap();
        plan.activate("b", at(100), false).unwrap();
        let in_use = |hours| {
            plan.in_use(at(hours), TimeDelta::days(31))
                .map(|key| key.kid.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(in_use(100 + 31 * 24 - 1), ["a", "b"]);
        assert_eq!(in_use(100 + 31 * 24), ["b"]);
    }

    #[test]
    fn exactly_one_key_signs() {
        let signer = |byte: u8| Signer::from_pem(&ed25519_pem(&[byte; 32]), None).unwrap();
        let none = Ring::new(vec![(signer(1), KeyState::Standby)]).err();
        assert_eq!(none, Some(RingError::NotOneActive(0)));
        let two =
            Ring::new(vec![(signer(1), KeyState::Active), (signer(2), KeyState::Active)]).err();
        assert_eq!(two, Some(RingError::NotOneActive(2)));
        let ring =
            Ring::new(vec![(signer(1), KeyState::Retired), (signer(2), KeyState::Active)]).unwrap();
        assert_eq!(ring.public_keys().len(), 2);
    }
}
