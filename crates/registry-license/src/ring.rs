//! The ring of license keys: their states, and the rules for changing them. This module works on
//! values only; registry-wiring reads and writes the files.

use std::sync::Arc;

use chrono::TimeDelta;
use registry_core::clock::Timestamp;
use registry_core::license::{LicenseClaims, LicenseSigner, PublicKey, SignError, SignedLicense};
use registry_core::offline::OfflineAnswer;
use registry_core::secret::AnswerToken;
use serde::{Deserialize, Serialize};

use crate::signer::Signer;

/// Time that a key has to be published before it signs. By then, every appliance that checks in
/// daily has fetched the key.
pub const PUBLISHED_BEFORE: TimeDelta = TimeDelta::hours(48);

/// State of a license key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published, but not signing yet.
    Standby,
    /// Published and signing.
    Active,
    /// No longer signing, and published until the last license that it signed has expired.
    Retired,
}

/// A key of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    /// Key ID, the `kid` of the licenses that the key signs.
    pub kid: String,
    /// Name of the private key's file, in the folder of the plan.
    pub file: String,
    /// State of the key.
    pub state: KeyState,
    /// Time from which the key is published.
    pub published_at: Timestamp,
    /// Time from which the key no longer signs; `None` before its retirement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<Timestamp>,
}

/// The keys of a ring and their states, without the key material.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingPlan {
    /// The keys, oldest first.
    pub keys: Vec<KeyEntry>,
}

/// Reasons why a ring cannot be changed or used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The key does not exist.
    #[error("key `{0}` does not exist: list the keys with `registryctl keys list`")]
    Unknown(String),
    /// The key has not been published long enough.
    #[error(
        "key `{kid}` was published only at {since}: appliances that have not checked in since then \
         refuse its licenses. Wait until {until}, or use --force"
    )]
    PublishedTooRecently {
        /// The key's `kid`.
        kid: String,
        /// Time of the publication, RFC 3339.
        since: String,
        /// Time from which the key may sign, RFC 3339.
        until: String,
    },
    /// The active key cannot be retired.
    #[error("key `{0}` is the active one: activate another key first")]
    Active(String),
    /// A retired key cannot be activated again.
    #[error("key `{0}` is retired and cannot be activated: generate a new key")]
    Retired(String),
    /// The number of active keys is not one.
    #[error("{0} keys are active, but exactly one must be")]
    NotOneActive(usize),
    /// Two keys have the same `kid`.
    #[error("two keys have the kid `{0}`: each kid must be unique")]
    DuplicateKid(String),
}

impl RingPlan {
    /// Returns a plan with one key, which is active.
    #[must_use]
    pub fn of_one(kid: String, file: String, now: Timestamp) -> Self {
        let state = KeyState::Active;
        Self { keys: vec![KeyEntry { kid, file, state, published_at: now, retired_at: None }] }
    }

    /// Adds a key in standby.
    pub fn publish(&mut self, kid: String, file: String, now: Timestamp) -> Result<(), RingError> {
        if self.keys.iter().any(|key| key.kid == kid) {
            return Err(RingError::DuplicateKid(kid));
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

    /// Makes a published key the active one, and retires the previous one. Without `force`, the key
    /// must have been published for [`PUBLISHED_BEFORE`].
    pub fn activate(&mut self, kid: &str, now: Timestamp, force: bool) -> Result<(), RingError> {
        let key = self.find(kid)?;
        let until = key.published_at + PUBLISHED_BEFORE;
        match key.state {
            KeyState::Active => return Ok(()),
            KeyState::Retired => return Err(RingError::Retired(kid.to_owned())),
            KeyState::Standby if now < until && !force => {
                let (since, until) = (key.published_at.to_rfc3339(), until.to_rfc3339());
                return Err(RingError::PublishedTooRecently { kid: kid.to_owned(), since, until });
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

    /// Retires a key that is not the active one. Retiring it again changes nothing.
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

    /// Removes a key that is not the active one. The key is no longer published, so its licenses
    /// can no longer be verified.
    pub fn revoke(&mut self, kid: &str) -> Result<(), RingError> {
        if self.find(kid)?.state == KeyState::Active {
            return Err(RingError::Active(kid.to_owned()));
        }
        self.keys.retain(|key| key.kid != kid);
        Ok(())
    }

    /// Returns the keys that are published at `now`, if no license lives longer than
    /// `longest_lifetime`.
    pub fn in_use(
        &self,
        now: Timestamp,
        longest_lifetime: TimeDelta,
    ) -> impl Iterator<Item = &KeyEntry> {
        self.keys.iter().filter(move |key| {
            key.retired_at.is_none_or(|retired| retired + longest_lifetime > now)
        })
    }

    fn find(&self, kid: &str) -> Result<&KeyEntry, RingError> {
        self.keys
            .iter()
            .find(|key| key.kid == kid)
            .ok_or_else(|| RingError::Unknown(kid.to_owned()))
    }
}

/// The key material of a ring. A key that is not active signs no license, but still the key set.
pub struct Ring {
    active: Arc<Signer>,
    /// All published keys, the active one included.
    published: Vec<Arc<Signer>>,
}

impl Ring {
    /// Returns a ring of these keys, of which exactly one must be active.
    pub fn new(keys: Vec<(Signer, KeyState)>) -> Result<Self, RingError> {
        let (mut active, mut published) = (Vec::new(), Vec::<Arc<Signer>>::new());
        for (signer, state) in keys {
            let kid = &signer.public_key().kid;
            if published.iter().any(|other| other.public_key().kid == *kid) {
                return Err(RingError::DuplicateKid(kid.clone()));
            }
            let signer = Arc::new(signer);
            if state == KeyState::Active {
                active.push(signer.clone());
            }
            published.push(signer);
        }
        match (active.pop(), active.len()) {
            (Some(active), 0) => Ok(Self { active, published }),
            (last, others) => Err(RingError::NotOneActive(others + usize::from(last.is_some()))),
        }
    }
}

impl LicenseSigner for Ring {
    fn sign(&self, claims: &LicenseClaims) -> Result<SignedLicense, SignError> {
        self.active.sign(claims)
    }

    fn sign_answer(&self, answer: &OfflineAnswer) -> Result<AnswerToken, SignError> {
        self.active.sign_answer(answer)
    }

    fn public_keys(&self) -> Vec<PublicKey> {
        self.published.iter().map(|signer| signer.public_key().clone()).collect()
    }

    fn signed_key_sets(&self, issuer: &str, now: Timestamp) -> Result<Vec<String>, SignError> {
        let keys = self.public_keys();
        self.published.iter().map(|signer| signer.sign_key_set(&keys, issuer, now)).collect()
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

    /// R-jwks-2.
    #[test]
    fn key_is_published_before_it_signs() {
        let mut plan = RingPlan::of_one("a".into(), "a.pem".into(), at(0));
        plan.publish("b".into(), "b.pem".into(), at(1)).unwrap();
        assert_eq!(
            plan.publish("b".into(), "c.pem".into(), at(1)),
            Err(RingError::DuplicateKid("b".into()))
        );
        assert!(matches!(
            plan.activate("b", at(48), false),
            Err(RingError::PublishedTooRecently { .. })
        ));
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
    fn force_activates_at_once() {
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

    /// R-jwks-2.
    #[test]
    fn revoked_key_leaves_at_once() {
        let mut plan = RingPlan::of_one("a".into(), "a.pem".into(), at(0));
        plan.publish("b".into(), "b.pem".into(), at(0)).unwrap();
        assert_eq!(plan.revoke("a"), Err(RingError::Active("a".into())));
        plan.activate("b", at(1), true).unwrap();
        plan.revoke("a").unwrap();
        assert_eq!(states(&plan), [("b", KeyState::Active)]);
        assert_eq!(plan.revoke("a"), Err(RingError::Unknown("a".into())));
    }

    /// R-jwks-2.
    #[test]
    fn retired_key_outlives_its_licenses() {
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
