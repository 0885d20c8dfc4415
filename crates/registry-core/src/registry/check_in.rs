//! Checking in: a running appliance shows its credential, and gets a new license where one is due.

use std::sync::Arc;

use chrono::{SubsecRound as _, TimeDelta};

use crate::appliance::{Appliance, IssuedLicense};
use crate::audit::{Action, Actor};
use crate::clock::Timestamp;
use crate::entropy;
use crate::license::{LicensePolicy, LicenseSigner, LicenseTerms};
use crate::rate_limit::Source;
use crate::refusal::Refusal;
use crate::registry::idempotency::IdempotencyKey;
use crate::registry::{ChangeContext, Error, Registry, Settings, refuse};
use crate::results::{CheckedIn, CredentialStatus, LicenseStatus};
use crate::secret::PlainCredential;
use crate::store::{CredentialFacts, DecideError, Decision, Write};
use crate::tenant::{Tenant, TenantStatus};

/// A check-in as asked for.
#[derive(Clone, Debug)]
pub struct CheckIn {
    /// What the appliance proves itself with.
    pub credential: PlainCredential,
    /// The `sub` of the license that it holds, where it says so.
    pub current_license_sub: Option<String>,
    /// Where the request comes from.
    pub source: Source,
    /// Under which key the answer is recorded.
    pub key: Option<IdempotencyKey>,
}

impl Registry {
    /// Checks an appliance in: records that it called, retires the credentials that are older than
    /// the one it shows, and signs a new license where one is due.
    pub async fn check_in(&self, check_in: CheckIn) -> Result<CheckedIn, Error> {
        let change = self.change_context(Actor {
            name: "appliance".to_owned(),
            source: check_in.source.to_string(),
        });
        let (now, digest) = (change.now, check_in.credential.digest());
        let next =
            now + jittered(self.settings.check_in_interval, entropy::bytes(&*self.ports.entropy));
        let (settings, signer) = (self.settings.clone(), self.ports.signer.clone());
        let context = Context {
            change,
            next,
            current_license_sub: check_in.current_license_sub,
            settings,
            signer,
        };
        let decide =
            Arc::new(move |facts: &Option<CredentialFacts>| decide(&context, facts.as_ref()));
        let owner = entropy::hex(&digest.0);
        let (replay, decide, opening) =
            self.recording(check_in.key, &owner, now, decide).into_parts();
        self.answered(self.ports.store.check_in(digest, now, replay, decide).await?, &opening)
    }
}

/// Three to five quarters of the interval: a fleet that called at once is spread over half an
/// interval by its next call, and evenly soon after.
fn jittered(interval: TimeDelta, random: [u8; 2]) -> TimeDelta {
    let share = i64::from(u16::from_be_bytes(random));
    let seconds = interval.num_seconds();
    TimeDelta::seconds(seconds * 3 / 4 + seconds / 2 * share / i64::from(u16::MAX))
}

struct Context {
    change: ChangeContext,
    next: Timestamp,
    current_license_sub: Option<String>,
    settings: Arc<Settings>,
    signer: Arc<dyn LicenseSigner>,
}

impl Registry {
    /// What a credential opens, for a service that was shown it. Writes nothing, and does not count
    /// as a use.
    pub async fn credential_verify(
        &self,
        credential: &PlainCredential,
    ) -> Result<CredentialStatus, Error> {
        let facts = self.ports.store.credential_show(credential.digest()).await?;
        let facts = facts.filter(|facts| facts.appliance.revoked_at.is_none());
        let CredentialFacts { appliance, tenant, entitlement, .. } =
            facts.ok_or(Refusal::CredentialInvalid)?;
        Ok(CredentialStatus {
            tenant_id: tenant.id,
            edition: entitlement
                .as_ref()
                .map_or(self.settings.editions.free(), |it| &it.edition)
                .clone(),
            appliance_id: appliance.id,
            entitlement_active: entitlement.is_some(),
            connected_eligible: entitlement.is_some() && !tenant.status.is_closed(),
        })
    }
}

fn decide(context: &Context, facts: Option<&CredentialFacts>) -> Decision<CheckedIn> {
    let Some(facts) = facts else { return refuse(Refusal::ApplianceRevoked, None) };
    let CredentialFacts { credential, appliance, tenant, entitlement } = facts;
    let mut change = context.change.clone();
    if appliance.revoked_at.is_some() {
        let entry = change.audit(Action::CheckInRefused, Some(tenant.id), appliance.id.as_str());
        return refuse(Refusal::ApplianceRevoked, Some(entry));
    }
    let mut writes = Vec::new();
    if credential.first_used_at.is_none() {
        writes.push(Write::UseCredential { credential: credential.clone(), at: change.now });
    }
    let open = !tenant.status.is_closed();
    let status = match entitlement.as_ref().filter(|_| open) {
        None => Ok(LicenseStatus::Revoked),
        Some(entitlement) => {
            LicenseTerms::of(entitlement, Some(tenant.id), &context.settings.editions)
                .map_err(DecideError::from)
                .and_then(|terms| renew(context, &mut change, appliance, terms, &mut writes))
        }
    };
    if tenant.status == TenantStatus::Installed {
        let active =
            Tenant { status: TenantStatus::Active, updated_at: change.now, ..tenant.clone() };
        writes.push(Write::PutTenant(Box::new(active)));
        writes.push(Write::audit(change.audit(
            Action::TenantActive,
            Some(tenant.id),
            appliance.id.as_str(),
        )));
    }
    match status {
        Err(error) => Decision::Abort(error),
        Ok(status) => {
            let answer = CheckedIn { status, next_check_in_at: context.next, now: change.now };
            Decision::Commit { writes, outcome: Ok(answer) }
        }
    }
}

/// Signs a new license where one is due.
fn renew(
    context: &Context,
    change: &mut ChangeContext,
    appliance: &Appliance,
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
    let claims = policy.claims(terms, change.now, policy.connected_lifetime);
    let token = context.signer.sign(&claims)?;
    let expires_at = claims.expires_at.trunc_subsecs(0);
    let license = Some(IssuedLicense { terms: claims.terms, expires_at });
    let renewed = Appliance { license, ..appliance.clone() };
    let detail = format!("{} for {}", due.as_str(), appliance.id);
    writes.push(Write::audit(change.audit(
        Action::LicenseRenewed,
        Some(appliance.tenant_id),
        &detail,
    )));
    writes.push(Write::PutAppliance(Box::new(renewed)));
    Ok(LicenseStatus::Licensed(Some((token, expires_at))))
}

/// Why a new license is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// None was issued yet, or the appliance holds another.
    First,
    /// It says something else than the entitlement does.
    Changed,
    /// Enough of its life is over.
    Aged,
}

impl Due {
    fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Changed => "changed",
            Self::Aged => "renewed",
        }
    }
}

/// The renewal rule (wire contract, R-check-in-6): due where less than (license days − 1) of life
/// is left, or where tier, seats, customer or tenant differ from the entitlement. A license that
/// lives for less than two days is renewed when half of it is over: else it never would be.
fn due(
    policy: &LicensePolicy,
    issued: Option<&IssuedLicense>,
    terms: &LicenseTerms,
    current_license_sub: Option<&str>,
    now: Timestamp,
) -> Option<Due> {
    let Some(issued) = issued.filter(|_| current_license_sub.is_none_or(|held| held == terms.sub))
    else {
        return Some(Due::First);
    };
    if issued.terms != *terms {
        return Some(Due::Changed);
    }
    let lifetime = policy.connected_lifetime;
    let needed = (lifetime - TimeDelta::days(1)).max(lifetime / 2);
    (issued.expires_at - now < needed).then_some(Due::Aged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TenantId;

    fn terms(change: impl FnOnce(&mut LicenseTerms)) -> LicenseTerms {
        let mut terms = LicenseTerms {
            sub: "lic_1".into(),
            customer: "Acme".into(),
            tier: "pro".into(),
            seats: Some(5),
            tenant_id: Some(TenantId(uuid::Uuid::from_u128(1))),
        };
        change(&mut terms);
        terms
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::hours(hours)
    }

    #[test]
    fn a_license_is_due_by_time_and_by_difference() {
        let policy = LicensePolicy::default();
        let issued = IssuedLicense { terms: terms(|_| {}), expires_at: at(31 * 24) };
        for (name, now, terms, held, expected) in [
            ("just issued", at(0), terms(|_| {}), None, None),
            ("a day old to the second", at(24), terms(|_| {}), None, None),
            ("more than a day old", at(25), terms(|_| {}), None, Some(Due::Aged)),
            ("ended", at(32 * 24), terms(|_| {}), None, Some(Due::Aged)),
            ("other seats", at(1), terms(|it| it.seats = Some(6)), None, Some(Due::Changed)),
            ("unlimited seats", at(1), terms(|it| it.seats = None), None, Some(Due::Changed)),
            ("other tier", at(1), terms(|it| it.tier = "max".into()), None, Some(Due::Changed)),
            (
                "other customer",
                at(1),
                terms(|it| it.customer = "Bolt".into()),
                None,
                Some(Due::Changed),
            ),
            ("other tenant", at(1), terms(|it| it.tenant_id = None), None, Some(Due::Changed)),
            ("it holds this one", at(1), terms(|_| {}), Some("lic_1"), None),
            ("it holds another", at(1), terms(|_| {}), Some("lic_2"), Some(Due::First)),
        ] {
            assert_eq!(due(&policy, Some(&issued), &terms, held, now), expected, "{name}");
        }
        assert_eq!(due(&policy, None, &terms(|_| {}), None, at(0)), Some(Due::First));
    }

    #[test]
    fn a_license_of_an_hour_is_renewed_when_half_of_it_is_over() {
        let policy =
            LicensePolicy { connected_lifetime: TimeDelta::hours(2), ..LicensePolicy::default() };
        let issued = IssuedLicense { terms: terms(|_| {}), expires_at: at(2) };
        assert_eq!(due(&policy, Some(&issued), &terms(|_| {}), None, at(1)), None);
        assert_eq!(
            due(&policy, Some(&issued), &terms(|_| {}), None, at(1) + TimeDelta::seconds(1)),
            Some(Due::Aged)
        );
    }

    #[test]
    fn the_next_check_in_is_spread_over_half_an_interval() {
        let day = TimeDelta::hours(24);
        assert_eq!(jittered(day, [0, 0]), TimeDelta::hours(18));
        assert_eq!(jittered(day, [255, 255]), TimeDelta::hours(30));
        let middle = jittered(day, [128, 0]);
        assert!((TimeDelta::hours(23)..TimeDelta::hours(25)).contains(&middle));
        // A fleet that came back in one second is spread evenly: no minute of the twelve hours gets
        // more than its share.
        let mut minutes = std::collections::BTreeMap::new();
        for number in 0..=u16::MAX {
            *minutes.entry(jittered(day, number.to_be_bytes()).num_minutes()).or_insert(0) += 1;
        }
        assert!(minutes.len() > 700 && minutes.values().all(|&count| count <= 92), "{minutes:?}");
    }
}
