//! The audit log: one entry for every change and for every refusal that concerns a known tenant,
//! code or entitlement, written in the same transaction.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::clock::{Timestamp, minute};
use crate::id::{AuditId, CodeId, MailId, TenantId};
use crate::rate_limit::Source;
use crate::string_enum::string_enum;
use crate::text::ApplianceId;

/// The kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A tenant was registered.
    TenantRegistered,
    /// An appliance brought a tenant id that the registry did not know, and the tenant was adopted.
    TenantAdopted,
    /// A tenant took over the edition of an entitlement that was bound to it.
    TenantUpgraded,
    /// An operator suspended a tenant.
    TenantSuspended,
    /// An operator resumed a suspended or cancelled tenant.
    TenantResumed,
    /// An operator cancelled a tenant.
    TenantCancelled,
    /// An appliance was revoked, with all its credentials.
    ApplianceRevoked,
    /// A code was issued.
    CodeIssued,
    /// A code was issued to a tenant that had earlier codes; it replaces the unused ones.
    CodeReissued,
    /// A live code was superseded because the database was restored from a backup.
    CodeSuperseded,
    /// A code was redeemed.
    CodeRedeemed,
    /// Redemptions were refused; the detail has the reason of the first. One entry counts the
    /// events of a code, source and minute.
    RedeemRefused,
    /// A re-issue was refused; the detail has the reason.
    ReissueRefused,
    /// A registration for a known subscription was refused; the detail has the reason.
    RegisterRefused,
    /// Check-ins were refused: with the credential of a revoked appliance, or with one that is
    /// unknown and the license of a tenant; the detail has the reason. One entry counts the events
    /// of an appliance, source and minute.
    CheckInRefused,
    /// Two machines use the identity of one appliance; the detail has what shows it.
    ApplianceDuplicated,
    /// The first appliance of a tenant checked in.
    TenantActive,
    /// A license was signed for an appliance that checked in; the detail has the reason.
    LicenseRenewed,
    /// An entitlement was granted.
    EntitlementGranted,
    /// The seats, the customer or the edition of an entitlement changed.
    EntitlementChanged,
    /// A revoked entitlement became active again.
    EntitlementRestored,
    /// A license was signed for a subscription; the detail has its lifetime.
    LicenseSigned,
    /// A change to a known entitlement was refused; the detail has the reason.
    EntitlementRefused,
    /// An entitlement was bound to a tenant.
    EntitlementBound,
    /// An operator took an entitlement from the tenant that it was bound to.
    EntitlementUnbound,
    /// An entitlement was revoked.
    EntitlementRevoked,
    /// A release became the current one of its channel.
    ReleasePublished,
    /// A release was withdrawn.
    ReleaseYanked,
    /// An earlier release was made the current one of its channel.
    ReleaseRolledBack,
    /// A contact requested a sign-in link, which is mailed.
    SignInRequested,
    /// Somebody signed in to the portal or the console.
    SignedIn,
    /// Somebody signed out, from one session or everywhere.
    SignedOut,
    /// An operator queued a mail again.
    MailRetried,
    /// An operator discarded a mail.
    MailDiscarded,
    /// The download link in a mail was followed. One entry counts the events of a code, source and
    /// minute.
    DownloadStarted,
    /// The download link in a mail was refused; the detail has the reason. One entry counts the
    /// events of a code, source and minute.
    DownloadRefused,
    /// Unknown codes were submitted. One entry counts the events of a source and minute.
    UnknownCodes,
}

impl Action {
    /// True if one entry counts several events of a minute. Endpoints without authentication write
    /// such entries, so that the audit log does not grow with every call.
    #[must_use]
    pub fn is_counted(self) -> bool {
        matches!(
            self,
            Self::DownloadStarted
                | Self::DownloadRefused
                | Self::UnknownCodes
                | Self::RedeemRefused
                | Self::CheckInRefused
        )
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
    CodeSuperseded = "code_superseded",
    CodeRedeemed = "code_redeemed",
    RedeemRefused = "redeem_refused",
    ReissueRefused = "reissue_refused",
    RegisterRefused = "register_refused",
    CheckInRefused = "check_in_refused",
    ApplianceDuplicated = "appliance_duplicated",
    TenantActive = "tenant_active",
    LicenseRenewed = "license_renewed",
    EntitlementGranted = "entitlement_granted",
    EntitlementChanged = "entitlement_changed",
    EntitlementRestored = "entitlement_restored",
    LicenseSigned = "license_signed",
    EntitlementRefused = "entitlement_refused",
    EntitlementBound = "entitlement_bound",
    EntitlementUnbound = "entitlement_unbound",
    EntitlementRevoked = "entitlement_revoked",
    ReleasePublished = "release_published",
    ReleaseYanked = "release_yanked",
    ReleaseRolledBack = "release_rolled_back",
    SignInRequested = "sign_in_asked",
    SignedIn = "signed_in",
    SignedOut = "signed_out",
    MailRetried = "mail_retried",
    MailDiscarded = "mail_discarded",
    DownloadStarted = "download_started",
    DownloadRefused = "download_refused",
    UnknownCodes = "unknown_codes",
});

/// The author of an event, and where the request came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Name of the actor: `service:` with the name of a token, `operator:` with the name of a token
    /// or of a system user, `customer:` with an email address, or, for endpoints without
    /// authentication, `appliance`, `customer`, `portal` or `signup`.
    pub name: String,
    /// Network address or machine that the request came from.
    pub source: String,
}

impl Actor {
    /// Returns the actor for a customer who is signed in with `address`.
    #[must_use]
    pub fn customer(address: &str, source: Source) -> Self {
        Self { name: format!("customer:{address}"), source: source.to_string() }
    }
}

/// The detail of an audit entry: what its action leaves open. The database stores it as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditDetail {
    /// Name of the reason: the [`reason`](crate::Refusal::reason) of a refusal, the reason why a
    /// license was due, or `registered_again`, `newest_of_several` or `everywhere`. Pages translate
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The appliance concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub appliance: Option<String>,
    /// A value, such as an edition, a version, an earlier status, or the error of a mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl AuditDetail {
    /// A detail with this reason.
    #[must_use]
    pub fn reason(reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()), ..Self::default() }
    }

    /// A detail about this appliance.
    #[must_use]
    pub fn appliance(appliance: &ApplianceId) -> Self {
        Self { appliance: Some(appliance.to_string()), ..Self::default() }
    }

    /// A detail with this value. An empty value is no detail.
    #[must_use]
    pub fn value(value: &str) -> Self {
        Self { value: Some(value.to_owned()).filter(|value| !value.is_empty()), ..Self::default() }
    }

    /// This detail, about this appliance.
    #[must_use]
    pub fn of(self, appliance: &ApplianceId) -> Self {
        Self { appliance: Some(appliance.to_string()), ..self }
    }

    /// The detail in the form that is stored: JSON, or nothing.
    #[must_use]
    pub fn to_stored(&self) -> String {
        if *self == Self::default() {
            return String::new();
        }
        // None of the keys is anything but text, which is all that could fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses a stored detail. Other text is a value, as earlier versions wrote it.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        let json = Some(text).filter(|text| text.starts_with('{'));
        if let Some(detail) = json.and_then(|text| serde_json::from_str(text).ok()) {
            return detail;
        }
        // Earlier versions wrote `by {appliance}`, `{reason} for {appliance}`, or a value.
        if let Some(appliance) = text.strip_prefix("by ") {
            return Self { appliance: Some(appliance.to_owned()), ..Self::default() };
        }
        match text.split_once(" for ") {
            Some((reason, appliance)) => {
                Self { appliance: Some(appliance.to_owned()), ..Self::reason(reason) }
            }
            None => Self::value(text),
        }
    }
}

impl fmt::Display for AuditDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.reason, &self.value, &self.appliance];
        let parts: Vec<_> = parts.into_iter().flatten().map(String::as_str).collect();
        f.write_str(&parts.join(", "))
    }
}

/// An entry of the audit log. Codes appear by id, never by their text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Id of the entry.
    pub id: AuditId,
    /// Time of the event.
    pub at: Timestamp,
    /// The author of the event.
    pub actor: Actor,
    /// The kind of event.
    pub action: Action,
    /// The tenant concerned.
    pub tenant_id: Option<TenantId>,
    /// The code concerned.
    pub code_id: Option<CodeId>,
    /// The mail concerned.
    pub mail_id: Option<MailId>,
    /// The reason or the result, without secrets.
    pub detail: AuditDetail,
    /// Number of events that this entry counts.
    pub count: u32,
}

impl AuditEntry {
    /// Returns the key of a counted event: the digest of the action, the source, the minute, and the
    /// code, or else the tenant and the appliance. What the caller of an endpoint without
    /// authentication can choose is no part of it. `None` if each event has its own entry.
    #[must_use]
    pub fn count_key(&self) -> Option<[u8; 32]> {
        if !self.action.is_counted() {
            return None;
        }
        let subject = match (self.code_id, self.tenant_id) {
            (Some(code), _) => code.to_string(),
            (None, tenant) => {
                let tenant = tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
                format!("{tenant} {}", self.detail.appliance.as_deref().unwrap_or_default())
            }
        };
        let parts = [self.action.as_str(), &self.actor.source, &subject];
        let minute = minute(self.at).timestamp().to_string();
        Some(Sha256::digest(format!("{}\0{minute}", parts.join("\0"))).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detail_is_read_as_it_was_stored() {
        let appliance = ApplianceId::from_stored("appliance-1".to_owned());
        for (detail, stored, shown) in [
            (AuditDetail::default(), "", ""),
            (AuditDetail::value(""), "", ""),
            (AuditDetail::value("1.0.0"), r#"{"value":"1.0.0"}"#, "1.0.0"),
            (
                AuditDetail::reason("code_expired").of(&appliance),
                r#"{"reason":"code_expired","appliance":"appliance-1"}"#,
                "code_expired, appliance-1",
            ),
            (AuditDetail::appliance(&appliance), r#"{"appliance":"appliance-1"}"#, "appliance-1"),
            (AuditDetail::value("{"), r#"{"value":"{"}"#, "{"),
        ] {
            assert_eq!(detail.to_stored(), stored);
            assert_eq!(AuditDetail::from_stored(stored), detail);
            assert_eq!(detail.to_string(), shown);
        }
        for (stored, detail) in [
            ("by appliance-1", AuditDetail::appliance(&appliance)),
            ("code_expired for appliance-1", AuditDetail::reason("code_expired").of(&appliance)),
            ("pro", AuditDetail::value("pro")),
            (r#"{"other":1}"#, AuditDetail::value(r#"{"other":1}"#)),
            ("[]", AuditDetail::value("[]")),
        ] {
            assert_eq!(AuditDetail::from_stored(stored), detail, "an earlier version: {stored}");
        }
    }
}
