//! Facts: the inputs of decisions, the keys that select them, and the records of the directory.

use crate::appliance::{Appliance, Credential};
use crate::audit::Action;
use crate::edition::EditionName;
use crate::entitlement::Entitlement;
use crate::id::{AuditId, EntitlementId, TenantId};
use crate::install_code::InstallCode;
use crate::pagination::Cursor;
use crate::refusal::Refusal;
use crate::release::Release;
use crate::secret::CodeDigest;
use crate::string_enum::string_enum;
use crate::tenant::{DeploymentType, Tenant, TenantStatus};
use crate::text::{ApplianceId, EmailAddress, ProductCode, SubscriptionId};

/// Selects the facts of a redemption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedeemKey {
    /// Digests of the code, one per master key.
    pub digests: Vec<CodeDigest>,
    /// The tenant that the appliance named.
    pub tenant_id: Option<TenantId>,
    /// The appliance.
    pub appliance_id: ApplianceId,
}

/// Input of the decision on a redemption.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedeemFacts {
    /// The code that has one of the digests.
    pub code: Option<InstallCode>,
    /// The tenant of the code, or else of its entitlement, or else the one that the appliance
    /// named.
    pub tenant: Option<Tenant>,
    /// The code's entitlement.
    pub entitlement: Option<Entitlement>,
    /// The active entitlement of `tenant`.
    pub tenant_entitlement: Option<Entitlement>,
    /// The appliance with this id under `tenant`.
    pub appliance: Option<Appliance>,
}

impl TenantSelector {
    /// Creates a selector from the fields of a request. The id takes precedence over the contact,
    /// and one of them is required.
    pub fn parse(
        tenant_id: Option<TenantId>,
        contact_email: Option<&str>,
    ) -> Result<Self, Refusal> {
        match (tenant_id, contact_email) {
            (Some(id), _) => Ok(Self::Id(id)),
            (None, Some(contact)) => Ok(Self::Contact(EmailAddress::parse(contact)?)),
            (None, None) => Err(Refusal::Invalid {
                field: "tenant_id",
                problem: "or `contact_email` is required".to_owned(),
            }),
        }
    }
}

/// Selects the tenant of a re-issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantSelector {
    /// The tenant with this id.
    Id(TenantId),
    /// The tenants with this contact, in any case.
    Contact(EmailAddress),
}

/// Input of the decision on a re-issue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReissueFacts {
    /// By id: that tenant. By contact: the two preferred tenants that are not cancelled
    /// ([`Tenant::preference`]).
    pub tenants: Vec<Tenant>,
    /// The active entitlement of the first tenant.
    pub entitlement: Option<Entitlement>,
}

/// A credential with its appliance, tenant and entitlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFacts {
    /// The credential.
    pub credential: Credential,
    /// The appliance of the credential.
    pub appliance: Appliance,
    /// The tenant of the appliance.
    pub tenant: Tenant,
    /// The active entitlement of the tenant.
    pub entitlement: Option<Entitlement>,
}

/// Selects the tenant that an operator changes, and optionally one of its appliances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantKey {
    /// The tenant.
    pub id: TenantId,
    /// The appliance.
    pub appliance: Option<ApplianceId>,
}

/// Input of the decision on an operator's change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantFacts {
    /// The tenant.
    pub tenant: Option<Tenant>,
    /// The appliance, if the key names one.
    pub appliance: Option<Appliance>,
}

/// Selects an entitlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntitlementSelector {
    /// The entitlement with this id.
    Id(EntitlementId),
    /// The entitlement of this subscription.
    Subscription(SubscriptionId),
}

/// Selects the facts of a change to an entitlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntitlementKey {
    /// The entitlement to change.
    pub selector: EntitlementSelector,
    /// The tenant to bind the entitlement to, if the caller named one.
    pub tenant_id: Option<TenantId>,
}

/// Input of the decision on a registration, and on a change to an entitlement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntitlementFacts {
    /// The selected entitlement; of a registration, its subscription's.
    pub entitlement: Option<Entitlement>,
    /// The tenant of the entitlement. Without one, it is the tenant that the caller named; of a
    /// registration, the tenant that was registered with the subscription.
    pub tenant: Option<Tenant>,
    /// The active entitlement of `tenant`.
    pub tenant_entitlement: Option<Entitlement>,
}

/// Input of the decision on a change to a channel's releases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseFacts {
    /// All releases of the channel, newest first.
    pub releases: Vec<ListedRelease>,
}

/// A release, marked as current or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRelease {
    /// The release.
    pub release: Release,
    /// True if the release is the current one of its channel.
    pub is_current: bool,
}

/// The kinds of rows that are deleted some time after their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetentionKind {
    /// Recorded responses for replay. They end when they expire.
    Replays,
    /// Mails that were sent, given up or discarded. They end at that time.
    Mails,
    /// Codes that were never redeemed. They end when they expire.
    Codes,
    /// Audit entries. They end when they are written.
    Audit,
    /// Sign-in links and sessions. They end when they expire.
    SignIns,
    /// Tenants that were registered at the sign-up page and never installed, with their codes and
    /// mails. They end when their last code expires.
    UnusedTenants,
}

string_enum!(RetentionKind {
    Replays = "replays",
    Mails = "mails",
    Codes = "codes",
    Audit = "audit",
    SignIns = "sign_ins",
    UnusedTenants = "unused_tenants",
});

/// A tenant with everything that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRecord {
    /// The tenant.
    pub tenant: Tenant,
    /// The entitlements of the tenant.
    pub entitlements: Vec<Entitlement>,
    /// The codes of the tenant, newest first.
    pub codes: Vec<InstallCode>,
    /// The appliances of the tenant, in order of registration.
    pub appliances: Vec<Appliance>,
}

/// An appliance that has not checked in for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverdueAppliance {
    /// The tenant of the appliance.
    pub tenant: Tenant,
    /// The appliance.
    pub appliance: Appliance,
}

/// Filter and page of a list of audit entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only entries about this tenant.
    pub tenant: Option<TenantId>,
    /// Only entries with this action.
    pub action: Option<Action>,
    /// Maximum number of entries.
    pub limit: u32,
    /// Only entries after this position.
    pub after: Option<Cursor<AuditId>>,
}

/// Filter and page of a list of tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantQuery {
    /// Only tenants with this deployment.
    pub deployment: Option<DeploymentType>,
    /// Only tenants with this contact, in any case.
    pub contact: Option<EmailAddress>,
    /// Only tenants whose company or email address contains this text, which must be folded.
    pub text: Option<String>,
    /// Only tenants with this edition.
    pub edition: Option<EditionName>,
    /// Only tenants with this product.
    pub product: Option<ProductCode>,
    /// Only tenants with this status.
    pub status: Option<TenantStatus>,
    /// Maximum number of tenants.
    pub limit: u32,
    /// Only tenants after this position.
    pub after: Option<Cursor<TenantId>>,
}
