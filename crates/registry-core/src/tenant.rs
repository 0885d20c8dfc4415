//! The tenant: the customer that appliances belong to.

use crate::clock::Timestamp;
use crate::edition::EditionName;
use crate::id::TenantId;
use crate::refusal::Refusal;
use crate::string_enum::string_enum;
use crate::text::{
    BillingCustomerId, CompanyName, EmailAddress, PersonName, ProductCode, Region, SubscriptionId,
    fold,
};

/// Status of a tenant. Installing moves it forward; operators suspend and cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TenantStatus {
    /// Registered, with nothing installed yet.
    Registered,
    /// A code was redeemed.
    Installed,
    /// An appliance checked in.
    Active,
    /// Suspended by an operator.
    Suspended,
    /// Cancelled by an operator.
    Cancelled,
}

/// The origin of a tenant's registration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TenantOrigin {
    /// A service, an operator, or an appliance with an activation code.
    #[default]
    Service,
    /// Somebody at the sign-up page.
    SignUp,
}

/// The place where a tenant's product runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeploymentType {
    /// Runs on the customer's own machine.
    Appliance,
    /// Runs at the vendor's.
    Hosted,
}

string_enum!(TenantStatus {
    Registered = "registered",
    Installed = "installed",
    Active = "active",
    Suspended = "suspended",
    Cancelled = "cancelled",
});
string_enum!(TenantOrigin { Service = "service", SignUp = "sign_up" });
string_enum!(DeploymentType { Appliance = "appliance", Hosted = "hosted" });

impl TenantStatus {
    /// Statuses that operators set to refuse service.
    pub const CLOSED: [Self; 2] = [Self::Suspended, Self::Cancelled];

    /// True if an operator suspended or cancelled the tenant.
    #[must_use]
    pub fn is_closed(self) -> bool {
        Self::CLOSED.contains(&self)
    }
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Id of the tenant; never changes.
    pub id: TenantId,
    /// Name of the company.
    pub company_name: CompanyName,
    /// Name of the contact, if given.
    pub contact_name: Option<PersonName>,
    /// Email address of the contact; an adopted tenant has none.
    pub contact_email: Option<EmailAddress>,
    /// The edition that the tenant was registered for or upgraded to.
    pub edition: EditionName,
    /// The product that the tenant runs.
    pub product: ProductCode,
    /// The place where the product runs.
    pub deployment: DeploymentType,
    /// Status of the tenant.
    pub status: TenantStatus,
    /// The subscription that the tenant was registered with. Registering the subscription again
    /// finds this tenant.
    pub subscription: Option<SubscriptionId>,
    /// Id of the customer in the vendor's billing system.
    pub billing_customer: Option<BillingCustomerId>,
    /// The region, if given.
    pub region: Option<Region>,
    /// The origin of the registration.
    pub origin: TenantOrigin,
    /// Time of registration.
    pub registered_at: Timestamp,
    /// Time of the first redemption of a code.
    pub installed_at: Option<Timestamp>,
    /// Time of the last change to the row.
    pub updated_at: Timestamp,
}

impl Tenant {
    /// Checks that the tenant is not suspended or cancelled.
    ///
    /// # Errors
    /// [`Refusal::TenantSuspended`], since the tenant's last change.
    pub fn check_open(&self) -> Result<(), Refusal> {
        if self.status.is_closed() {
            return Err(Refusal::TenantSuspended {
                tenant: Some(self.id),
                since: Some(self.updated_at),
            });
        }
        Ok(())
    }

    /// Returns the order in which the tenants of one contact are preferred, the highest first: one
    /// that is entitled or was installed, then the newest. So a stranger who registers with a
    /// customer's address does not get the customer's next code.
    #[must_use]
    pub fn preference(&self, is_entitled: bool) -> (bool, Timestamp, TenantId) {
        (is_entitled || self.installed_at.is_some(), self.registered_at, self.id)
    }

    /// True if the tenant may be a stranger's: it was made at the sign-up page, and nothing was
    /// installed yet.
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        self.origin == TenantOrigin::SignUp && self.installed_at.is_none()
    }

    /// True if `contact` is the contact's address, in any case.
    #[must_use]
    pub fn is_contact(&self, contact: &EmailAddress) -> bool {
        self.contact_email.as_ref().is_some_and(|email| email.folded() == contact.folded())
    }

    /// Text that searches match against: company and email address, folded.
    #[must_use]
    pub fn search_text(&self) -> String {
        let email = self.contact_email.as_ref().map_or("", EmailAddress::as_str);
        fold(&format!("{} {email}", self.company_name))
    }

    /// Returns the tenant as it is after the redemption of a code.
    #[must_use]
    pub fn installed(&self, now: Timestamp) -> Self {
        let mut tenant = self.clone();
        if tenant.status == TenantStatus::Registered {
            tenant.status = TenantStatus::Installed;
        }
        tenant.installed_at.get_or_insert(now);
        tenant.updated_at = now;
        tenant
    }
}
