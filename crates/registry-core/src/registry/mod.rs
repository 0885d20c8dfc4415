//! The use cases: one file a group, each a few lines around a pure decision.

mod change_context;
pub mod check_in;
pub mod code_issuance;
pub mod deliver;
pub mod directory;
mod downloads;
pub mod entitlements;
pub mod idempotency;
pub mod offline;
pub mod outbox;
pub mod readiness;
pub mod redeem;
pub mod register;
pub mod reissue;
pub mod releases;
pub mod retention;
pub mod sign_in;
mod smtp_redaction;
pub mod subscriptions;
pub mod tenant_admin;
pub mod timeline;

use std::sync::Arc;

use chrono::TimeDelta;
use uuid::Uuid;

use self::change_context::{ChangeContext, refuse};
use self::downloads::LastLook;
use self::retention::Retention;
use crate::audit::Actor;
use crate::blob::BlobStore;
use crate::clock::{Clock, Timestamp};
use crate::edition::EditionCatalogue;
use crate::entropy::{self, Entropy};
use crate::install_code::CodeLength;
use crate::license::{LicensePolicy, LicenseSigner};
use crate::mail::Mailer;
use crate::product::ProductCatalogue;
use crate::rate_limit::{RateLimit, RateLimiter};
use crate::refusal::Refusal;
use crate::release::ManifestSigner;
use crate::store::{DecideError, Outcome, Store, StoreError};
use crate::text::Channel;
use crate::vault::Vault;

/// What the registry reaches the world through.
#[derive(Clone)]
#[expect(missing_docs, reason = "each port's own type says what it is")]
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

/// What a vendor sets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The editions.
    pub editions: EditionCatalogue,
    /// The products.
    pub products: ProductCatalogue,
    /// The length of new codes.
    pub code_length: CodeLength,
    /// How long a code lives.
    pub code_lifetime: TimeDelta,
    /// Where the link in a mail signs in; the token is added to it.
    pub sign_in_url: String,
    /// How long that link is good.
    pub sign_in_lifetime: TimeDelta,
    /// How long a session lives without being used.
    pub session_idle: TimeDelta,
    /// How long a session lives at most.
    pub session_lifetime: TimeDelta,
    /// How long a download link lives.
    pub link_lifetime: TimeDelta,
    /// The channel whose current release is offered.
    pub channel: Channel,
    /// The absolute URL that the token of a mail's download link follows.
    pub download_url: String,
    /// How long a link lives that is made when a mail's link is followed.
    pub fresh_link_lifetime: TimeDelta,
    /// How long a mail's link works after its code was redeemed.
    pub link_grace: TimeDelta,
    /// How long what ended is kept.
    pub retention: Retention,
    /// The absolute URL that appliances check in at.
    pub check_in_url: String,
    /// Where customers re-issue codes, where the vendor has such a place.
    pub portal_url: Option<String>,
    /// How much guessing is too much.
    pub guesses: RateLimit,
    /// How often a source may ask for mails, and how often mails to one address may be asked for.
    pub asks: RateLimit,
    /// What all licenses share.
    pub license: LicensePolicy,
    /// How long an answer is recorded under its idempotency key.
    pub replay_window: TimeDelta,
    /// How often an appliance should check in.
    pub check_in_interval: TimeDelta,
    /// Whether an activation code whose entitlement was not bound beforehand is refused.
    pub activation_needs_bound_tenant: bool,
}

/// Why a use case did not answer with a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The answer is no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The decision could not be made: our trouble.
    #[error(transparent)]
    Decide(#[from] DecideError),
    /// The blob store did not answer.
    #[error(transparent)]
    Blob(#[from] crate::blob::BlobError),
}

/// The appliance registry: all use cases, over the ports.
pub struct Registry {
    ports: Ports,
    settings: Arc<Settings>,
    throttle: RateLimiter,
    /// Of what anybody may ask for on the pages: mails, that is.
    asks: RateLimiter,
    /// Tokens at the operators' door.
    proofs: RateLimiter,
    /// Forms that were counted already: sent again, they cost nothing more.
    forms: RateLimiter<[u8; 32]>,
    /// The same by the address that they go to, which is known by its digest.
    asks_for: RateLimiter<[u8; 32]>,
    last_look: LastLook,
}

impl Registry {
    /// A registry over these ports.
    #[must_use]
    pub fn new(ports: Ports, settings: Settings) -> Self {
        let (throttle, proofs) =
            (RateLimiter::new(settings.guesses), RateLimiter::new(settings.guesses));
        let (asks, asks_for) = (RateLimiter::new(settings.asks), RateLimiter::new(settings.asks));
        let forms = RateLimiter::new(RateLimit { limit: 1, ..settings.asks });
        Self {
            ports,
            settings: Arc::new(settings),
            throttle,
            asks,
            proofs,
            forms,
            asks_for,
            last_look: LastLook::default(),
        }
    }

    /// The settings it runs with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The time, by the registry's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// A fresh time-ordered id, for requests and the like.
    #[must_use]
    pub fn draw_id(&self) -> Uuid {
        entropy::uuid(&*self.ports.entropy, self.now())
    }

    /// The keys that licenses can be verified with.
    #[must_use]
    pub fn public_keys(&self) -> Vec<crate::license::PublicKey> {
        self.ports.signer.public_keys()
    }

    /// What one change is made under: its time, its ids, and who asked.
    fn change_context(&self, actor: Actor) -> ChangeContext {
        ChangeContext::new(self.now(), actor, entropy::bytes(&*self.ports.entropy))
    }
}

impl<T> Outcome<T> {
    /// The result, where none of the calls carries an idempotency key.
    fn into_result(self) -> Result<T, Error> {
        match self {
            Self::Done(done) => Ok(done),
            Self::Refused(refusal) => Err(refusal.into()),
            Self::Aborted(error) => Err(error.into()),
            Self::Replayed(_) => Err(DecideError::Replay("no key was sent".to_owned()).into()),
        }
    }
}
