//! Redemption: an appliance presents a code and gets its identity.

mod commit;

use std::sync::Arc;

use chrono::TimeDelta;

use crate::audit::{Action, Actor, AuditDetail, AuditEntry};
use crate::clock::{Timestamp, minute};
use crate::entitlement::Entitlement;
use crate::entropy;
use crate::id::TenantId;
use crate::install_code::{CodeKind, CodeState, InstallCode, PlainCode};
use crate::license::{LicensePolicy, LicenseSigner};
use crate::rate_limit::{Reservation, Source};
use crate::refusal::Refusal;
use crate::registry::idempotency::IdempotencyKey;
use crate::registry::{ChangeContext, Error, Registry, Settings, refuse};
use crate::results::Redeemed;
use crate::secret::{PlainCredential, TypedCode};
use crate::store::{DecideError, Decision, RedeemFacts, RedeemKey};
use crate::tenant::{DeploymentType, Tenant, TenantOrigin, TenantStatus};
use crate::text::ApplianceId;

/// A redemption request.
#[derive(Clone, Debug)]
pub struct Redeem {
    /// The code as typed.
    pub typed_code: TypedCode,
    /// Id of the appliance.
    pub appliance_id: String,
    /// The kind of appliance: one at its first boot, or one that already runs.
    pub requester: Requester,
    /// The way the code reached the registry.
    pub channel: RedemptionChannel,
    /// The idempotency key under which the response is recorded.
    pub key: Option<IdempotencyKey>,
}

/// The way a code reaches the registry.
#[derive(Clone, Debug)]
pub enum RedemptionChannel {
    /// The appliance sends the code over the network. Unknown codes are rate-limited by source.
    Network(Source),
    /// An operator brings the code of an appliance without a network. The license gets the lifetime
    /// of air-gapped licenses.
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
            Self::Network(_) => policy.lifetime,
            Self::Operator(_) => policy.airgap_lifetime,
        }
    }
}

/// The appliance that redeems a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requester {
    /// An appliance at its first boot.
    FirstBoot,
    /// A running appliance, with the tenant that it names.
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

/// Longest time that a redemption waits for others of its source.
const LONGEST_WAIT: TimeDelta = TimeDelta::seconds(2);

impl Registry {
    /// Redeems a code. Consuming the code, installing the tenant, and adding the appliance, its
    /// credential and the audit entry are one transaction.
    ///
    /// A request over the network is reserved as a guess before the code is looked up, and given back
    /// if the code is known. A source that has guessed too often still gets the recorded response of
    /// a redemption of its own.
    pub async fn code_redeem(&self, redeem: Redeem) -> Result<Redeemed, Error> {
        let appliance_id = ApplianceId::parse(&redeem.appliance_id)?;
        let now = self.now();
        let guess = match redeem.channel {
            RedemptionChannel::Network(source) => self.reserve_guess(source, now).await.map(Some),
            RedemptionChannel::Operator(_) => Ok(None),
        };
        let Some(code) = PlainCode::parse(redeem.typed_code.expose()) else {
            guess?;
            return Err(Refusal::CodeInvalid.into());
        };
        let guess = match guess {
            Ok(guess) => guess,
            Err(refusal) => {
                let asked = self.change_context(redeem.channel.actor());
                let owner = self.owner_of(&code);
                let replayed = self.replayed(redeem.key.as_ref(), &owner, &asked).await?;
                return replayed.ok_or(refusal.into());
            }
        };
        let counted = self.actor_of(&redeem.channel);
        let channel = redeem.channel.clone();
        let result = self.redeem(redeem, appliance_id, &code).await;
        if let (Err(Error::Refused(_)), RedemptionChannel::Network(source)) = (&result, channel) {
            self.audit_sources.note(source);
        }
        if let (Some(guess), Err(Error::Refused(Refusal::CodeInvalid))) = (guess, &result) {
            guess.count();
            let mut change = self.change_context(counted);
            let entry = change.audit(Action::UnknownCodes, None, AuditDetail::default());
            let at = minute(entry.at);
            self.count_event(AuditEntry { at, ..entry }).await?;
        }
        result
    }

    /// Reserves a guess. A request that had to wait for long is refused: its caller may have been
    /// told to try again, and must not redeem the code afterwards.
    async fn reserve_guess(
        &self,
        source: Source,
        now: Timestamp,
    ) -> Result<Reservation<'_>, Refusal> {
        let guess = self.code_guesses.reserve(source, now).await?;
        if self.now() - now > LONGEST_WAIT {
            return Err(Refusal::Overloaded { retry_after: TimeDelta::seconds(1) });
        }
        Ok(guess)
    }

    /// Returns the actor of a refused redemption.
    fn actor_of(&self, channel: &RedemptionChannel) -> Actor {
        match channel {
            RedemptionChannel::Network(source) => self.counted_actor("appliance", *source),
            RedemptionChannel::Operator(actor) => actor.clone(),
        }
    }

    /// Returns what separates the idempotency keys of redemptions: the code.
    fn owner_of(&self, code: &PlainCode) -> String {
        let digests = self.ports.vault.code_digests(code);
        digests.first().map(|digest| entropy::hex(&digest.bytes)).unwrap_or_default()
    }

    async fn redeem(
        &self,
        redeem: Redeem,
        appliance_id: ApplianceId,
        code: &PlainCode,
    ) -> Result<Redeemed, Error> {
        if PlainCode::parse(appliance_id.as_str()).is_some_and(|id| id.expose() == code.expose()) {
            // The audit contains the appliance's id, and must never contain a code.
            let problem = "must not be the install code".to_owned();
            return Err(Refusal::Invalid { field: "appliance_id", problem }.into());
        }
        let Redeem { requester, channel, key: idempotency_key, .. } = redeem;
        let key = RedeemKey {
            digests: self.ports.vault.code_digests(code),
            tenant_id: requester.tenant(),
            appliance_id: appliance_id.clone(),
        };
        let change = self.change_context(channel.actor());
        let asked = change.clone();
        let counted = self.actor_of(&channel);
        let credential = PlainCredential::draw(&*self.ports.entropy);
        let (settings, signer) = (self.settings.clone(), self.ports.signer.clone());
        let lifetime = channel.lifetime(&settings.license);
        let context = Context {
            change,
            counted,
            appliance_id,
            requester,
            credential,
            lifetime,
            settings,
            signer,
        };
        let decide = Arc::new(move |facts: &RedeemFacts| decide(&context, facts));
        let store = &self.ports.store;
        self.idempotent(idempotency_key, &self.owner_of(code), &asked, decide, |replay, decide| {
            store.code_redeem(key, replay, decide)
        })
        .await
    }
}

struct Context {
    change: ChangeContext,
    /// The actor of refusals, which are counted.
    counted: Actor,
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
    let accepted = match accept(context, code, facts) {
        Ok(accepted) => accepted,
        Err(Stop::Abort(error)) => return Decision::Abort(error),
        Err(Stop::Refuse(refusal)) => {
            let tenant = code.tenant_id.or(facts.tenant.as_ref().map(|tenant| tenant.id));
            let detail = AuditDetail::reason(refusal.reason()).of(&context.appliance_id);
            let mut entry = change.audit(Action::RedeemRefused, tenant, detail);
            entry.code_id = Some(code.id);
            entry.actor = context.counted.clone();
            return refuse(refusal, Some(entry));
        }
    };
    match commit::commit(context, &mut change, code, facts.appliance.as_ref(), accepted) {
        Ok((writes, redeemed)) => change.commit(writes, redeemed),
        Err(error) => Decision::Abort(error),
    }
}

/// A redemption that passed all checks.
struct Accepted {
    /// The tenant to be written, before it is marked as installed.
    tenant: Tenant,
    /// The active entitlement that the code brings.
    entitlement: Option<Entitlement>,
    /// Audit action of the change that binds the entitlement to the tenant, if one is needed.
    binding: Option<Action>,
    /// True if only the appliance named the tenant. The response then tells nothing about it.
    is_only_named: bool,
}

/// The reason why a redemption is not committed.
enum Stop {
    Refuse(Refusal),
    Abort(DecideError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

/// Decides whether the code may be redeemed, and for which tenant. Everything that could give the
/// appliance to the wrong tenant is refused here, before anything is consumed.
fn accept(context: &Context, code: &InstallCode, facts: &RedeemFacts) -> Result<Accepted, Stop> {
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
    if let Some(tenant) = &facts.tenant {
        tenant.check_open()?;
    }
    match (code.kind, entitlement) {
        (CodeKind::Install, _) => {
            let tenant = facts
                .tenant
                .clone()
                .ok_or(Stop::Abort(DecideError::Damaged("a code without its tenant")))?;
            let is_theirs = |it: &&Entitlement| it.is_active() && it.tenant_id == Some(tenant.id);
            let entitlement = entitlement.filter(is_theirs).cloned();
            Ok(Accepted { tenant, entitlement, binding: None, is_only_named: false })
        }
        (CodeKind::Activation, None) => {
            Err(Stop::Abort(DecideError::Damaged("a code without its entitlement")))
        }
        (CodeKind::Activation, Some(entitlement)) => {
            Ok(activate(context, entitlement, owner, facts)?)
        }
    }
}

/// Accepts an activation code. The code brings its entitlement to a tenant: the one that the
/// entitlement is bound to, or else the one that the appliance names.
fn activate(
    context: &Context,
    entitlement: &Entitlement,
    owner: Option<TenantId>,
    facts: &RedeemFacts,
) -> Result<Accepted, Refusal> {
    if let Some(since) = entitlement.revoked_at {
        return Err(Refusal::EntitlementRevoked { since });
    }
    if owner.is_none() && context.settings.codes.activation_needs_bound_tenant {
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
            let is_upgrade = tenant.edition != entitlement.edition;
            let action = if is_upgrade { Action::TenantUpgraded } else { Action::EntitlementBound };
            (Tenant { edition: entitlement.edition.clone(), ..tenant.clone() }, Some(action))
        }
    };
    let entitlement = Entitlement { tenant_id: Some(id), ..entitlement.clone() };
    let is_only_named = owner.is_none();
    Ok(Accepted { tenant, entitlement: Some(entitlement), binding, is_only_named })
}

/// Creates the record of a tenant that the registry does not know yet, under the id that an
/// appliance or a service named.
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
        origin: TenantOrigin::Service,
        registered_at: now,
        installed_at: None,
        updated_at: now,
    }
}
