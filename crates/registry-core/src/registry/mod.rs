//! The use cases, one file a group. Each is a few lines around a pure decision.

mod audit_fold;
mod audit_sources;
mod change_context;
pub mod check_in;
pub mod code_issuance;
pub mod deliver;
pub mod directory;
mod downloads;
mod duplicates;
pub mod entitlements;
pub mod idempotency;
pub mod limits;
pub mod offline;
pub mod outbox;
pub mod readiness;
pub mod redeem;
pub mod register;
pub mod reissue;
pub mod releases;
mod renewal;
mod replays;
pub mod restored;
pub mod retention;
pub mod sign_in;
mod smtp_redaction;
pub mod subscriptions;
pub mod tenant_admin;
pub mod timeline;

use std::sync::Arc;

use chrono::TimeDelta;
use uuid::Uuid;

use self::audit_fold::AuditFold;
use self::audit_sources::AuditSources;
use self::change_context::{ChangeContext, refuse};
use self::downloads::FileCheckCache;
use self::retention::Retention;
use crate::audit::{Actor, AuditEntry};
use crate::blob::{BlobError, BlobStore, LinkError};
use crate::clock::{Clock, Timestamp};
use crate::edition::EditionCatalogue;
use crate::entropy::{self, Entropy};
use crate::install_code::CodeLength;
use crate::license::{LicensePolicy, LicenseSigner};
use crate::mail::Mailer;
use crate::product::ProductCatalogue;
use crate::rate_limit::{Limited, RateLimit, RateLimiter, Source};
use crate::refusal::Refusal;
use crate::release::ManifestSigner;
use crate::store::{DecideError, Outcome, Store, StoreError};
use crate::text::Channel;
use crate::vault::Vault;

/// The ports of the registry.
#[derive(Clone)]
#[expect(missing_docs, reason = "each port's type is documented")]
pub struct Ports {
    pub store: Arc<dyn Store>,
    pub blobs: Arc<dyn BlobStore>,
    pub mailer: Arc<dyn Mailer>,
    pub vault: Arc<dyn Vault>,
    pub signer: Arc<dyn LicenseSigner>,
    pub manifests: Arc<dyn ManifestSigner>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

/// The vendor's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The editions.
    pub editions: EditionCatalogue,
    /// The products.
    pub products: ProductCatalogue,
    /// Install and activation codes, `codes.*`.
    pub codes: CodeSettings,
    /// Sign-in links and sessions, `sign_in.*`.
    pub sign_in: SignInSettings,
    /// Rate limits, `rate_limit.*`.
    pub rate_limit: RateLimitSettings,
    /// Licenses, `license.*`.
    pub license: LicensePolicy,
    /// Download links, `downloads.*`.
    pub downloads: DownloadSettings,
    /// Retention of ended rows, `retention.*`.
    pub retention: Retention,
    /// Lifetime of a recorded response under its idempotency key, `http.replay_window`.
    pub replay_window: TimeDelta,
    /// Absolute URL that appliances check in at.
    pub check_in_url: String,
    /// URL of the portal, `portal_url`: customers re-issue their codes there.
    pub portal_url: Option<String>,
}

/// Settings of install and activation codes.
#[derive(Clone, Debug)]
pub struct CodeSettings {
    /// Length of a new install code.
    pub length: CodeLength,
    /// Length of a new activation code.
    pub activation_length: CodeLength,
    /// Lifetime of a new code.
    pub lifetime: TimeDelta,
    /// True if an activation code must be bound to a tenant before it is redeemed.
    pub activation_needs_bound_tenant: bool,
}

/// Settings of sign-in links and sessions.
#[derive(Clone, Debug)]
pub struct SignInSettings {
    /// Absolute URL of the sign-in page. A link adds its token to it.
    pub url: String,
    /// Lifetime of a sign-in link.
    pub link_lifetime: TimeDelta,
    /// Lifetime of a session that is not used.
    pub session_idle: TimeDelta,
    /// Lifetime of a session, however often it is used.
    pub session_lifetime: TimeDelta,
}

/// Rate limits by what they count.
#[derive(Clone, Copy, Debug)]
pub struct RateLimitSettings {
    /// Unknown codes of one source, and failed operator logins of one source.
    pub code_guesses: RateLimit,
    /// Mails that one source requests, and mails that are requested for one recipient.
    pub mails: RateLimit,
}

/// Settings of download links.
#[derive(Clone, Debug)]
pub struct DownloadSettings {
    /// Absolute URL that the token of a mailed link is added to.
    pub url: String,
    /// Lifetime of the link in an API response.
    pub lifetime: TimeDelta,
    /// Lifetime of the link that a mailed link redirects to.
    pub fresh_lifetime: TimeDelta,
    /// Time that a mailed link works after its code was redeemed.
    pub after_redemption: TimeDelta,
    /// Channel whose current release is offered.
    pub channel: Channel,
}

/// The reason why a use case has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The decision failed because of an internal error.
    #[error(transparent)]
    Decide(#[from] DecideError),
    /// The blob store failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

impl From<LinkError> for Error {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Invalid => Refusal::DownloadLinkInvalid.into(),
            LinkError::Expired(since) => Refusal::DownloadLinkEnded { since }.into(),
            LinkError::Gone => Refusal::DownloadFileGone.into(),
            LinkError::Unavailable(cause) => BlobError::Unavailable(cause).into(),
        }
    }
}

/// The appliance registry: all use cases over the ports.
pub struct Registry {
    ports: Ports,
    settings: Arc<Settings>,
    /// Unknown codes, by source.
    code_guesses: RateLimiter,
    /// Registrations, by source.
    mail_by_source: RateLimiter,
    /// Requested sign-in links, by source: a flood of registrations leaves them alone.
    link_by_source: RateLimiter,
    /// Requested mails, by the digest of the recipient.
    mail_by_recipient: RateLimiter<[u8; 32]>,
    /// Failed operator logins, by source.
    operator_login: RateLimiter,
    /// Digests of counted forms: a form that is sent again is not counted again.
    form_dedupe: RateLimiter<[u8; 32]>,
    /// Results of recent checks of a release's file.
    file_checks: FileCheckCache,
    /// Sources of counted audit entries.
    audit_sources: AuditSources,
    /// Counted audit entries that are being written.
    audit_fold: AuditFold,
}

impl Registry {
    /// Creates a registry over these ports.
    #[must_use]
    pub fn new(ports: Ports, settings: Settings) -> Self {
        let RateLimitSettings { code_guesses, mails } = settings.rate_limit;
        let unbounded = RateLimit { total: u32::MAX, ..mails };
        Self {
            ports,
            settings: Arc::new(settings),
            code_guesses: RateLimiter::new(Limited::UnknownCodes, code_guesses),
            mail_by_source: RateLimiter::new(Limited::Requests, mails),
            link_by_source: RateLimiter::new(Limited::Requests, mails),
            // The limit by source bounds the number of recipients. A total would let strangers keep
            // signed-in customers from their codes.
            mail_by_recipient: RateLimiter::new(Limited::Requests, unbounded),
            operator_login: RateLimiter::new(Limited::Requests, code_guesses),
            form_dedupe: RateLimiter::new(Limited::Requests, RateLimit { limit: 1, ..unbounded }),
            file_checks: FileCheckCache::default(),
            audit_sources: AuditSources::default(),
            audit_fold: AuditFold::default(),
        }
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the time of the registry's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// Returns a new time-ordered id, for example for a request.
    #[must_use]
    pub fn new_id(&self) -> Uuid {
        entropy::uuid(&*self.ports.entropy, self.now())
    }

    /// Returns the public keys that verify licenses.
    #[must_use]
    pub fn public_keys(&self) -> Vec<crate::license::PublicKey> {
        self.ports.signer.public_keys()
    }

    /// Returns the set of the public keys, signed with each of them. The signatures may be a minute
    /// old.
    pub fn signed_key_sets(&self) -> Result<Vec<String>, crate::license::SignError> {
        self.ports.signer.signed_key_sets(&self.settings.license.issuer, self.now())
    }

    /// Returns the actor of a counted audit entry.
    fn counted_actor(&self, name: &str, source: Source) -> Actor {
        let source = self.audit_sources.name(source, self.now());
        Actor { name: name.to_owned(), source }
    }

    /// Counts an event of the audit.
    async fn count_event(&self, entry: AuditEntry) -> Result<(), Error> {
        Ok(self.audit_fold.count(&*self.ports.store, entry).await?)
    }

    /// Creates the context of one change: its time, its ids and its actor.
    fn change_context(&self, actor: Actor) -> ChangeContext {
        ChangeContext::new(self.now(), actor, entropy::bytes(&*self.ports.entropy))
    }
}

impl<T> Outcome<T> {
    /// Converts the outcome of a call that had no idempotency key.
    fn into_result(self) -> Result<T, Error> {
        match self {
            Self::Done(done) => Ok(done),
            Self::Refused(refusal) => Err(refusal.into()),
            Self::Aborted(error) => Err(error.into()),
            Self::Replayed(_) => {
                let problem = "the request had no idempotency key".to_owned();
                Err(DecideError::Replay(problem).into())
            }
        }
    }
}
