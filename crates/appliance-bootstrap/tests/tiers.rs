//! The effective tier, with licenses from the registry's real signer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use appliance_bootstrap::{EditionChoice, LicenseRow, TierReason, effective_tier};
use appliance_license::{TrustedKeys, Verifier};
use chrono::{NaiveDateTime, TimeDelta};
use registry_core::license::{LicensePolicy, LicenseTerms};
use registry_testkit::World;

const TENANT: &str = "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73";

/// Signs a license for this tenant, issued now and valid for 31 days.
fn license(world: &World, tenant: &str) -> String {
    let terms = LicenseTerms {
        sub: "lic_1".to_owned(),
        customer: "Acme".to_owned(),
        tier: "gold".to_owned(),
        seats: None,
        tenant_id: tenant.parse().ok(),
    };
    let policy = LicensePolicy::default();
    let claims = policy.claims(terms, world.now(), policy.lifetime);
    world.ports.signer.sign(&claims).unwrap().token.expose().to_owned()
}

fn verifier(world: &World) -> Verifier {
    let keys = world.registry.public_keys();
    let jwk = keys[0].material.jwk();
    let jwks = format!(
        r#"{{"keys": [{{"kty": "{}", "crv": "{}", "kid": "{}", "x": "{}"}}]}}"#,
        jwk.kty, jwk.crv, keys[0].kid, jwk.x
    );
    Verifier::new(TrustedKeys::from_jwks(&jwks).unwrap(), "appliance-registry", TENANT)
}

/// R-bootstrap-5.
#[test]
fn license_precedes_edition_and_trial() {
    let world = World::in_memory();
    let (now, verifier) = (world.now().naive_utc(), verifier(&world));
    let valid = license(&world, TENANT);
    let others = license(&world, "019b0a51-7d1e-7c3a-9b52-000000000000");
    // In the middle of the signature: the last character has unused bits.
    let mut altered = valid.clone();
    let middle = altered.len() - 40;
    let other = if &altered[middle..=middle] == "A" { "B" } else { "A" };
    altered.replace_range(middle..=middle, other);
    let day = |days| now + TimeDelta::days(days);
    let trial = |days| Some(now - TimeDelta::days(days));
    let row =
        |edition_choice, token: Option<&str>, trial_started_at: Option<NaiveDateTime>| LicenseRow {
            edition_choice,
            license_token: token.map(str::to_owned),
            appliance_id: None,
            check_in_url: None,
            appliance_credential: None,
            trial_started_at,
        };
    let (ee, ce) = (EditionChoice::Ee, EditionChoice::Ce);
    for (case, row, at, tier, reason) in [
        ("a license", row(ee, Some(&valid), None), now, "gold", "the license is valid"),
        (
            "a license with the free edition",
            row(ce, Some(&valid), None),
            now,
            "gold",
            "the license is valid",
        ),
        (
            "a license that expires soon",
            row(ee, Some(&valid), None),
            day(30),
            "gold",
            "the license is valid",
        ),
        (
            "an expired license",
            row(ee, Some(&valid), None),
            day(32),
            "essentials",
            "the license expired at",
        ),
        (
            "an expired license during the trial",
            row(ee, Some(&valid), trial(-30)),
            day(32),
            "pro",
            "the trial ends at",
        ),
        (
            "another tenant's license",
            row(ee, Some(&others), None),
            now,
            "essentials",
            "belongs to tenant 019b0a51",
        ),
        ("an altered license", row(ee, Some(&altered), None), now, "essentials", "was altered"),
        ("the free edition", row(ce, None, None), now, "essentials", "free edition was chosen"),
        (
            "the free edition during the trial",
            row(ce, None, trial(1)),
            now,
            "essentials",
            "free edition",
        ),
        ("a trial", row(ee, None, trial(0)), now, "pro", "the trial ends at"),
        ("last day of the trial", row(ee, None, trial(14)), now, "pro", "the trial ends at"),
        ("after the trial", row(ee, None, trial(15)), now, "essentials", "there is no license"),
        ("installed as essentials", row(ee, None, None), now, "essentials", "there is no license"),
    ] {
        let resolved = effective_tier(&row, Some(&verifier), at);
        assert_eq!(resolved.name, tier, "{case}");
        assert!(resolved.reason.to_string().contains(reason), "{case}: {}", resolved.reason);
    }
    let unverified = effective_tier(&row(ee, Some(&valid), None), None, now);
    assert_eq!(
        unverified.reason,
        TierReason::NoLicense("there are no keys to verify the license with".to_owned())
    );
}
