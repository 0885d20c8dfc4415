//! Requests of the vendor's shop about a subscription: grant its entitlement and sign a license, or
//! issue an activation code.
//!
//! Both requests may name a tenant, to which the entitlement is then bound. A tenant that the
//! registry does not know is adopted.

use std::sync::Arc;

use chrono::{SubsecRound as _, TimeDelta};

use crate::audit::{Action, Actor, AuditDetail};
use crate::clock::Timestamp;
use crate::edition::EditionName;
use crate::entitlement::Entitlement;
use crate::id::{CodeId, EntitlementId, TenantId};
use crate::install_code::{CodeKind, InstallCode, PlainCode};
use crate::license::{LicenseSigner, LicenseTerms};
use crate::refusal::Refusal;
use crate::registry::idempotency::IdempotencyKey;
use crate::registry::{ChangeContext, Error, Registry, Settings, redeem, refuse};
use crate::results::{EntitlementChanged, IssuedActivation, SignedLicense};
use crate::secret::CodeDigest;
use crate::store::{
    DecideError, Decision, EntitlementFacts, EntitlementKey, EntitlementSelector, Write,
};
use crate::string_enum::string_enum;
use crate::tenant::Tenant;
use crate::text::{CompanyName, SubscriptionId};

/// The way an appliance renews its license, which determines the license's lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// The appliance checks in regularly.
    Connected,
    /// The appliance never checks in.
    Airgap,
}

string_enum!(Transport { Connected = "connected", Airgap = "airgap" });

/// The fields of a request to sign a license, as the caller sent them.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names say it; the wire contract lists their rules")]
pub struct SignLicense {
    pub subscription_id: String,
    pub customer: String,
    pub tier: String,
    pub seats: Option<i64>,
    pub transport: String,
    pub tenant_id: Option<TenantId>,
    pub key: Option<IdempotencyKey>,
}

/// Input of every decision in this file, besides the facts.
struct Context {
    change: ChangeContext,
    named_tenant: Option<TenantId>,
    settings: Arc<Settings>,
}

impl Registry {
    /// Grants or updates the entitlement of a subscription, and signs a license for it. The
    /// license's `sub` never changes.
    pub async fn license_sign(
        &self,
        request: SignLicense,
        actor: Actor,
    ) -> Result<SignedLicense, Error> {
        let mut change = self.change_context(actor);
        let grant = Grant::parse(&request, &self.settings, change.next_id())?;
        let asked = change.clone();
        let key = key_of(&grant.subscription, request.tenant_id);
        let (named_tenant, settings) = (request.tenant_id, self.settings.clone());
        let context = Context { change, named_tenant, settings };
        let signer = self.ports.signer.clone();
        let decide = Arc::new(move |facts: &EntitlementFacts| {
            decide_sign(&context, &grant, &*signer, facts)
        });
        let store = &self.ports.store;
        let changed = self.idempotent(request.key, "", &asked, decide, |replay, decide| {
            store.entitlement_change(key, replay, decide)
        });
        let changed = changed.await?;
        let sub = changed.entitlement.license_sub;
        let (token, expires_at) =
            changed.license.ok_or(DecideError::Damaged("the recorded result has no license"))?;
        Ok(SignedLicense { token, expires_at, sub })
    }

    /// Issues an activation code for the entitlement of a subscription. The entitlement's unused
    /// codes are replaced.
    pub async fn activation_code_issue(
        &self,
        subscription: &str,
        tenant_id: Option<TenantId>,
        idempotency_key: Option<IdempotencyKey>,
        actor: Actor,
    ) -> Result<IssuedActivation, Error> {
        let subscription = SubscriptionId::parse(subscription)?;
        let mut change = self.change_context(actor);
        let code = PlainCode::draw(&*self.ports.entropy, self.settings.codes.activation_length);
        let expires_at = change.now + self.settings.codes.lifetime;
        let new_code = NewCode {
            id: change.next_id(),
            digest: self.ports.vault.code_digests(&code).swap_remove(0),
            code,
            expires_at,
        };
        let key = key_of(&subscription, tenant_id);
        let asked = change.clone();
        let context = Context { change, named_tenant: tenant_id, settings: self.settings.clone() };
        let decide =
            Arc::new(move |facts: &EntitlementFacts| decide_code(&context, &new_code, facts));
        let store = &self.ports.store;
        let changed = self.idempotent(idempotency_key, "", &asked, decide, |replay, decide| {
            store.entitlement_change(key, replay, decide)
        });
        let code = changed.await?.code;
        let (code, expires_at) =
            code.ok_or(DecideError::Damaged("the recorded result has no code"))?;
        Ok(IssuedActivation { code, expires_at })
    }
}

fn key_of(subscription: &SubscriptionId, tenant_id: Option<TenantId>) -> EntitlementKey {
    EntitlementKey { selector: EntitlementSelector::Subscription(subscription.clone()), tenant_id }
}

/// A parsed request for a license.
struct Grant {
    new_id: EntitlementId,
    subscription: SubscriptionId,
    customer: CompanyName,
    edition: EditionName,
    seats: Option<u32>,
    transport: Transport,
}

impl Grant {
    fn parse(
        request: &SignLicense,
        settings: &Settings,
        new_id: EntitlementId,
    ) -> Result<Self, Refusal> {
        let invalid =
            |field, problem: &str| Refusal::Invalid { field, problem: problem.to_owned() };
        let for_field = |field| {
            move |refusal| match refusal {
                Refusal::Invalid { problem, .. } => Refusal::Invalid { field, problem },
                other => other,
            }
        };
        let edition = settings.editions.find(&request.tier).map_err(for_field("tier"))?;
        if edition.tier.is_none() {
            return Err(invalid("tier", "must be a paid tier: a free tier has no licenses"));
        }
        let seats = |seats: i64| {
            u32::try_from(seats).ok().filter(|seats| (1..=i32::MAX as u32).contains(seats))
        };
        Ok(Self {
            new_id,
            subscription: SubscriptionId::parse(&request.subscription_id)?,
            customer: CompanyName::parse(&request.customer).map_err(for_field("customer"))?,
            edition: edition.name.clone(),
            seats: match request.seats {
                None => None,
                Some(number) => Some(
                    seats(number)
                        .ok_or_else(|| invalid("seats", "must be from 1 to 2147483647"))?,
                ),
            },
            transport: Transport::from_name(&request.transport)
                .ok_or_else(|| invalid("transport", "must be connected or airgap"))?,
        })
    }

    fn applied_to(&self, known: Option<&Entitlement>, now: Timestamp) -> Entitlement {
        let new = || Entitlement {
            id: self.new_id,
            tenant_id: None,
            subscription: Some(self.subscription.clone()),
            customer: self.customer.clone(),
            edition: self.edition.clone(),
            seats: self.seats,
            license_sub: format!("lic_{}", self.new_id.0.as_simple()),
            created_at: now,
            revoked_at: None,
        };
        Entitlement {
            customer: self.customer.clone(),
            edition: self.edition.clone(),
            seats: self.seats,
            revoked_at: None,
            ..known.cloned().unwrap_or_else(new)
        }
    }
}

fn decide_sign(
    context: &Context,
    grant: &Grant,
    signer: &dyn LicenseSigner,
    facts: &EntitlementFacts,
) -> Decision<EntitlementChanged> {
    let mut change = context.change.clone();
    let known = facts.entitlement.as_ref();
    let granted = grant.applied_to(known, change.now);
    let action = match known {
        None => Some(Action::EntitlementGranted),
        Some(known) if !known.is_active() => Some(Action::EntitlementRestored),
        Some(known) if *known != granted => Some(Action::EntitlementChanged),
        Some(_) => None,
    };
    let (entitlement, mut writes) = match bind(context, &mut change, granted, action, facts) {
        Ok(bound) => bound,
        Err(refusal) => return refuse_known(&mut change, refusal, facts),
    };
    let lifetime = match grant.transport {
        Transport::Connected => context.settings.license.lifetime,
        Transport::Airgap => context.settings.license.airgap_lifetime,
    };
    match sign(context, &mut change, &entitlement, signer, lifetime) {
        Err(error) => Decision::Abort(error),
        Ok(license) => {
            let lifetime = format!("{} until {}", grant.transport, license.1.to_rfc3339());
            writes.push(Write::audit(change.audit(
                Action::LicenseSigned,
                entitlement.tenant_id,
                AuditDetail::value(&lifetime),
            )));
            let license = Some(license);
            change.commit(writes, EntitlementChanged { entitlement, license, code: None })
        }
    }
}

fn sign(
    context: &Context,
    change: &mut ChangeContext,
    entitlement: &Entitlement,
    signer: &dyn LicenseSigner,
    lifetime: TimeDelta,
) -> Result<(crate::secret::LicenseToken, Timestamp), DecideError> {
    let terms = LicenseTerms::of(entitlement, entitlement.tenant_id, &context.settings.editions)?;
    let claims = context.settings.license.claims(terms, change.now, lifetime);
    Ok((change.sign(signer, &claims)?, claims.expires_at.trunc_subsecs(0)))
}

/// A code to be issued.
struct NewCode {
    id: CodeId,
    digest: CodeDigest,
    code: PlainCode,
    expires_at: Timestamp,
}

fn decide_code(
    context: &Context,
    new_code: &NewCode,
    facts: &EntitlementFacts,
) -> Decision<EntitlementChanged> {
    let mut change = context.change.clone();
    let Some(entitlement) = &facts.entitlement else {
        return refuse(Refusal::EntitlementNotFound, None);
    };
    if let Some(since) = entitlement.revoked_at {
        return refuse_known(&mut change, Refusal::EntitlementRevoked { since }, facts);
    }
    let (entitlement, mut writes) =
        match bind(context, &mut change, entitlement.clone(), None, facts) {
            Ok(bound) => bound,
            Err(refusal) => return refuse_known(&mut change, refusal, facts),
        };
    let mut entry =
        change.audit(Action::CodeIssued, entitlement.tenant_id, AuditDetail::value("activation"));
    entry.code_id = Some(new_code.id);
    writes.push(Write::SupersedeActivationCodes { entitlement: entitlement.id, at: change.now });
    writes.push(Write::InsertCode(Box::new(InstallCode {
        id: new_code.id,
        kind: CodeKind::Activation,
        tenant_id: entitlement.tenant_id,
        entitlement_id: Some(entitlement.id),
        digest: new_code.digest.clone(),
        last_four: new_code.code.last_four(),
        issued_at: change.now,
        expires_at: new_code.expires_at,
        consumed: None,
        superseded_at: None,
    })));
    writes.push(Write::audit(entry));
    let code = Some((new_code.code.clone(), new_code.expires_at));
    Decision::commit(writes, Ok(EntitlementChanged { entitlement, license: None, code }))
}

/// Refuses a change, with an audit entry if the tenant is known.
fn refuse_known(
    change: &mut ChangeContext,
    refusal: Refusal,
    facts: &EntitlementFacts,
) -> Decision<EntitlementChanged> {
    let known = facts.tenant.as_ref().map(|tenant| tenant.id);
    let entry = known.map(|tenant| {
        change.audit(
            Action::EntitlementRefused,
            Some(tenant),
            AuditDetail::reason(refusal.reason()),
        )
    });
    refuse(refusal, entry)
}

/// Binds an entitlement to the tenant that the caller names, if it has no tenant yet. `action` is
/// any other change of the entitlement, for the audit. Returns the entitlement and its writes.
fn bind(
    context: &Context,
    change: &mut ChangeContext,
    granted: Entitlement,
    action: Option<Action>,
    facts: &EntitlementFacts,
) -> Result<(Entitlement, Vec<Write>), Refusal> {
    if granted.tenant_id.zip(context.named_tenant).is_some_and(|(bound, named)| bound != named) {
        return Err(Refusal::TenantMismatch);
    }
    let owner = granted.tenant_id.or(context.named_tenant);
    if let Some(tenant) = &facts.tenant {
        tenant.check_open()?;
    }
    if facts.tenant_entitlement.as_ref().is_some_and(|other| other.id != granted.id) {
        return Err(Refusal::AlreadyEntitled);
    }
    let entitlement = Entitlement { tenant_id: owner, ..granted };
    let mut writes = Vec::new();
    if let Some(id) = owner {
        writes.extend(tenant_writes(context, change, id, &entitlement, facts.tenant.as_ref()));
    }
    let was_bound = facts.entitlement.as_ref().is_some_and(|known| known.tenant_id == owner);
    if facts.entitlement.as_ref() != Some(&entitlement) {
        let is_new = facts.entitlement.is_none();
        writes.push(Write::entitlement(is_new, entitlement.clone()));
    }
    if action == Some(Action::EntitlementRestored) {
        writes.extend(owner.map(|tenant| Write::ClearLicenses { tenant }));
    }
    let bound = (owner.is_some() && !was_bound).then_some(Action::EntitlementBound);
    for action in action.into_iter().chain(bound) {
        writes.push(Write::audit(change.audit(
            action,
            owner,
            AuditDetail::value(entitlement.edition.as_str()),
        )));
    }
    Ok((entitlement, writes))
}

/// Returns the writes that adopt or upgrade the tenant that an entitlement is bound to, if any.
fn tenant_writes(
    context: &Context,
    change: &mut ChangeContext,
    id: TenantId,
    entitlement: &Entitlement,
    known: Option<&Tenant>,
) -> Vec<Write> {
    let (tenant, action) = match known {
        None => {
            (redeem::adopted(id, entitlement, &context.settings, change.now), Action::TenantAdopted)
        }
        Some(tenant) if tenant.edition != entitlement.edition => {
            let upgraded = Tenant {
                edition: entitlement.edition.clone(),
                updated_at: change.now,
                ..tenant.clone()
            };
            (upgraded, Action::TenantUpgraded)
        }
        Some(_) => return Vec::new(),
    };
    let entry = change.audit(action, Some(id), AuditDetail::value(entitlement.edition.as_str()));
    vec![Write::tenant(known.is_none(), tenant), Write::audit(entry)]
}
