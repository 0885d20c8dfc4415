//! Idempotency keys: a repeated request under the same key gets the recorded response, for the
//! length of the replay window. Recorded responses are sealed.
//!
//! The record is one of the decision's writes, so it exists exactly when the change's effects
//! exist. Refusals are not recorded.

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::edition::EditionName;
use crate::entitlement::Entitlement;
use crate::entropy;
use crate::id::{EntitlementId, TenantId};
use crate::install_code::PlainCode;
use crate::refusal::Refusal;
use crate::registry::replays::Subject;
use crate::registry::{ChangeContext, Error, Registry};
use crate::results::{CheckedIn, EntitlementChanged, Issued, LicenseStatus, Licensed, Redeemed};
use crate::secret::{DownloadLink, LicenseToken, PlainCredential, Sealed};
use crate::store::{
    Decide, DecideError, Decision, Outcome, Replay, ReplayRecord, StoreError, Write,
};
use crate::text::{CompanyName, SubscriptionId};

/// An idempotency key, with the fingerprint of the request that it was sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Route and caller. The use case adds the code or the credential.
    pub scope: String,
    /// SHA-256 of the key.
    pub digest: [u8; 32],
    /// SHA-256 of the request without its code: a code is short enough to be guessed from a digest.
    pub fingerprint: [u8; 32],
}

impl Registry {
    /// Commits a change once for each idempotency key. `change` is the store method, called with
    /// the replay to look up and the decision to make. The same request under the same key gets the
    /// recorded response; a change that was refused or aborted runs again. `owner` separates
    /// requests that share the key's scope, such as the code of a redemption. Without a key the
    /// change simply runs.
    pub(crate) async fn idempotent<F, T, Change>(
        &self,
        key: Option<IdempotencyKey>,
        owner: &str,
        asked: &ChangeContext,
        decide: Decide<F, T>,
        change: impl FnOnce(Option<Replay>, Decide<F, T>) -> Change,
    ) -> Result<T, Error>
    where
        F: 'static,
        T: Recorded + 'static,
        Change: Future<Output = Result<Outcome<T>, StoreError>>,
    {
        let Some(key) = key else { return change(None, decide).await?.into_result() };
        let (replay, context) = key.replay(owner, asked.now);
        let decide = self.recording(replay.clone(), context.clone(), decide);
        match change(Some(replay), decide).await? {
            Outcome::Replayed(sealed) => self.recorded(&context, &sealed, asked).await,
            outcome => outcome.into_result(),
        }
    }

    /// Returns the recorded response to the same request under the same key, if there is one.
    pub(crate) async fn replayed<T: Recorded>(
        &self,
        key: Option<&IdempotencyKey>,
        owner: &str,
        asked: &ChangeContext,
    ) -> Result<Option<T>, Error> {
        let Some(key) = key else { return Ok(None) };
        let (replay, context) = key.replay(owner, asked.now);
        let record = self.ports.store.replay_show(replay.clone()).await?;
        match record.and_then(|record| record.outcome::<T>(&replay)) {
            Some(Outcome::Replayed(sealed)) => {
                self.recorded(&context, &sealed, asked).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Makes the decision record its response, sealed under `context`, as one of its writes. A
    /// check-in that changes nothing is not recorded, so that one with a new key each time adds no
    /// rows.
    fn recording<F: 'static, T: Recorded + 'static>(
        &self,
        request: Replay,
        context: String,
        decide: Decide<F, T>,
    ) -> Decide<F, T> {
        let (vault, nonce) = (self.ports.vault.clone(), entropy::bytes(&*self.ports.entropy));
        let expires_at = request.now + self.settings.replay_window;
        Arc::new(move |facts: &F| match decide(facts) {
            Decision::Commit { mut writes, outcome: Ok(result), unverified }
                if !writes.iter().all(Write::is_observation) =>
            {
                let answer = vault.seal(&context, nonce, &result.to_record());
                let record = ReplayRecord { request: request.clone(), answer, expires_at };
                writes.push(Write::PutReplay(Box::new(record)));
                Decision::Commit { writes, outcome: Ok(result), unverified }
            }
            other => other,
        })
    }

    /// Opens a recorded response, unless what it hangs on has ended since.
    async fn recorded<T: Recorded>(
        &self,
        context: &str,
        sealed: &Sealed,
        asked: &ChangeContext,
    ) -> Result<T, Error> {
        let opened = self.ports.vault.open(context, sealed);
        let opened = opened.map_err(|error| DecideError::Replay(error.to_string()))?;
        let result = T::from_record(&opened).ok_or_else(|| {
            DecideError::Replay("another version of the registry recorded it".to_owned())
        })?;
        self.check_replay(result.subject(), asked).await?;
        Ok(result)
    }
}

/// Number of characters in a key (wire contract, R-idempotency-1).
const KEY_LENGTHS: RangeInclusive<usize> = 16..=255;

impl IdempotencyKey {
    /// The digest of the key in a request's headers, if there is one. Refuses a second key, and one
    /// of another length or with other characters than visible ASCII.
    pub fn digest_of(values: &[&[u8]]) -> Result<Option<[u8; 32]>, Refusal> {
        let is_valid =
            |key: &[u8]| KEY_LENGTHS.contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
        match values {
            [] => Ok(None),
            [key] if is_valid(key) => Ok(Some(Sha256::digest(key).into())),
            _ => Err(Refusal::Invalid {
                field: "Idempotency-Key",
                problem: "must be sent once, with 16 to 255 visible ASCII characters".to_owned(),
            }),
        }
    }

    /// Returns the replay to look up, and the context under which its response is sealed.
    fn replay(&self, owner: &str, now: Timestamp) -> (Replay, String) {
        let scope = format!("{} {owner}", self.scope).trim_end().to_owned();
        let context = format!("replay {scope} {}", entropy::hex(&self.digest));
        let (key_digest, fingerprint) = (self.digest, self.fingerprint);
        (Replay { scope, key_digest, fingerprint, now }, context)
    }

    /// Returns a digest that rate limits count the request by. Two requests share it only if the
    /// second one gets the first one's recorded response.
    #[must_use]
    pub fn dedupe_digest(&self) -> [u8; 32] {
        let parts = [self.scope.as_bytes(), &[0], &self.digest, &self.fingerprint];
        Sha256::digest(parts.concat()).into()
    }
}

/// A result that can be recorded. A record contains secrets and is sealed before it is stored.
pub(crate) trait Recorded: Sized {
    fn to_record(&self) -> Zeroizing<String>;

    fn from_record(text: &str) -> Option<Self>;

    /// Returns what the response hangs on. Nothing of a check-in: it is not looked up if it ended.
    fn subject(&self) -> Subject {
        Subject::Nothing
    }
}

fn text(value: &impl Serialize) -> Zeroizing<String> {
    // Serialising to JSON fails only for map keys that are not strings, and no record has any.
    Zeroizing::new(serde_json::to_string(value).unwrap_or_default())
}

#[derive(Serialize, Deserialize)]
struct IssuedRecord {
    tenant_id: TenantId,
    code: String,
    expires_at: Timestamp,
    download: Option<String>,
}

impl Recorded for Issued {
    fn to_record(&self) -> Zeroizing<String> {
        text(&IssuedRecord {
            tenant_id: self.tenant_id,
            code: self.code.expose().to_owned(),
            expires_at: self.expires_at,
            download: self.download.as_ref().map(|link| link.expose().to_owned()),
        })
    }

    fn from_record(text: &str) -> Option<Self> {
        let record: IssuedRecord = serde_json::from_str(text).ok()?;
        Some(Self {
            tenant_id: record.tenant_id,
            code: PlainCode::new(record.code),
            expires_at: record.expires_at,
            download: record.download.map(DownloadLink::new),
        })
    }

    fn subject(&self) -> Subject {
        Subject::Code(self.tenant_id)
    }
}

#[derive(Serialize, Deserialize)]
struct RedeemedRecord {
    tenant_id: TenantId,
    edition: EditionName,
    company_name: String,
    contact_email: String,
    licensed: Option<[String; 3]>,
}

impl Recorded for Redeemed {
    fn to_record(&self) -> Zeroizing<String> {
        let licensed = self.licensed.as_ref().map(|it| {
            [
                it.token.expose().to_owned(),
                it.credential.expose().to_owned(),
                it.check_in_url.clone(),
            ]
        });
        text(&RedeemedRecord {
            tenant_id: self.tenant_id,
            edition: self.edition.clone(),
            company_name: self.company_name.clone(),
            contact_email: self.contact_email.clone(),
            licensed,
        })
    }

    fn from_record(text: &str) -> Option<Self> {
        let record: RedeemedRecord = serde_json::from_str(text).ok()?;
        let licensed = record.licensed.map(|[token, credential, check_in_url]| Licensed {
            token: LicenseToken::new(token),
            credential: PlainCredential::new(credential),
            check_in_url,
        });
        Some(Self {
            tenant_id: record.tenant_id,
            edition: record.edition,
            company_name: record.company_name,
            contact_email: record.contact_email,
            licensed,
        })
    }

    fn subject(&self) -> Subject {
        let credential = self.licensed.as_ref().map(|it| it.credential.digest());
        Subject::Appliance(self.tenant_id, credential)
    }
}

type LicenseRecord = Option<(String, Timestamp)>;

fn license_record(license: Option<&(LicenseToken, Timestamp)>) -> LicenseRecord {
    license.map(|(token, expires_at)| (token.expose().to_owned(), *expires_at))
}

fn license(record: LicenseRecord) -> Option<(LicenseToken, Timestamp)> {
    record.map(|(token, expires_at)| (LicenseToken::new(token), expires_at))
}

#[derive(Serialize, Deserialize)]
struct CheckedInRecord {
    revoked: bool,
    license: LicenseRecord,
    next_check_in_at: Timestamp,
    now: Timestamp,
}

impl Recorded for CheckedIn {
    fn to_record(&self) -> Zeroizing<String> {
        let (revoked, license) = match &self.status {
            LicenseStatus::Licensed(license) => (false, license_record(license.as_ref())),
            LicenseStatus::Revoked => (true, None),
        };
        text(&CheckedInRecord {
            revoked,
            license,
            next_check_in_at: self.next_check_in_at,
            now: self.now,
        })
    }

    fn from_record(text: &str) -> Option<Self> {
        let record: CheckedInRecord = serde_json::from_str(text).ok()?;
        let status = if record.revoked {
            LicenseStatus::Revoked
        } else {
            LicenseStatus::Licensed(license(record.license))
        };
        Some(Self { status, next_check_in_at: record.next_check_in_at, now: record.now })
    }
}

#[derive(Serialize, Deserialize)]
struct ChangedRecord {
    id: EntitlementId,
    tenant_id: Option<TenantId>,
    subscription: Option<SubscriptionId>,
    customer: CompanyName,
    edition: EditionName,
    seats: Option<u32>,
    license_sub: String,
    created_at: Timestamp,
    revoked_at: Option<Timestamp>,
    license: LicenseRecord,
    code: Option<(String, Timestamp)>,
}

impl Recorded for EntitlementChanged {
    fn to_record(&self) -> Zeroizing<String> {
        let it = self.entitlement.clone();
        text(&ChangedRecord {
            id: it.id,
            tenant_id: it.tenant_id,
            subscription: it.subscription,
            customer: it.customer,
            edition: it.edition,
            seats: it.seats,
            license_sub: it.license_sub,
            created_at: it.created_at,
            revoked_at: it.revoked_at,
            license: license_record(self.license.as_ref()),
            code: self
                .code
                .as_ref()
                .map(|(code, expires_at)| (code.expose().to_owned(), *expires_at)),
        })
    }

    fn from_record(text: &str) -> Option<Self> {
        let it: ChangedRecord = serde_json::from_str(text).ok()?;
        let entitlement = Entitlement {
            id: it.id,
            tenant_id: it.tenant_id,
            subscription: it.subscription,
            customer: it.customer,
            edition: it.edition,
            seats: it.seats,
            license_sub: it.license_sub,
            created_at: it.created_at,
            revoked_at: it.revoked_at,
        };
        let code = it.code.map(|(code, expires_at)| (PlainCode::new(code), expires_at));
        Some(Self { entitlement, license: license(it.license), code })
    }

    fn subject(&self) -> Subject {
        if self.license.is_none() && self.code.is_none() {
            return Subject::Nothing;
        }
        Subject::Entitlement(self.entitlement.id)
    }
}
