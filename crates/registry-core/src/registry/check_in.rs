//! Check-in: a running appliance presents its credential and gets a new license if one is due.

use std::sync::Arc;

use chrono::{SubsecRound as _, TimeDelta};

use crate::appliance::{Appliance, Credential, IssuedLicense};
use crate::audit::{Action, Actor, AuditDetail};
use crate::clock::Timestamp;
use crate::entropy;
use crate::license::{LicenseSigner, LicenseTerms};
use crate::rate_limit::Source;
use crate::refusal::Refusal;
use crate::registry::duplicates::{Sighting, evidence, is_reported, is_retired, sighted};
use crate::registry::idempotency::IdempotencyKey;
use crate::registry::renewal::{Due, due};
use crate::registry::{ChangeContext, Error, Registry, Settings, refuse};
use crate::results::{CheckedIn, CredentialStatus, LicenseStatus};
use crate::secret::{CredentialDigest, PlainCredential};
use crate::store::{CredentialFacts, DecideError, Decision, Write};
use crate::tenant::{Tenant, TenantStatus};

/// A check-in request.
#[derive(Clone, Debug)]
pub struct CheckIn {
    /// The appliance's credential.
    pub credential: PlainCredential,
    /// The `sub` of the appliance's present license, if the appliance sends it.
    pub current_license_sub: Option<String>,
    /// Number of the check-in, if the appliance counts them.
    pub sequence: Option<u32>,
    /// The source of the request.
    pub source: Source,
    /// The idempotency key under which the response is recorded.
    pub key: Option<IdempotencyKey>,
}

impl Registry {
    /// Checks an appliance in: records the time of the check-in, retires the credentials older than
    /// the one presented, and signs a new license if one is due.
    pub async fn check_in(&self, check_in: CheckIn) -> Result<CheckedIn, Error> {
        let source = check_in.source.to_string();
        let actor = Actor { name: "appliance".to_owned(), source: source.clone() };
        let change = self.change_context(actor);
        let counted = self.counted_actor("appliance", check_in.source);
        let asked = change.clone();
        let (now, digest) = (change.now, check_in.credential.digest());
        let key = match check_in.key {
            Some(key) if self.is_entitled(digest).await? => Some(key),
            // What was recorded has ended, so the check-in is decided again.
            _ => None,
        };
        let license_sub = check_in.current_license_sub.clone();
        let interval = self.settings.license.check_in_interval;
        let next = now + jittered(interval, entropy::bytes(&*self.ports.entropy));
        let (settings, signer) = (self.settings.clone(), self.ports.signer.clone());
        let context = Context {
            change,
            next,
            current_license_sub: check_in.current_license_sub,
            counted: counted.clone(),
            sighting: Sighting { sequence: check_in.sequence, source, at: now },
            settings,
            signer,
        };
        let decide =
            Arc::new(move |facts: &Option<CredentialFacts>| decide(&context, facts.as_ref()));
        let owner = entropy::hex(&digest.0);
        let store = &self.ports.store;
        let result = self
            .idempotent(key, &owner, &asked, decide, |replay, decide| {
                store.check_in(digest, now, replay, decide)
            })
            .await;
        if matches!(result, Err(Error::Refused(Refusal::ApplianceRevoked))) {
            self.audit_sources.note(check_in.source);
            self.count_unknown_credential(digest, license_sub, counted).await?;
        }
        result
    }

    async fn is_entitled(&self, digest: CredentialDigest) -> Result<bool, Error> {
        let facts = self.ports.store.credential_show(digest).await?;
        Ok(facts.is_some_and(|facts| {
            facts.appliance.revoked_at.is_none()
                && facts.entitlement.is_some()
                && !facts.tenant.status.is_closed()
        }))
    }

    /// Counts a check-in with an unknown credential, for the tenant of the license that came with
    /// it. After a restore, these are the appliances that were installed since the backup.
    async fn count_unknown_credential(
        &self,
        digest: CredentialDigest,
        license_sub: Option<String>,
        actor: Actor,
    ) -> Result<(), Error> {
        let store = &self.ports.store;
        if store.credential_show(digest).await?.is_some() {
            return Ok(());
        }
        let tenant = match license_sub {
            Some(sub) => store.license_tenant(sub).await?,
            None => None,
        };
        let detail = AuditDetail::reason("unknown_credential");
        let mut change = self.change_context(actor);
        let entry = change.audit(Action::CheckInRefused, tenant, detail);
        self.count_event(entry).await
    }
}

/// Returns a random time from three to five quarters of the interval. Appliances that all checked
/// in at once are spread over half an interval at their next check-in, and evenly soon after.
fn jittered(interval: TimeDelta, random: [u8; 2]) -> TimeDelta {
    let share = i64::from(u16::from_be_bytes(random));
    let seconds = interval.num_seconds();
    TimeDelta::seconds(seconds * 3 / 4 + seconds / 2 * share / i64::from(u16::MAX))
}

struct Context {
    change: ChangeContext,
    next: Timestamp,
    current_license_sub: Option<String>,
    /// The actor of refusals, which are counted.
    counted: Actor,
    sighting: Sighting,
    settings: Arc<Settings>,
    signer: Arc<dyn LicenseSigner>,
}

impl Registry {
    /// Returns the tenant and rights of a credential, on behalf of a service that received it.
    /// Writes nothing and does not count as a use of the credential.
    pub async fn credential_verify(
        &self,
        credential: &PlainCredential,
    ) -> Result<CredentialStatus, Error> {
        let facts = self.ports.store.credential_show(credential.digest()).await?;
        let facts = facts.filter(|facts| facts.appliance.revoked_at.is_none());
        let CredentialFacts { appliance, tenant, entitlement, .. } =
            facts.ok_or(Refusal::CredentialInvalid)?;
        // What a suspended tenant paid for does not count while it is suspended.
        let entitlement = entitlement.filter(|_| !tenant.status.is_closed());
        let edition = entitlement.as_ref().map_or(self.settings.editions.free(), |it| &it.edition);
        Ok(CredentialStatus {
            tenant_id: tenant.id,
            edition: edition.clone(),
            appliance_id: appliance.id,
            entitlement_active: entitlement.is_some(),
            connected_eligible: entitlement.is_some(),
        })
    }
}

fn decide(context: &Context, facts: Option<&CredentialFacts>) -> Decision<CheckedIn> {
    let Some(facts) = facts else { return refuse(Refusal::ApplianceRevoked, None) };
    let CredentialFacts { credential, appliance, tenant, entitlement } = facts;
    let mut change = context.change.clone();
    let recorded =
        Write::RecordCheckIn { tenant: tenant.id, appliance: appliance.id.clone(), at: change.now };
    let is_retired = is_retired(credential, &context.sighting);
    if appliance.revoked_at.is_some() || is_retired {
        let reason = if is_retired { "credential_retired" } else { "appliance_revoked" };
        let detail = AuditDetail::reason(reason).of(&appliance.id);
        let mut entry = change.audit(Action::CheckInRefused, Some(tenant.id), detail);
        entry.actor = context.counted.clone();
        let writes = vec![recorded, Write::audit(entry)];
        return Decision::commit(writes, Err(Refusal::ApplianceRevoked));
    }
    let mut writes = vec![recorded];
    let mut checked_in = appliance.clone();
    observe(context, &mut change, credential, &mut checked_in, &mut writes);
    let open = !tenant.status.is_closed();
    let status = match entitlement.as_ref().filter(|_| open) {
        None => Ok(LicenseStatus::Revoked),
        Some(entitlement) => {
            LicenseTerms::of(entitlement, Some(tenant.id), &context.settings.editions)
                .map_err(DecideError::from)
                .and_then(|terms| renew(context, &mut change, &mut checked_in, terms, &mut writes))
        }
    };
    if checked_in != *appliance {
        writes.push(Write::PutAppliance(Box::new(checked_in)));
    }
    if tenant.status == TenantStatus::Installed {
        let active =
            Tenant { status: TenantStatus::Active, updated_at: change.now, ..tenant.clone() };
        writes.push(Write::UpdateTenant(Box::new(active)));
        writes.push(Write::audit(change.audit(
            Action::TenantActive,
            Some(tenant.id),
            AuditDetail::appliance(&appliance.id),
        )));
    }
    match status {
        Err(error) => Decision::Abort(error),
        Ok(status) => {
            let result = CheckedIn { status, next_check_in_at: context.next, now: change.now };
            change.commit(writes, result)
        }
    }
}

/// Records the use of the credential, and reports it if two machines use one identity.
fn observe(
    context: &Context,
    change: &mut ChangeContext,
    credential: &Credential,
    appliance: &mut Appliance,
    writes: &mut Vec<Write>,
) {
    let sighting = &context.sighting;
    let used = sighted(credential, sighting);
    if used != *credential {
        writes.push(Write::UpdateCredential(Box::new(used)));
    }
    if credential.first_used_at.is_none() {
        let credential = Box::new(credential.clone());
        writes.push(Write::RetireCredentials { credential, at: change.now });
    }
    let interval = context.settings.license.check_in_interval;
    if let Some(evidence) = evidence(credential, sighting, interval)
        && is_reported(appliance, change.now)
    {
        appliance.duplicate_seen_at = Some(change.now);
        let detail = AuditDetail::reason(evidence.as_str()).of(&appliance.id);
        writes.push(Write::audit(change.audit(
            Action::ApplianceDuplicated,
            Some(appliance.tenant_id),
            detail,
        )));
    }
}

/// Signs a new license if one is due.
fn renew(
    context: &Context,
    change: &mut ChangeContext,
    appliance: &mut Appliance,
    terms: LicenseTerms,
    writes: &mut Vec<Write>,
) -> Result<LicenseStatus, DecideError> {
    let policy = &context.settings.license;
    let Some(due) = due(
        policy,
        appliance.license.as_ref(),
        &terms,
        context.current_license_sub.as_deref(),
        change.now,
    ) else {
        return Ok(LicenseStatus::Licensed(None));
    };
    let issued_at = match due {
        Due::Repeated { issued_at } => issued_at,
        Due::First | Due::Changed | Due::Aged | Due::Missing => change.now,
    };
    let claims = policy.claims(terms, issued_at, policy.lifetime);
    let token = change.sign(&*context.signer, &claims)?;
    let expires_at = claims.expires_at.trunc_subsecs(0);
    if matches!(due, Due::Repeated { .. }) {
        return Ok(LicenseStatus::Licensed(Some((token, expires_at))));
    }
    appliance.license = Some(IssuedLicense { terms: claims.terms, expires_at });
    let detail = AuditDetail::reason(due.as_str()).of(&appliance.id);
    writes.push(Write::audit(change.audit(
        Action::LicenseRenewed,
        Some(appliance.tenant_id),
        detail,
    )));
    Ok(LicenseStatus::Licensed(Some((token, expires_at))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-check-in-11.
    #[test]
    fn next_check_in_spreads_over_half_an_interval() {
        let day = TimeDelta::hours(24);
        assert_eq!(jittered(day, [0, 0]), TimeDelta::hours(18));
        assert_eq!(jittered(day, [255, 255]), TimeDelta::hours(30));
        let middle = jittered(day, [128, 0]);
        assert!((TimeDelta::hours(23)..TimeDelta::hours(25)).contains(&middle));
        // Appliances that all came back in one second are spread evenly: no minute of the twelve
        // hours gets more than its share.
        let mut minutes = std::collections::BTreeMap::new();
        for number in 0..=u16::MAX {
            *minutes.entry(jittered(day, number.to_be_bytes()).num_minutes()).or_insert(0) += 1;
        }
        assert!(minutes.len() > 700 && minutes.values().all(|&count| count <= 92), "{minutes:?}");
    }
}
