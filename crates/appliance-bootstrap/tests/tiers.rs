//! The effective tier, with licenses that a registry's signer signed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use appliance_bootstrap::{Because, EditionChoice, LicenseRow, effective_tier};
use appliance_license::{TrustedKeys, Verifier};
use chrono::{NaiveDateTime, TimeDelta};
use registry_core::license::{LicensePolicy, LicenseTerms};
use registry_testkit::World;

const TENANT: &str = "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73";

/// A license for this tenant, issued now, for 31 days.
fn license(world: &World, tenant: &str) -> String {
    let terms = LicenseTerms {
        sub: "lic_1".to_owned(),
        customer: "Acme".to_owned(),
        tier: "gold".to_owned(),
        seats: None,
        tenant_id: tenant.parse().ok(),
    };
    let policy = LicensePolicy::default();
    let claims = policy.claims(terms, world.now(), policy.connected_lifetime);
    world.ports.signer.sign(&claims).unwrap().expose().to_owned()
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

#[test]
fn the_tier_is_the_licenses_then_the_editions_then_the_trials() {
    let world = World::in_memory();
    let (now, verifier) = (world.now().naive_utc(), verifier(&world));
    let (good, others) =
        (license(&world, TENANT), license(&world, "019b0a51-7d1e-7c3a-9b52-000000000000"));
    // In the middle of the signature: its end is mostly the same in all of them.
    let mut altered = good.clone();
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
    for (what, row, at, tier, because) in [
        ("a license", row(ee, Some(&good), None), now, "gold", "a license holds"),
        (
            "a license beats the community edition",
            row(ce, Some(&good), None),
            now,
            "gold",
            "a license holds",
        ),
        ("it ends soon", row(ee, Some(&good), None), day(30), "gold", "a license holds"),
        ("it has ended", row(ee, Some(&good), None), day(32), "essentials", "the license ended at"),
        (
            "it has ended, in the trial",
            row(ee, Some(&good), trial(-30)),
            day(32),
            "pro",
            "the trial goes on",
        ),
        ("another tenant's", row(ee, Some(&others), None), now, "essentials", "is tenant 019b0a51"),
        ("altered", row(ee, Some(&altered), None), now, "essentials", "was altered"),
        ("the community edition", row(ce, None, None), now, "essentials", "community"),
        ("not even on trial", row(ce, None, trial(1)), now, "essentials", "community"),
        ("a trial", row(ee, None, trial(0)), now, "pro", "the trial goes on"),
        ("its last day", row(ee, None, trial(14)), now, "pro", "the trial goes on"),
        ("it is over", row(ee, None, trial(15)), now, "essentials", "there is no license"),
        ("installed as essentials", row(ee, None, None), now, "essentials", "there is no license"),
    ] {
        let resolved = effective_tier(&row, Some(&verifier), at);
        assert_eq!(resolved.name, tier, "{what}");
        assert!(resolved.because.to_string().contains(because), "{what}: {}", resolved.because);
    }
    let unverified = effective_tier(&row(ee, Some(&good), None), None, now);
    assert_eq!(
        unverified.because,
        Because::NoLicense("there are no keys to verify the license with".to_owned())
    );
}
