//! The audit: one line, in the same transaction, for every change and for every refusal of
//! something known.

use crate::clock::Timestamp;
use crate::id::{AuditId, CodeId, MailId, TenantId};
use crate::rate_limit::Source;
use crate::string_enum::string_enum;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A tenant was registered.
    TenantRegistered,
    /// A tenant that an appliance brought along was adopted.
    TenantAdopted,
    /// A tenant's edition was raised by an entitlement bound to it.
    TenantUpgraded,
    /// A tenant was suspended by an operator.
    TenantSuspended,
    /// A suspended or cancelled tenant was resumed.
    TenantResumed,
    /// A tenant was cancelled.
    TenantCancelled,
    /// An appliance was revoked, and all of its credentials.
    ApplianceRevoked,
    /// A code was minted.
    CodeIssued,
    /// A code was minted for a tenant that had some before: the unused ones are dead.
    CodeReissued,
    /// A code was redeemed.
    CodeRedeemed,
    /// A redemption was refused; the reason is in the detail.
    RedeemRefused,
    /// A re-issue was refused; the reason is in the detail.
    ReissueRefused,
    /// A registration for a known subscription was refused; the reason is in the detail.
    RegisterRefused,
    /// A check-in with the credential of a revoked appliance was refused.
    CheckInRefused,
    /// The first appliance of a tenant checked in.
    TenantActive,
    /// A license was signed for an appliance that checked in; why is in the detail.
    LicenseRenewed,
    /// An entitlement was granted.
    EntitlementGranted,
    /// An entitlement was changed: seats, customer or edition.
    EntitlementChanged,
    /// An entitlement that had been revoked holds again.
    EntitlementRestored,
    /// A license was signed for a subscription; for how long is in the detail.
    LicenseSigned,
    /// A change to a known entitlement was refused; the reason is in the detail.
    EntitlementRefused,
    /// An entitlement was bound to a tenant.
    EntitlementBound,
    /// An entitlement was revoked.
    EntitlementRevoked,
    /// A release became the current one of its channel.
    ReleasePublished,
    /// A release was withdrawn.
    ReleaseYanked,
    /// An earlier release was made the current one of its channel.
    ReleaseRolledBack,
    /// A contact asked for a link that signs in; it is mailed.
    SignInAsked,
    /// Somebody signed in to the portal or the console.
    SignedIn,
    /// Somebody signed out, from one session or everywhere.
    SignedOut,
    /// A mail was queued again by an operator.
    MailRetried,
    /// A mail was discarded by an operator.
    MailDiscarded,
    /// A mail's download link was followed: one line a code, source and minute, with their number.
    DownloadStarted,
    /// A mail's download link was refused; the reason is in the detail. One line a code, source and
    /// minute.
    DownloadRefused,
    /// Unknown codes were tried: one line a source and minute, with their number.
    UnknownCodes,
}

impl Action {
    /// Whether one line stands for several events of a minute: what an open endpoint writes must
    /// not grow with every call.
    #[must_use]
    pub fn is_counted(self) -> bool {
        matches!(self, Self::DownloadStarted | Self::DownloadRefused | Self::UnknownCodes)
    }
}

string_enum!(Action {
    TenantRegistered = "tenant_registered",
    TenantAdopted = "tenant_adopted",
    TenantUpgraded = "tenant_upgraded",
    TenantSuspended = "tenant_suspended",
    TenantResumed = "tenant_resumed",
    TenantCancelled = "tenant_cancelled",
    ApplianceRevoked = "appliance_revoked",
    CodeIssued = "code_issued",
    CodeReissued = "code_reissued",
    CodeRedeemed = "code_redeemed",
    RedeemRefused = "redeem_refused",
    ReissueRefused = "reissue_refused",
    RegisterRefused = "register_refused",
    CheckInRefused = "check_in_refused",
    TenantActive = "tenant_active",
    LicenseRenewed = "license_renewed",
    EntitlementGranted = "entitlement_granted",
    EntitlementChanged = "entitlement_changed",
    EntitlementRestored = "entitlement_restored",
    LicenseSigned = "license_signed",
    EntitlementRefused = "entitlement_refused",
    EntitlementBound = "entitlement_bound",
    EntitlementRevoked = "entitlement_revoked",
    ReleasePublished = "release_published",
    ReleaseYanked = "release_yanked",
    ReleaseRolledBack = "release_rolled_back",
    SignInAsked = "sign_in_asked",
    SignedIn = "signed_in",
    SignedOut = "signed_out",
    MailRetried = "mail_retried",
    MailDiscarded = "mail_discarded",
    DownloadStarted = "download_started",
    DownloadRefused = "download_refused",
    UnknownCodes = "unknown_codes",
});

/// Who did it, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// `service:` or `operator:` and a token's name, `customer:` and an address, or what stands
    /// open to anybody: `appliance`, `customer`, `portal`, `signup`.
    pub name: String,
    /// The address or machine the request came from.
    pub source: String,
}

impl Actor {
    /// A customer who signed in with this address.
    #[must_use]
    pub fn customer(address: &str, source: Source) -> Self {
        Self { name: format!("customer:{address}"), source: source.to_string() }
    }
}

/// A line of the audit. It names codes by their id, never by their text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its id.
    pub id: AuditId,
    /// When.
    pub at: Timestamp,
    /// Who and from where.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// About which tenant.
    pub tenant_id: Option<TenantId>,
    /// About which code.
    pub code_id: Option<CodeId>,
    /// About which mail.
    pub mail_id: Option<MailId>,
    /// Why, or with what result: short, and without secrets.
    pub detail: String,
    /// How often, where a line stands for several events.
    pub count: u32,
}
