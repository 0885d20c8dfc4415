//! Writes: the changes to rows that a decision returns.

use crate::appliance::{Appliance, Credential};
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::entitlement::Entitlement;
use crate::id::{CodeId, EntitlementId, ReleaseId, TenantId};
use crate::install_code::{Consumption, InstallCode};
use crate::mail::QueuedMail;
use crate::refusal::Refusal;
use crate::release::Release;
use crate::secret::{Sealed, SignInDigest};
use crate::sign_in::{Principal, SignIn, SignInKind};
use crate::store::Outcome;
use crate::tenant::Tenant;
use crate::text::{ApplianceId, Channel};

/// A request with an idempotency key.
///
/// Before it loads any fact, a store MUST look for a record under `(scope, key_digest)` that has
/// not expired at `now`. If the record has the same fingerprint, the outcome is
/// [`Outcome::Replayed`]; otherwise it is a refusal with [`Refusal::KeyReused`]. The record is a
/// write like any other ([`Write::PutReplay`]), so it exists if and only if the effects of the
/// request do. Of two concurrent requests with the same key, the second MUST wait for the first,
/// then replay.
///
/// [`Outcome::Replayed`]: crate::store::Outcome::Replayed
/// [`Refusal::KeyReused`]: crate::refusal::Refusal::KeyReused
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The route and the caller that the key belongs to.
    pub scope: String,
    /// SHA-256 of the key.
    pub key_digest: [u8; 32],
    /// SHA-256 of the request.
    pub fingerprint: [u8; 32],
    /// Time of the request.
    pub now: Timestamp,
}

/// A recorded response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRecord {
    /// The request.
    pub request: Replay,
    /// The sealed response.
    pub answer: Sealed,
    /// Expiry of the record.
    pub expires_at: Timestamp,
}

impl ReplayRecord {
    /// Returns what the record answers to a request under its key: the recorded response to the
    /// same request, a refusal of a different one. `None` if the record has expired.
    #[must_use]
    pub fn outcome<T>(&self, request: &Replay) -> Option<Outcome<T>> {
        if self.expires_at <= request.now {
            None
        } else if self.request.fingerprint == request.fingerprint {
            Some(Outcome::Replayed(self.answer.clone()))
        } else {
            Some(Outcome::Refused(Refusal::KeyReused))
        }
    }
}

/// One change to a row. *Insert* MUST fail if the row exists. *Put* inserts the row, or replaces the
/// one with the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Inserts a tenant. MUST fail if another tenant has the subscription.
    InsertTenant(Box<Tenant>),
    /// Replaces a tenant.
    UpdateTenant(Box<Tenant>),
    /// Inserts an entitlement. MUST fail if the tenant has another active one, or if another
    /// entitlement has the subscription.
    InsertEntitlement(Box<Entitlement>),
    /// Replaces an entitlement. MUST fail if the tenant has another active one.
    UpdateEntitlement(Box<Entitlement>),
    /// Inserts a code. MUST fail if the digest exists, or if the tenant (for an activation code,
    /// the entitlement) has a code that is neither consumed nor superseded.
    InsertCode(Box<InstallCode>),
    /// Marks a code as redeemed. MUST fail if the code is consumed or superseded.
    ConsumeCode {
        /// The code.
        code: CodeId,
        /// The time and the appliance of the redemption.
        consumption: Consumption,
        /// The tenant that the code belongs to from now on.
        tenant: TenantId,
    },
    /// Marks the unconsumed install codes of a tenant as superseded.
    SupersedeCodes {
        /// The tenant.
        tenant: TenantId,
        /// Time of the replacement.
        at: Timestamp,
    },
    /// Marks the unconsumed activation codes of an entitlement as superseded.
    SupersedeActivationCodes {
        /// The entitlement.
        entitlement: EntitlementId,
        /// Time of the replacement.
        at: Timestamp,
    },
    /// Puts an appliance, under (tenant, appliance id). If it exists, this replaces only its license
    /// and its revocation.
    PutAppliance(Box<Appliance>),
    /// Records the time of a check-in, unless a later one is recorded.
    RecordCheckIn {
        /// The tenant of the appliance.
        tenant: TenantId,
        /// The appliance.
        appliance: ApplianceId,
        /// Time of the check-in.
        at: Timestamp,
    },
    /// Clears the licenses recorded for the tenant's appliances, so that each gets a new one at its
    /// next check-in.
    ClearLicenses {
        /// The tenant of the appliances.
        tenant: TenantId,
    },
    /// Deletes all credentials of an appliance.
    DeleteCredentials {
        /// The tenant of the appliance.
        tenant: TenantId,
        /// The appliance.
        appliance: ApplianceId,
    },
    /// Inserts a credential.
    InsertCredential(Credential),
    /// Replaces a credential: what a check-in with it shows.
    UpdateCredential(Box<Credential>),
    /// Retires the appliance's credentials of earlier registrations than this credential's: an
    /// appliance that uses this one has received it. Those with a `sequence` are marked as
    /// replaced, the others are deleted.
    RetireCredentials {
        /// The credential that is used.
        credential: Box<Credential>,
        /// Time of the first use.
        at: Timestamp,
    },
    /// Puts a mail into the outbox.
    EnqueueMail(Box<QueuedMail>),
    /// Discards the tenant's queued and dead mails with codes, and blanks their secrets.
    DiscardMails {
        /// The tenant.
        tenant: TenantId,
        /// Time of the discard.
        at: Timestamp,
    },
    /// Replaces the state of a mail: everything that a delivery or an operator changes.
    UpdateMail(Box<QueuedMail>),
    /// Appends an audit entry. One with a [`count_key`](AuditEntry::count_key) adds one to the
    /// count of the entry with the same key, if there is one.
    AppendAudit(Box<AuditEntry>),
    /// Records a response for replay. Replaces an expired record of the same key.
    PutReplay(Box<ReplayRecord>),
    /// Puts a release. MUST fail if the channel has the same version under another id.
    PutRelease(Box<Release>),
    /// Changes sign-in links and sessions.
    SignIn(SignInWrite),
    /// Makes a release the current one of its channel. `None` leaves the channel without one.
    SetCurrent {
        /// The channel.
        channel: Channel,
        /// The release.
        release: Option<ReleaseId>,
    },
}

/// One change to sign-in links and sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignInWrite {
    /// Inserts a link or session. MUST fail if the digest exists.
    Insert(Box<SignIn>),
    /// Marks a session as used.
    Use {
        /// The session.
        session: SignInDigest,
        /// Time of the use.
        at: Timestamp,
    },
    /// Deletes one link or session.
    Delete(SignInDigest),
    /// Deletes a principal's links and sessions.
    DeleteAll {
        /// The principal.
        principal: Principal,
        /// The kind to delete; `None` deletes both.
        kind: Option<SignInKind>,
    },
}

impl From<SignInWrite> for Write {
    fn from(write: SignInWrite) -> Self {
        Self::SignIn(write)
    }
}

impl Write {
    /// Returns the write that stores a tenant, which is new unless it was loaded before.
    #[must_use]
    pub fn tenant(is_new: bool, tenant: Tenant) -> Self {
        let tenant = Box::new(tenant);
        if is_new { Self::InsertTenant(tenant) } else { Self::UpdateTenant(tenant) }
    }

    /// Returns the write that stores an entitlement, which is new unless it was loaded before.
    #[must_use]
    pub fn entitlement(is_new: bool, entitlement: Entitlement) -> Self {
        let entitlement = Box::new(entitlement);
        if is_new {
            Self::InsertEntitlement(entitlement)
        } else {
            Self::UpdateEntitlement(entitlement)
        }
    }

    /// True if the write only notes that an appliance checked in.
    #[must_use]
    pub fn is_observation(&self) -> bool {
        matches!(self, Self::RecordCheckIn { .. } | Self::UpdateCredential(_))
    }

    /// Wraps an audit entry as a write.
    #[must_use]
    pub fn audit(entry: AuditEntry) -> Self {
        Self::AppendAudit(Box::new(entry))
    }
}
