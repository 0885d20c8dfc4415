//! Redeeming a code: the one moment in which an appliance gets its identity.

use std::sync::Arc;

use chrono::{SubsecRound as _, TimeDelta};

use crate::appliance::{Appliance, Credential, IssuedLicense};
use crate::audit::{Action, Actor};
use crate::clock::{Timestamp, minute};
use crate::entitlement::Entitlement;
use crate::entropy;
use crate::id::TenantId;
use crate::install_code::{CodeKind, CodeState, Consumption, InstallCode, PlainCode};
use crate::license::{LicensePolicy, LicenseSigner, LicenseTerms};
use crate::rate_limit::Source;
use crate::refusal::Refusal;
use crate::registry::idempotency::IdempotencyKey;
use crate::registry::{ChangeContext, Error, Registry, Settings, refuse};
use crate::results::{Licensed, Redeemed};
use crate::secret::{LicenseToken, PlainCredential, TypedCode};
use crate::store::{DecideError, Decision, RedeemFacts, RedeemKey, Write};
use crate::tenant::{DeploymentType, Tenant, TenantStatus};
use crate::text::ApplianceId;

/// A redemption as asked for.
#[derive(Clone, Debug)]
pub struct Redeem {
    /// The code as typed.
    pub typed_code: TypedCode,
    /// The appliance.
    pub appliance_id: String,
    /// Who asks: a first boot, or an appliance that is running already.
    pub requester: Requester,
    /// Who brings it.
    pub channel: RedemptionChannel,
    /// Under which key the answer is recorded.
    pub key: Option<IdempotencyKey>,
}

/// Who brings a code.
#[derive(Clone, Debug)]
pub enum RedemptionChannel {
    /// The appliance, over the network; a source that guesses is throttled.
    Network(Source),
    /// An operator, for an appliance without a network: its license lives as long as an air-gapped
    /// one's.
    Operator(Actor),
}

impl RedemptionChannel {
    fn actor(&self) -> Actor {
        match self {
            Self::Network(source) => {
                Actor { name: "appliance".to_owned(), source: source.to_string() }
            }
            Self::Operator(actor) => actor.clone(),
        }
    }

    fn lifetime(&self, policy: &LicensePolicy) -> TimeDelta {
        match self {
            Self::Network(_) => policy.connected_lifetime,
            Self::Operator(_) => policy.airgap_lifetime,
        }
    }
}

/// Who redeems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requester {
    /// A machine at its first boot.
    FirstBoot,
    /// A running appliance, and the tenant it names.
    Running(Option<TenantId>),
}

impl Requester {
    fn tenant(self) -> Option<TenantId> {
        match self {
            Self::FirstBoot => None,
            Self::Running(tenant) => tenant,
        }
    }
}

impl Registry {
    /// Redeems a code: code consumed, tenant installed, appliance, credential and audit in one
    /// transaction. Sources that guess are refused before the store is asked.
    pub async fn code_redeem(&self, redeem: Redeem) -> Result<Redeemed, Error> {
        let Redeem { typed_code, appliance_id, requester, channel, key: idempotency_key } = redeem;
        let appliance_id = ApplianceId::parse(&appliance_id)?;
        let change = self.change_context(channel.actor());
        let now = change.now;
        if let RedemptionChannel::Network(source) = channel {
            self.throttle.check(source, now)?;
        }
        let code = PlainCode::read(typed_code.expose()).ok_or(Refusal::CodeInvalid)?;
        if PlainCode::read(appliance_id.as_str()).is_some_and(|id| id.expose() == code.expose()) {
            // The audit names the appliance, and must never name the code.
            let problem = "must not be the install code".to_owned();
            return Err(Refusal::Invalid { field: "appliance_id", problem }.into());
        }
        let key = RedeemKey {
            digests: self.ports.vault.code_digests(&code),
            tenant_id: requester.tenant(),
            appliance_id: appliance_id.clone(),
        };
        let credential = PlainCredential::draw(&*self.ports.entropy);
        let (settings, signer) = (self.settings.clone(), self.ports.signer.clone());
        let lifetime = channel.lifetime(&settings.license);
        let context =
            Context { change, appliance_id, requester, credential, lifetime, settings, signer };
        let decide = Arc::new(move |facts: &RedeemFacts| decide(&context, facts));
        let owner =
            key.digests.first().map(|digest| entropy::hex(&digest.bytes)).unwrap_or_default();
        let (replay, decide, opening) =
            self.recording(idempotency_key, &owner, now, decide).into_parts();
        let result =
            self.answered(self.ports.store.code_redeem(key, replay, decide).await?, &opening);
        if let (Err(Error::Refused(Refusal::CodeInvalid)), RedemptionChannel::Network(source)) =
            (&result, channel)
        {
            self.note_guess(source, now).await?;
        }
        result
    }

    async fn note_guess(&self, source: Source, now: Timestamp) -> Result<(), Error> {
        let counted = self.throttle.note(source, now);
        let actor = Actor { name: "appliance".to_owned(), source: source.to_string() };
        let mut entry = self.change_context(actor).audit(Action::UnknownCodes, None, "");
        entry.at = minute(now);
        self.ports.store.audit_count(entry).await?;
        Ok(counted?)
    }
}

struct Context {
    change: ChangeContext,
    appliance_id: ApplianceId,
    requester: Requester,
    credential: PlainCredential,
    lifetime: TimeDelta,
    settings: Arc<Settings>,
    signer: Arc<dyn LicenseSigner>,
}

fn decide(context: &Context, facts: &RedeemFacts) -> Decision<Redeemed> {
    let mut change = context.change.clone();
    let Some(code) = &facts.code else { return refuse(Refusal::CodeInvalid, None) };
    let admitted = match admit(context, code, facts) {
        Ok(admitted) => admitted,
        Err(Stop::Abort(error)) => return Decision::Abort(error),
        Err(Stop::Refuse(refusal)) => {
            let tenant = code.tenant_id.or(facts.tenant.as_ref().map(|tenant| tenant.id));
            let detail = format!("{} for {}", refusal.word(), context.appliance_id);
            let mut entry = change.audit(Action::RedeemRefused, tenant, &detail);
            entry.code_id = Some(code.id);
            return refuse(refusal, Some(entry));
        }
    };
    match commit(context, &mut change, code, facts.appliance.as_ref(), admitted) {
        Ok((writes, redeemed)) => Decision::Commit { writes, outcome: Ok(redeemed) },
        Err(error) => Decision::Abort(error),
    }
}

/// A redemption that may go ahead.
struct Admitted {
    /// The tenant as it is to be written, but for its being installed.
    tenant: Tenant,
    /// The active entitlement that the code brings.
    entitlement: Option<Entitlement>,
    /// What has to change besides, as its audit line names it.
    binding: Option<Action>,
}

/// Why a redemption does not go ahead.
enum Stop {
    Refuse(Refusal),
    Abort(DecideError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

/// Whether the code may be redeemed, and for which tenant. Everything that could make the appliance
/// the wrong one's is refused here, before anything is consumed.
fn admit(context: &Context, code: &InstallCode, facts: &RedeemFacts) -> Result<Admitted, Stop> {
    match code.state(context.change.now) {
        CodeState::Live => {}
        CodeState::Consumed(since) => return Err(Refusal::CodeConsumed { since }.into()),
        CodeState::Superseded(since) => return Err(Refusal::CodeSuperseded { since }.into()),
        CodeState::Expired(since) => return Err(Refusal::CodeExpired { since }.into()),
    }
    let entitlement = facts.entitlement.as_ref();
    let bound = entitlement.and_then(|entitlement| entitlement.tenant_id);
    let (owner, named) = (code.tenant_id.or(bound), context.requester.tenant());
    let differ = |a: Option<TenantId>, b: Option<TenantId>| a.is_some() && b.is_some() && a != b;
    if differ(owner, named) || differ(code.tenant_id, bound) {
        return Err(Refusal::TenantMismatch.into());
    }
    if context.requester != Requester::FirstBoot
        && code.kind == CodeKind::Install
        && code.entitlement_id.is_none()
    {
        return Err(Refusal::NotAnActivationCode.into());
    }
    if facts.tenant.as_ref().is_some_and(|tenant| tenant.status.is_closed()) {
        return Err(Refusal::TenantSuspended.into());
    }
    match (code.kind, entitlement) {
        (CodeKind::Install, _) => {
            let tenant = facts
                .tenant
                .clone()
                .ok_or(Stop::Abort(DecideError::Damaged("a code without its tenant")))?;
            let entitlement = entitlement.filter(|entitlement| entitlement.is_active()).cloned();
            Ok(Admitted { tenant, entitlement, binding: None })
        }
        (CodeKind::Activation, None) => {
            Err(Stop::Abort(DecideError::Damaged("a code without its entitlement")))
        }
        (CodeKind::Activation, Some(entitlement)) => {
            Ok(activate(context, entitlement, owner, facts)?)
        }
    }
}

/// An activation code brings its entitlement to a tenant: the one it is bound to, or the one the
/// appliance names.
fn activate(
    context: &Context,
    entitlement: &Entitlement,
    owner: Option<TenantId>,
    facts: &RedeemFacts,
) -> Result<Admitted, Refusal> {
    if let Some(since) = entitlement.revoked_at {
        return Err(Refusal::EntitlementRevoked { since });
    }
    if owner.is_none() && context.settings.activation_needs_bound_tenant {
        return Err(Refusal::CodeNotBound);
    }
    let id = owner.or(context.requester.tenant()).ok_or(Refusal::TenantRequired)?;
    if facts.tenant_entitlement.as_ref().is_some_and(|other| other.id != entitlement.id) {
        return Err(Refusal::AlreadyEntitled);
    }
    let (tenant, binding) = match &facts.tenant {
        None => (
            adopted(id, entitlement, &context.settings, context.change.now),
            Some(Action::TenantAdopted),
        ),
        Some(tenant)
            if tenant.edition == entitlement.edition && entitlement.tenant_id.is_some() =>
        {
            (tenant.clone(), None)
        }
        Some(tenant) => {
            let raised = tenant.edition != entitlement.edition;
            let action = if raised { Action::TenantUpgraded } else { Action::EntitlementBound };
            (Tenant { edition: entitlement.edition.clone(), ..tenant.clone() }, Some(action))
        }
    };
    let entitlement = Entitlement { tenant_id: Some(id), ..entitlement.clone() };
    Ok(Admitted { tenant, entitlement: Some(entitlement), binding })
}

/// The tenant that somebody else named first, under the id it was named by.
pub(crate) fn adopted(
    id: TenantId,
    entitlement: &Entitlement,
    settings: &Settings,
    now: Timestamp,
) -> Tenant {
    Tenant {
        id,
        company_name: entitlement.customer.clone(),
        contact_name: None,
        contact_email: None,
        edition: entitlement.edition.clone(),
        product: settings.products.default_product().clone(),
        deployment: DeploymentType::Appliance,
        status: TenantStatus::Registered,
        subscription: None,
        billing_customer: None,
        region: None,
        registered_at: now,
        installed_at: None,
        updated_at: now,
    }
}

impl Context {
    /// Signs the first license.
    fn license(
        &self,
        entitlement: &Entitlement,
        tenant: TenantId,
    ) -> Result<(LicenseToken, IssuedLicense), DecideError> {
        let terms = LicenseTerms::of(entitlement, Some(tenant), &self.settings.editions)?;
        let claims = self.settings.license.claims(terms, self.change.now, self.lifetime);
        let token = self.signer.sign(&claims)?;
        Ok((
            token,
            IssuedLicense { expires_at: claims.expires_at.trunc_subsecs(0), terms: claims.terms },
        ))
    }
}

fn commit(
    context: &Context,
    change: &mut ChangeContext,
    code: &InstallCode,
    known: Option<&Appliance>,
    admitted: Admitted,
) -> Result<(Vec<Write>, Redeemed), DecideError> {
    let Admitted { tenant, entitlement, binding } = admitted;
    let (now, tenant) = (change.now, tenant.installed(change.now));
    let edition =
        entitlement.as_ref().map_or(context.settings.editions.free(), |it| &it.edition).clone();
    let consumption = Consumption { at: now, by: context.appliance_id.clone() };
    let mut writes = vec![
        Write::PutTenant(Box::new(tenant.clone())),
        Write::ConsumeCode { code: code.id, consumption, tenant: tenant.id },
    ];
    if let (Some(action), Some(entitlement)) = (binding, &entitlement) {
        writes.push(Write::PutEntitlement(Box::new(entitlement.clone())));
        writes.push(Write::audit(change.audit(
            action,
            Some(tenant.id),
            entitlement.edition.as_str(),
        )));
    }
    let mut licensed = None;
    if let Some(entitlement) = &entitlement {
        let (token, issued) = context.license(entitlement, tenant.id)?;
        let (appliance, credential) = context.appliance(known, tenant.id, issued);
        if known.is_some_and(|known| known.revoked_at.is_some()) {
            // A revoked appliance that is installed anew is admitted again; its old credentials are
            // not.
            writes.push(Write::DeleteCredentials {
                tenant: tenant.id,
                appliance: appliance.id.clone(),
            });
        }
        writes.push(Write::PutAppliance(Box::new(appliance)));
        writes.push(Write::InsertCredential(credential));
        let check_in_url = context.settings.check_in_url.clone();
        licensed = Some(Licensed { token, credential: context.credential.clone(), check_in_url });
    }
    let mut entry = change.audit(
        Action::CodeRedeemed,
        Some(tenant.id),
        &format!("by {}", context.appliance_id),
    );
    entry.code_id = Some(code.id);
    writes.push(Write::audit(entry));
    let redeemed = Redeemed {
        tenant_id: tenant.id,
        edition,
        company_name: tenant.company_name.to_string(),
        contact_email: tenant.contact_email.map(|email| email.to_string()).unwrap_or_default(),
        licensed,
    };
    Ok((writes, redeemed))
}

impl Context {
    /// The appliance as redeemed, with a fresh credential beside its older ones: those keep working
    /// until a check-in first uses the new one.
    fn appliance(
        &self,
        known: Option<&Appliance>,
        tenant: TenantId,
        issued: IssuedLicense,
    ) -> (Appliance, Credential) {
        let (now, id) = (self.change.now, self.appliance_id.clone());
        let fresh = Appliance {
            tenant_id: tenant,
            id: id.clone(),
            registered_at: now,
            last_check_in_at: None,
            revoked_at: None,
            license: None,
        };
        let appliance = Appliance {
            revoked_at: None,
            license: Some(issued),
            ..known.cloned().unwrap_or(fresh)
        };
        let digest = self.credential.digest();
        (
            appliance,
            Credential {
                digest,
                tenant_id: tenant,
                appliance_id: id,
                issued_at: now,
                first_used_at: None,
            },
        )
    }
}
