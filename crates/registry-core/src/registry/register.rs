//! Registration of a tenant.

use std::sync::Arc;

use crate::audit::{Action, Actor, AuditDetail};
use crate::edition::Edition;
use crate::entitlement::Entitlement;
use crate::id::{EntitlementId, TenantId};
use crate::refusal::Refusal;
use crate::registry::code_issuance::{PreparedCode, PreviousCodes};
use crate::registry::idempotency::IdempotencyKey;
use crate::registry::{ChangeContext, Error, Registry, Settings, refuse};
use crate::results::Issued;
use crate::store::{Decision, EntitlementFacts, Write};
use crate::tenant::{DeploymentType, Tenant, TenantOrigin, TenantStatus};
use crate::text::{
    BillingCustomerId, CompanyName, EmailAddress, PersonName, ProductCode, Region, SubscriptionId,
};

/// The fields of a registration request, as the caller sent them.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the names say it; the wire contract lists their rules")]
pub struct NewTenant {
    pub company_name: String,
    pub contact_email: String,
    pub contact_name: Option<String>,
    pub edition: String,
    pub product_code: Option<String>,
    pub deployment_type: Option<String>,
    pub billing_customer_id: Option<String>,
    pub subscription_id: Option<String>,
    pub seats: Option<i64>,
    pub region: Option<String>,
    pub origin: TenantOrigin,
    /// True if the code is mailed to the contact.
    pub send_email: bool,
    /// The idempotency key under which the response is recorded.
    pub key: Option<IdempotencyKey>,
}

/// A parsed registration request.
struct Registration {
    company_name: CompanyName,
    contact_name: Option<PersonName>,
    contact_email: EmailAddress,
    edition: Edition,
    product: ProductCode,
    deployment: DeploymentType,
    billing_customer: Option<BillingCustomerId>,
    subscription: Option<SubscriptionId>,
    seats: Option<u32>,
    region: Option<Region>,
    origin: TenantOrigin,
}

impl Registry {
    /// Registers a tenant: writes tenant, entitlement (paid editions), code, mail and audit in one
    /// transaction. If the subscription already has a tenant, that tenant gets a new code instead.
    pub async fn tenant_register(&self, new: NewTenant, actor: Actor) -> Result<Issued, Error> {
        let registration = Registration::parse(&new, &self.settings)?;
        let mut change = self.change_context(actor);
        let (tenant_id, entitlement_id) = (change.next_id(), change.next_id());
        let prepared = self.prepare_code(&mut change, new.send_email).await?;
        let subscription = registration.subscription.clone();
        let context = Context {
            change,
            tenant_id,
            entitlement_id,
            prepared,
            registration,
            settings: self.settings.clone(),
        };
        let asked = context.change.clone();
        let decide = Arc::new(move |facts: &EntitlementFacts| decide(&context, facts));
        let store = &self.ports.store;
        self.idempotent(new.key, "", &asked, decide, |replay, decide| {
            store.tenant_register(subscription, replay, decide)
        })
        .await
    }
}

impl Registration {
    fn parse(new: &NewTenant, settings: &Settings) -> Result<Self, Refusal> {
        let invalid =
            |field, problem: &str| Refusal::Invalid { field, problem: problem.to_owned() };
        let deployment =
            new.deployment_type.as_deref().filter(|name| !name.is_empty()).unwrap_or("appliance");
        let seats = |seats: i64| {
            u32::try_from(seats).ok().filter(|seats| (1..=i32::MAX as u32).contains(seats))
        };
        Ok(Self {
            company_name: CompanyName::parse(&new.company_name)?,
            contact_name: optional(new.contact_name.as_ref(), PersonName::parse)?,
            contact_email: EmailAddress::parse(&new.contact_email)?,
            edition: settings.editions.find(&new.edition)?.clone(),
            product: settings.products.find(new.product_code.as_deref())?.clone(),
            deployment: DeploymentType::from_name(deployment)
                .ok_or_else(|| invalid("deployment_type", "must be one of: appliance, hosted"))?,
            billing_customer: optional(new.billing_customer_id.as_ref(), BillingCustomerId::parse)?,
            subscription: optional(new.subscription_id.as_ref(), SubscriptionId::parse)?,
            seats: match new.seats {
                None => None,
                Some(number) => Some(
                    seats(number)
                        .ok_or_else(|| invalid("seats", "must be null or a positive integer"))?,
                ),
            },
            region: optional(new.region.as_ref(), Region::parse)?,
            origin: new.origin,
        })
    }
}

/// Parses an optional text. Forms send empty texts, so an empty text counts as absent.
fn optional<T>(
    text: Option<&String>,
    parse: fn(&str) -> Result<T, Refusal>,
) -> Result<Option<T>, Refusal> {
    text.filter(|text| !text.trim().is_empty()).map(|text| parse(text)).transpose()
}

struct Context {
    change: ChangeContext,
    tenant_id: TenantId,
    entitlement_id: EntitlementId,
    prepared: PreparedCode,
    registration: Registration,
    settings: Arc<Settings>,
}

fn decide(context: &Context, facts: &EntitlementFacts) -> Decision<Issued> {
    let mut change = context.change.clone();
    let known = facts.tenant.as_ref();
    if let Some((tenant, Err(refusal))) = known.map(|tenant| (tenant, tenant.check_open())) {
        let entry = change.audit(
            Action::RegisterRefused,
            Some(tenant.id),
            AuditDetail::reason(refusal.reason()),
        );
        return refuse(refusal, Some(entry));
    }
    let mut tenant = known.cloned().unwrap_or_else(|| context.new_tenant());
    let mut writes = Vec::new();
    let granted = context.entitlement(tenant.id, facts);
    if known.is_none() {
        writes.push(Write::audit(change.audit(
            Action::TenantRegistered,
            Some(tenant.id),
            AuditDetail::default(),
        )));
    }
    if let Some(entitlement) = &granted {
        let action = match (&facts.entitlement, known) {
            (_, Some(known)) if known.edition != entitlement.edition => Action::TenantUpgraded,
            (Some(_), _) => Action::EntitlementBound,
            (None, _) => Action::EntitlementGranted,
        };
        writes.push(Write::audit(change.audit(
            action,
            Some(tenant.id),
            AuditDetail::value(entitlement.edition.as_str()),
        )));
        tenant.edition = entitlement.edition.clone();
        tenant.updated_at = change.now;
    }
    if known != Some(&tenant) {
        writes.insert(0, Write::tenant(known.is_none(), tenant.clone()));
    }
    let is_new = facts.entitlement.is_none();
    writes.extend(granted.clone().map(|granted| Write::entitlement(is_new, granted)));
    let entitlement = granted.as_ref().or(facts.tenant_entitlement.as_ref());
    let previous = known.map_or(PreviousCodes::None, |_| PreviousCodes::Superseded {
        reason: Some("registered_again"),
    });
    writes.extend(context.prepared.writes(
        &mut change,
        (&tenant, entitlement),
        &context.settings,
        previous,
    ));
    Decision::commit(writes, Ok(context.prepared.issued(&tenant)))
}

impl Context {
    fn new_tenant(&self) -> Tenant {
        let registration = &self.registration;
        Tenant {
            id: self.tenant_id,
            company_name: registration.company_name.clone(),
            contact_name: registration.contact_name.clone(),
            contact_email: Some(registration.contact_email.clone()),
            edition: registration.edition.name.clone(),
            product: registration.product.clone(),
            deployment: registration.deployment,
            status: TenantStatus::Registered,
            subscription: registration.subscription.clone(),
            billing_customer: registration.billing_customer.clone(),
            region: registration.region.clone(),
            origin: registration.origin,
            registered_at: self.change.now,
            installed_at: None,
            updated_at: self.change.now,
        }
    }

    /// Returns the entitlement that this registration grants or binds, if any.
    fn entitlement(&self, tenant: TenantId, facts: &EntitlementFacts) -> Option<Entitlement> {
        if facts.tenant_entitlement.is_some() {
            return None;
        }
        match &facts.entitlement {
            // An active entitlement is unbound here: a bound one would have been loaded as the
            // tenant's own.
            Some(existing) => existing
                .is_active()
                .then(|| Entitlement { tenant_id: Some(tenant), ..existing.clone() }),
            None => self.registration.edition.tier.is_some().then(|| Entitlement {
                id: self.entitlement_id,
                tenant_id: Some(tenant),
                subscription: self.registration.subscription.clone(),
                customer: self.registration.company_name.clone(),
                edition: self.registration.edition.name.clone(),
                seats: self.registration.seats,
                license_sub: format!("lic_{}", self.entitlement_id.0.as_simple()),
                created_at: self.change.now,
                revoked_at: None,
            }),
        }
    }
}
