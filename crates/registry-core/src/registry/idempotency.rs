//! Idempotency keys: the same request under the same key is answered from the record, sealed, for a
//! set window.
//!
//! The record is one of the decision's writes, so it exists exactly when its effects do. Refusals
//! are not recorded.

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
use crate::registry::{Error, Registry};
use crate::results::{CheckedIn, EntitlementChanged, Issued, LicenseStatus, Licensed, Redeemed};
use crate::secret::{DownloadLink, LicenseToken, PlainCredential};
use crate::store::{Decide, DecideError, Decision, Outcome, Replay, ReplayRecord, Write};
use crate::text::{CompanyName, SubscriptionId};

/// A caller's promise that a request is the same one, however often it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Route and caller; what the code or the credential adds is added by the use case.
    pub scope: String,
    /// SHA-256 of the key.
    pub digest: [u8; 32],
    /// SHA-256 of the request, without its code: codes are short enough to be guessed from a
    /// digest.
    pub fingerprint: [u8; 32],
}

/// A change that may be answered from a record: what the store has to know, and what opens the
/// record.
pub(crate) struct Recording<F, T> {
    pub(crate) replay: Option<Replay>,
    pub(crate) decide: Decide<F, T>,
    context: String,
}

impl Registry {
    /// Makes a decision record its answer, where the request came with a key. `owner` tells apart
    /// what the scope does not.
    pub(crate) fn recording<F: 'static, T: Recorded + 'static>(
        &self,
        key: Option<IdempotencyKey>,
        owner: &str,
        now: Timestamp,
        decide: Decide<F, T>,
    ) -> Recording<F, T> {
        let Some(key) = key else {
            return Recording { replay: None, decide, context: String::new() };
        };
        let scope = format!("{} {owner}", key.scope).trim_end().to_owned();
        let context = format!("replay {scope} {}", entropy::hex(&key.digest));
        let request = Replay { scope, key_digest: key.digest, fingerprint: key.fingerprint, now };
        let (vault, nonce) = (self.ports.vault.clone(), entropy::bytes(&*self.ports.entropy));
        let (sealing, recorded) = (context.clone(), request.clone());
        let expires_at = now + self.settings.replay_window;
        let recording = move |facts: &F| match decide(facts) {
            Decision::Commit { mut writes, outcome: Ok(answer) } => {
                let answer_text = answer.to_record();
                let sealed = vault.seal(&sealing, nonce, &answer_text);
                let record = ReplayRecord { request: recorded.clone(), answer: sealed, expires_at };
                writes.push(Write::PutReplay(Box::new(record)));
                Decision::Commit { writes, outcome: Ok(answer) }
            }
            other => other,
        };
        Recording { replay: Some(request), decide: Arc::new(recording), context }
    }

    /// The answer, now or of then.
    pub(crate) fn answered<T: Recorded>(
        &self,
        outcome: Outcome<T>,
        context: &str,
    ) -> Result<T, Error> {
        match outcome {
            Outcome::Done(done) => Ok(done),
            Outcome::Refused(refusal) => Err(refusal.into()),
            Outcome::Aborted(error) => Err(error.into()),
            Outcome::Replayed(sealed) => {
                let unreadable = |problem: String| Error::from(DecideError::Replay(problem));
                let opened = self
                    .ports
                    .vault
                    .open(context, &sealed)
                    .map_err(|error| unreadable(error.to_string()))?;
                T::from_record(&opened)
                    .ok_or_else(|| unreadable("it was recorded by another version".to_owned()))
            }
        }
    }
}

impl<F, T: Recorded> Recording<F, T> {
    /// What the store needs, and what the answer is opened with.
    pub(crate) fn into_parts(self) -> (Option<Replay>, Decide<F, T>, String) {
        (self.replay, self.decide, self.context)
    }
}

impl IdempotencyKey {
    /// What a request is counted by: the same only where it is answered as it was.
    #[must_use]
    pub fn counted_by(&self) -> [u8; 32] {
        let parts = [self.scope.as_bytes(), &[0], &self.digest, &self.fingerprint];
        Sha256::digest(parts.concat()).into()
    }
}

/// An answer that can be recorded. The text holds secrets, and is sealed before it goes anywhere.
pub(crate) trait Recorded: Sized {
    fn to_record(&self) -> Zeroizing<String>;

    fn from_record(text: &str) -> Option<Self>;
}

fn text(value: &impl Serialize) -> Zeroizing<String> {
    // None of these has a key that is no text, which is all that could fail.
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
}
