//! Facts: what decisions are made on, how it is asked for, and what the directory reads.

use crate::appliance::{Appliance, Credential};
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

/// What a registration is decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterFacts {
    /// The tenant of the subscription: the one registered with it, or the one its entitlement is
    /// bound to.
    pub tenant: Option<Tenant>,
    /// The subscription's entitlement.
    pub entitlement: Option<Entitlement>,
    /// The active entitlement of `tenant`.
    pub tenant_entitlement: Option<Entitlement>,
}

/// What a redemption is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedeemKey {
    /// The code's digests, one a master key.
    pub digests: Vec<CodeDigest>,
    /// The tenant that the appliance names.
    pub tenant_id: Option<TenantId>,
    /// The appliance.
    pub appliance_id: ApplianceId,
}

/// What a redemption is decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedeemFacts {
    /// The code with one of the digests.
    pub code: Option<InstallCode>,
    /// The code's tenant; where it has none, its entitlement's; where that has none, the one that
    /// the appliance names.
    pub tenant: Option<Tenant>,
    /// The code's entitlement.
    pub entitlement: Option<Entitlement>,
    /// The active entitlement of `tenant`.
    pub tenant_entitlement: Option<Entitlement>,
    /// The appliance of that id under `tenant`.
    pub appliance: Option<Appliance>,
}

impl TenantSelector {
    /// Reads what a caller says: the id goes before the contact, and one of them must be there.
    pub fn parse(
        tenant_id: Option<TenantId>,
        contact_email: Option<&str>,
    ) -> Result<Self, Refusal> {
        match (tenant_id, contact_email) {
            (Some(id), _) => Ok(Self::Id(id)),
            (None, Some(contact)) => Ok(Self::Contact(EmailAddress::parse(contact)?)),
            (None, None) => Err(Refusal::Invalid {
                field: "tenant_id",
                problem: "or `contact_email` must be given".to_owned(),
            }),
        }
    }
}

/// Which tenant a re-issue is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantSelector {
    /// The tenant with this id.
    Id(TenantId),
    /// The tenants of this contact, in any case.
    Contact(EmailAddress),
}

/// What a re-issue is decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReissueFacts {
    /// By id: that tenant. By contact: the newest two that are not cancelled, newest first.
    pub tenants: Vec<Tenant>,
    /// The active entitlement of the first.
    pub entitlement: Option<Entitlement>,
}

/// What a credential opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFacts {
    /// The credential.
    pub credential: Credential,
    /// Its appliance.
    pub appliance: Appliance,
    /// The tenant of that.
    pub tenant: Tenant,
    /// The tenant's active entitlement.
    pub entitlement: Option<Entitlement>,
}

/// A tenant that an operator changes, or an appliance of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantKey {
    /// The tenant.
    pub id: TenantId,
    /// The appliance.
    pub appliance: Option<ApplianceId>,
}

/// What an operator's change is decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantFacts {
    /// The tenant.
    pub tenant: Option<Tenant>,
    /// Its appliance.
    pub appliance: Option<Appliance>,
}

/// Which entitlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntitlementSelector {
    /// The one with this id.
    Id(EntitlementId),
    /// The one of this subscription.
    Subscription(SubscriptionId),
}

/// An entitlement that is to be changed, and the tenant that the caller names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntitlementKey {
    /// Which entitlement.
    pub selector: EntitlementSelector,
    /// The tenant to bind it to, where the caller names one.
    pub tenant_id: Option<TenantId>,
}

/// What a change to an entitlement is decided on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntitlementFacts {
    /// The entitlement.
    pub entitlement: Option<Entitlement>,
    /// Its tenant; where it has none, the one that the caller names.
    pub tenant: Option<Tenant>,
    /// The active entitlement of `tenant`.
    pub tenant_entitlement: Option<Entitlement>,
}

/// What a change to a channel's releases is decided on: all of them, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseFacts {
    /// The releases.
    pub releases: Vec<ListedRelease>,
}

/// A release, and whether it is the one that customers download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRelease {
    /// The release.
    pub release: Release,
    /// Whether it is the current one of its channel.
    pub is_current: bool,
}

/// What is kept for a while after it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetentionKind {
    /// Answers recorded for replay, by when they are forgotten.
    Replays,
    /// Mails that were sent, given up or discarded, by when that was.
    Mails,
    /// Codes that nobody redeemed, by when they ended.
    Codes,
    /// Lines of the audit, by when they were written.
    Audit,
    /// Links that sign in, and sessions, by when they ended.
    SignIns,
}

string_enum!(RetentionKind { Replays = "replays", Mails = "mails", Codes = "codes", Audit = "audit", SignIns = "sign_ins" });

/// A tenant with all that hangs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRecord {
    /// The tenant.
    pub tenant: Tenant,
    /// Its entitlements.
    pub entitlements: Vec<Entitlement>,
    /// Its codes, newest first.
    pub codes: Vec<InstallCode>,
    /// Its appliances, in order of their registration.
    pub appliances: Vec<Appliance>,
}

/// An appliance that was not heard of for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilentAppliance {
    /// Its tenant.
    pub tenant: Tenant,
    /// The appliance.
    pub appliance: Appliance,
}

/// Which lines of the audit to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only those about this tenant.
    pub tenant: Option<TenantId>,
    /// At most so many.
    pub limit: u32,
    /// Only those that come after this place.
    pub after: Option<Cursor<AuditId>>,
}

/// Which tenants to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantQuery {
    /// Only those that run there.
    pub deployment: Option<DeploymentType>,
    /// Only those of this contact, in any case.
    pub contact: Option<EmailAddress>,
    /// Only those whose company or e-mail contains this text, which is folded.
    pub text: Option<String>,
    /// Only those of this edition.
    pub edition: Option<EditionName>,
    /// Only those of this product.
    pub product: Option<ProductCode>,
    /// Only those with this status.
    pub status: Option<TenantStatus>,
    /// At most so many.
    pub limit: u32,
    /// Only those that come after this place.
    pub after: Option<Cursor<TenantId>>,
}
