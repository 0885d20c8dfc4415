//! The tenant: who an appliance belongs to.

use crate::clock::Timestamp;
use crate::edition::EditionName;
use crate::id::TenantId;
use crate::string_enum::string_enum;
use crate::text::{
    BillingCustomerId, CompanyName, EmailAddress, PersonName, ProductCode, Region, SubscriptionId,
    fold,
};

/// How far a tenant has come. Installing moves it forward; operators suspend and cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TenantStatus {
    /// Registered; nothing installed yet.
    Registered,
    /// A code was redeemed.
    Installed,
    /// An appliance has checked in.
    Active,
    /// Put on hold by an operator.
    Suspended,
    /// Ended by an operator.
    Cancelled,
}

/// Where a tenant's product runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeploymentType {
    /// On the customer's own machine.
    Appliance,
    /// At the vendor's.
    Hosted,
}

string_enum!(TenantStatus {
    Registered = "registered",
    Installed = "installed",
    Active = "active",
    Suspended = "suspended",
    Cancelled = "cancelled",
});
string_enum!(DeploymentType { Appliance = "appliance", Hosted = "hosted" });

impl TenantStatus {
    /// Those of tenants that an operator has closed the door on.
    pub const CLOSED: [Self; 2] = [Self::Suspended, Self::Cancelled];

    /// Whether an operator has closed the door on this tenant.
    #[must_use]
    pub fn is_closed(self) -> bool {
        Self::CLOSED.contains(&self)
    }
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its id, for good.
    pub id: TenantId,
    /// The company.
    pub company_name: CompanyName,
    /// The contact's name, where given.
    pub contact_name: Option<PersonName>,
    /// Where its mail goes; an adopted tenant has none.
    pub contact_email: Option<EmailAddress>,
    /// The edition it was registered for or upgraded to.
    pub edition: EditionName,
    /// The product it runs.
    pub product: ProductCode,
    /// Where it runs.
    pub deployment: DeploymentType,
    /// How far it has come.
    pub status: TenantStatus,
    /// The subscription it was registered with: registering it again is the same tenant.
    pub subscription: Option<SubscriptionId>,
    /// The customer in the vendor's billing system.
    pub billing_customer: Option<BillingCustomerId>,
    /// The region, where given.
    pub region: Option<Region>,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// When a code of it was first redeemed.
    pub installed_at: Option<Timestamp>,
    /// When its row last changed.
    pub updated_at: Timestamp,
}

impl Tenant {
    /// Whether this is its contact, in any case.
    #[must_use]
    pub fn is_contact(&self, contact: &EmailAddress) -> bool {
        self.contact_email.as_ref().is_some_and(|email| email.folded() == contact.folded())
    }

    /// What searches look through: company and e-mail, folded.
    #[must_use]
    pub fn search_text(&self) -> String {
        let email = self.contact_email.as_ref().map_or("", EmailAddress::as_str);
        fold(&format!("{} {email}", self.company_name))
    }

    /// The tenant after a code of it was redeemed.
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
