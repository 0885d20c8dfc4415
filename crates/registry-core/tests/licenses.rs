//! Licenses over time: an appliance that embeds the verifier, and a registry with a manual clock.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, RwLock};

use appliance_license::{LicenseState, TrustedKeys, Verifier};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use registry_core::clock::Timestamp;
use registry_core::id::TenantId;
use registry_core::license::{
    LicenseClaims, LicenseSigner, PublicKey, PublicKeyMaterial, SignError, SignedLicense,
};
use registry_core::offline::OfflineAnswer;
use registry_core::rate_limit::Source;
use registry_core::registry::check_in::CheckIn;
use registry_core::registry::entitlements::EntitlementEdit;
use registry_core::results::{CheckedIn, LicenseStatus};
use registry_core::secret::{AnswerToken, PlainCredential};
use registry_core::store::EntitlementSelector;
use registry_core::{Ports, Registry};
use registry_license::{Ring, RingPlan, Signer, ed25519_pem, p256_pem};
use registry_testkit::{World, actor};
use serde_json::{Value, json};

/// A running appliance, with its license and the registry's public keys at its last check-in.
struct Appliance {
    tenant: TenantId,
    credential: PlainCredential,
    token: String,
    jwks: String,
}

fn jwks(keys: &[PublicKey]) -> String {
    let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let jwk = |key: &PublicKey| -> Value {
        match &key.material {
            PublicKeyMaterial::Ed25519 { x } => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": key.kid, "x": text(x) })
            }
            PublicKeyMaterial::P256 { x, y } => {
                json!({ "kty": "EC", "crv": "P-256", "kid": key.kid, "x": text(x), "y": text(y) })
            }
        }
    };
    json!({ "keys": keys.iter().map(jwk).collect::<Vec<_>>() }).to_string()
}

impl Appliance {
    async fn install(world: &World, registry: &Registry) -> Self {
        let issued =
            registry.tenant_register(World::new_tenant("Acme", "pro"), actor()).await.unwrap();
        let redeemed = world.redeem_with(registry, &issued.code, "appliance-1").await.unwrap();
        let licensed = redeemed.licensed.unwrap();
        Self {
            tenant: issued.tenant_id,
            credential: licensed.credential,
            token: licensed.token.expose().to_owned(),
            jwks: jwks(&registry.public_keys()),
        }
    }

    /// Checks in, and stores the new license, if any, and the registry's present keys.
    async fn check_in(&mut self, registry: &Registry) -> CheckedIn {
        let source = Source::of([192, 0, 2, 1].into());
        let request = CheckIn {
            credential: self.credential.clone(),
            sequence: None,
            current_license_sub: None,
            source,
            key: None,
        };
        let checked_in = registry.check_in(request).await.unwrap();
        if let LicenseStatus::Licensed(Some((token, _))) = &checked_in.status {
            self.token = token.expose().to_owned();
        }
        self.jwks = jwks(&registry.public_keys());
        checked_in
    }

    fn state(&self, world: &World) -> LicenseState {
        let keys = TrustedKeys::from_jwks(&self.jwks).unwrap();
        let now = world.now().timestamp().try_into().unwrap();
        Verifier::new(keys, "appliance-registry", &self.tenant.to_string()).state(&self.token, now)
    }

    fn is_licensed(&self, world: &World) -> bool {
        matches!(self.state(world), LicenseState::Licensed(_) | LicenseState::Expiring { .. })
    }

    fn kid(&self) -> String {
        let header = BASE64_URL_SAFE_NO_PAD.decode(self.token.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        header["kid"].as_str().unwrap().to_owned()
    }
}

async fn edit(world: &World, appliance: &Appliance, edit: EntitlementEdit) {
    let record = world.ports.store.tenant_show(appliance.tenant).await.unwrap().unwrap();
    let selector = EntitlementSelector::Id(record.entitlements[0].id);
    world.registry.entitlement_edit(selector, edit, None, actor()).await.unwrap();
}

/// R-check-in-1, R-check-in-6.
#[tokio::test]
async fn punctual_appliance_is_always_licensed() {
    let world = World::in_memory();
    let mut appliance = Appliance::install(&world, &world.registry).await;
    let begun = world.now();
    let mut renewals = 0;
    while world.now() - begun < TimeDelta::days(90) {
        let before = appliance.token.clone();
        let checked_in = appliance.check_in(&world.registry).await;
        renewals += usize::from(appliance.token != before);
        let pause = checked_in.next_check_in_at - world.now();
        for _ in 0..10 {
            assert!(
                matches!(appliance.state(&world), LicenseState::Licensed(_)),
                "{:?}",
                appliance.state(&world)
            );
            world.clock.advance(pause / 10);
        }
    }
    assert!((40..=100).contains(&renewals), "expected about one renewal a day, got {renewals}");
}

#[tokio::test]
async fn offline_appliance_recovers_at_check_in() {
    let world = World::in_memory();
    let mut appliance = Appliance::install(&world, &world.registry).await;
    world.clock.advance(TimeDelta::days(30));
    assert!(
        matches!(appliance.state(&world), LicenseState::Expiring { .. }),
        "{:?}",
        appliance.state(&world)
    );
    appliance.check_in(&world.registry).await;
    assert!(matches!(appliance.state(&world), LicenseState::Licensed(_)));
    // The same after the license has expired.
    world.clock.advance(TimeDelta::days(45));
    assert!(matches!(appliance.state(&world), LicenseState::Expired { .. }));
    appliance.check_in(&world.registry).await;
    assert!(matches!(appliance.state(&world), LicenseState::Licensed(_)));
}

/// R-check-in-2, R-check-in-3.
#[tokio::test]
async fn revoked_entitlement_has_a_grace_period() {
    let world = World::in_memory();
    let mut appliance = Appliance::install(&world, &world.registry).await;
    world.clock.advance(TimeDelta::days(3));
    appliance.check_in(&world.registry).await;
    edit(&world, &appliance, EntitlementEdit::Revoke).await;
    for day in 0..31 {
        let checked_in = appliance.check_in(&world.registry).await;
        assert!(matches!(checked_in.status, LicenseStatus::Revoked));
        assert!(appliance.is_licensed(&world), "no grace on day {day}");
        world.clock.advance(TimeDelta::days(1));
    }
    world.clock.advance(TimeDelta::minutes(2));
    assert!(
        matches!(appliance.state(&world), LicenseState::Expired { .. }),
        "{:?}",
        appliance.state(&world)
    );
    edit(&world, &appliance, EntitlementEdit::Restore).await;
    appliance.check_in(&world.registry).await;
    assert!(matches!(appliance.state(&world), LicenseState::Licensed(_)));
}

/// R-check-in-6.
#[tokio::test]
async fn seats_change_at_the_next_check_in() {
    let world = World::in_memory();
    let mut appliance = Appliance::install(&world, &world.registry).await;
    for seats in [Some(50), None, Some(1)] {
        edit(&world, &appliance, EntitlementEdit::Seats(seats)).await;
        world.clock.advance(TimeDelta::minutes(1));
        appliance.check_in(&world.registry).await;
        let LicenseState::Licensed(license) = appliance.state(&world) else { panic!("licensed") };
        assert_eq!(license.seats, seats);
    }
}

/// A signer whose key ring can be replaced during a test, as an operator would.
struct ReplaceableRing(RwLock<Arc<Ring>>);

impl LicenseSigner for ReplaceableRing {
    fn sign(&self, claims: &LicenseClaims) -> Result<SignedLicense, SignError> {
        self.0.read().unwrap().sign(claims)
    }

    fn sign_answer(&self, answer: &OfflineAnswer) -> Result<AnswerToken, SignError> {
        self.0.read().unwrap().sign_answer(answer)
    }

    fn public_keys(&self) -> Vec<PublicKey> {
        self.0.read().unwrap().public_keys()
    }

    fn signed_key_sets(&self, issuer: &str, now: Timestamp) -> Result<Vec<String>, SignError> {
        self.0.read().unwrap().signed_key_sets(issuer, now)
    }
}

#[tokio::test]
async fn key_rotation_keeps_every_license_valid() {
    let world = World::in_memory();
    let pems = [ed25519_pem(&[1; 32]), p256_pem(&[2; 32]).unwrap()];
    let [old, new] =
        [0, 1].map(|index| Signer::from_pem(&pems[index], None).unwrap().public_key().kid.clone());
    let mut plan = RingPlan::of_one(old.clone(), "0".to_owned(), world.now());
    let ring = |plan: &RingPlan| {
        let keys = plan.in_use(world.now(), TimeDelta::days(31)).map(|key| {
            let pem = &pems[key.file.parse::<usize>().unwrap()];
            (Signer::from_pem(pem, Some(key.kid.clone())).unwrap(), key.state)
        });
        Arc::new(Ring::new(keys.collect()).unwrap())
    };
    let signer = Arc::new(ReplaceableRing(RwLock::new(ring(&plan))));
    let ports = Ports { signer: signer.clone(), ..world.ports.clone() };
    let registry = Registry::new(ports, world.registry.settings().clone());
    let mut daily = Appliance::install(&world, &registry).await;
    // The rare one is offline for a month: its last check-in is before the new key is published.
    let mut rare = Appliance::install(&world, &registry).await;
    for hour in 0..24 * 40 {
        match hour {
            24 => plan.publish(new.clone(), "1".to_owned(), world.now()).unwrap(),
            71 => assert!(
                plan.activate(&new, world.now(), false).is_err(),
                "appliances may not have the new key yet"
            ),
            72 => plan.activate(&new, world.now(), false).unwrap(),
            _ => {}
        }
        *signer.0.write().unwrap() = ring(&plan);
        if hour % 24 == 5 {
            daily.check_in(&registry).await;
        }
        if hour == 24 * 30 {
            rare.check_in(&registry).await;
        }
        assert!(daily.is_licensed(&world), "hour {hour}: {:?}", daily.state(&world));
        assert!(rare.is_licensed(&world), "hour {hour}: {:?}", rare.state(&world));
        // An appliance that starts now, with the present keys, must verify the license too.
        let present_keys = TrustedKeys::from_jwks(&jwks(&registry.public_keys())).unwrap();
        let (now, tenant) = (world.now().timestamp().try_into().unwrap(), daily.tenant.to_string());
        let state =
            Verifier::new(present_keys, "appliance-registry", &tenant).state(&daily.token, now);
        assert!(matches!(state, LicenseState::Licensed(_)), "hour {hour}: {state:?}");
        world.clock.advance(TimeDelta::hours(1));
    }
    assert_eq!((daily.kid(), rare.kid()), (new.clone(), new.clone()), "all use the new key");
    let kids: Vec<String> = registry.public_keys().into_iter().map(|key| key.kid).collect();
    assert_eq!(kids, [new], "the old key is gone after its last license expired");
}
