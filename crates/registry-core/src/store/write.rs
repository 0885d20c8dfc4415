//! Writes: the changes to rows that a decision asks for.

use crate::appliance::{Appliance, Credential};
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::entitlement::Entitlement;
use crate::id::{CodeId, EntitlementId, MailId, ReleaseId, TenantId};
use crate::install_code::{Consumption, InstallCode};
use crate::mail::QueuedMail;
use crate::release::Release;
use crate::secret::{Sealed, SignInDigest};
use crate::sign_in::{Principal, SignIn, SignInKind};
use crate::tenant::Tenant;
use crate::text::{ApplianceId, Channel};

/// A request that came with an idempotency key.
///
/// A store MUST, before it loads any fact, look for a record under `(scope, key_digest)` that has
/// not ended at `now`: with the same fingerprint it answers [`Outcome::Replayed`], with another one
/// refuses with [`Refusal::KeyReused`]. The record is a write like any other
/// ([`Write::PutReplay`]), so it exists exactly when its effects do. Of two twins in flight, the
/// second MUST wait for the first, then replay.
///
/// [`Outcome::Replayed`]: crate::store::Outcome::Replayed
/// [`Refusal::KeyReused`]: crate::refusal::Refusal::KeyReused
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Route and caller that the key belongs to.
    pub scope: String,
    /// SHA-256 of the key.
    pub key_digest: [u8; 32],
    /// SHA-256 of the request.
    pub fingerprint: [u8; 32],
    /// When it was asked.
    pub now: Timestamp,
}

/// A recorded answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRecord {
    /// What it answers.
    pub request: Replay,
    /// The answer.
    pub answer: Sealed,
    /// When it is forgotten.
    pub expires_at: Timestamp,
}

/// One change to a row. Where it says *put*, the row is inserted, or replaced whole under its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Puts a tenant.
    PutTenant(Box<Tenant>),
    /// Puts an entitlement. MUST fail where the tenant has another active one, or the subscription
    /// is another's.
    PutEntitlement(Box<Entitlement>),
    /// Inserts a code. MUST fail where its tenant (an activation code's: its entitlement) has one
    /// that is neither consumed nor superseded, or where the digest is taken.
    InsertCode(Box<InstallCode>),
    /// Marks a code as redeemed. MUST fail where it already is, or is superseded.
    ConsumeCode {
        /// The code.
        code: CodeId,
        /// When and by whom.
        consumption: Consumption,
        /// The tenant it is now of.
        tenant: TenantId,
    },
    /// Marks the unconsumed install codes of a tenant as superseded.
    SupersedeCodes {
        /// The tenant.
        tenant: TenantId,
        /// When.
        at: Timestamp,
    },
    /// Marks the unconsumed activation codes of an entitlement as superseded.
    SupersedeActivationCodes {
        /// The entitlement.
        entitlement: EntitlementId,
        /// When.
        at: Timestamp,
    },
    /// Puts an appliance, under (tenant, appliance id).
    PutAppliance(Box<Appliance>),
    /// Forgets which licenses the tenant's appliances were issued, so that each gets one at its
    /// next check-in.
    ForgetLicenses {
        /// Whose they are.
        tenant: TenantId,
    },
    /// Deletes all credentials of an appliance.
    DeleteCredentials {
        /// Whose it is.
        tenant: TenantId,
        /// The appliance.
        appliance: ApplianceId,
    },
    /// Inserts a credential.
    InsertCredential(Credential),
    /// Marks a credential as used, where it is not yet, and deletes the appliance's credentials
    /// that were issued no later than it: whoever uses the new one has it.
    UseCredential {
        /// The credential.
        credential: Credential,
        /// When it was first used.
        at: Timestamp,
    },
    /// Puts a mail into the outbox.
    EnqueueMail(Box<QueuedMail>),
    /// Discards the tenant's mails with codes that were not sent, queued or given up, and blanks
    /// their secrets.
    DiscardMails {
        /// The tenant.
        tenant: TenantId,
        /// When.
        at: Timestamp,
    },
    /// Queues a mail again that was given up, or makes a queued one due, and counts its tries anew:
    /// the last one's error goes. Nothing where it was sent or discarded.
    RequeueMail {
        /// The mail.
        mail: MailId,
        /// When it is due.
        at: Timestamp,
    },
    /// Discards a mail that was not sent, and blanks its secret.
    DiscardMail {
        /// The mail.
        mail: MailId,
        /// When.
        at: Timestamp,
    },
    /// Inserts an audit line.
    AppendAudit(Box<AuditEntry>),
    /// Records an answer for replay, over one that has ended.
    PutReplay(Box<ReplayRecord>),
    /// Puts a release. MUST fail where its channel has this version under another id.
    PutRelease(Box<Release>),
    /// Changes links and sessions.
    SignIn(SignInWrite),
    /// Makes a release the current one of its channel, or none.
    SetCurrent {
        /// The channel.
        channel: Channel,
        /// The release.
        release: Option<ReleaseId>,
    },
}

/// One change to the links and sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignInWrite {
    /// Inserts a link or a session. MUST fail where its digest is taken.
    Insert(Box<SignIn>),
    /// Marks a session as used.
    Use {
        /// The session.
        session: SignInDigest,
        /// When.
        at: Timestamp,
    },
    /// Deletes one link or session.
    Delete(SignInDigest),
    /// Deletes a principal's links and sessions, or those of one kind.
    DeleteAll {
        /// Whose.
        principal: Principal,
        /// Which; both, where there is none.
        kind: Option<SignInKind>,
    },
}

impl From<SignInWrite> for Write {
    fn from(write: SignInWrite) -> Self {
        Self::SignIn(write)
    }
}

impl Write {
    /// An audit line as a write.
    #[must_use]
    pub fn audit(entry: AuditEntry) -> Self {
        Self::AppendAudit(Box::new(entry))
    }
}
