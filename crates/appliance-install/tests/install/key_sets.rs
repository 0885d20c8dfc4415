//! Rotations of the license keys, as an appliance follows them from one check-in to the next.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use appliance_install::{Client, LicenseStatus, ServiceError, Trust};
use appliance_license::TrustedKeys;
use chrono::TimeDelta;
use registry_core::clock::Clock as _;
use registry_core::license::{JwkMaterial, LicenseSigner as _};
use serde_json::json;

use crate::agent::{DAY, check_in, check_in_with, installed};
use crate::served::{RotatingSigner, Served, key};

const ISSUER: &str = "appliance-registry";

/// Starts a registry whose keys the test rotates, and installs an appliance in this folder.
async fn rotating(folder: &Path) -> (Served, Arc<RotatingSigner>) {
    let signer = Arc::new(RotatingSigner::new(1));
    let served = Served::signing_with(Some(signer.clone())).await;
    installed(&served, folder).await;
    (served, signer)
}

/// Returns the numbers of the pinned keys.
fn pinned(folder: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(folder.join("keys.json")).unwrap();
    let keys = TrustedKeys::from_jwks(&text).unwrap();
    let is_pinned = |number: &u8| keys.kids().any(|kid| kid == key(*number).public_key().kid);
    (1..=4).filter(is_pinned).collect()
}

/// R-jwks-4.
#[tokio::test(flavor = "multi_thread")]
async fn rotation_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (served, signer) = rotating(folder).await;
    assert_eq!(pinned(folder), [1]);
    // A key is published before it signs, and for a long time after.
    signer.rotate(1, &[1, 2]);
    check_in(&served, folder).await;
    assert_eq!(pinned(folder), [1, 2], "each check-in refreshes the keys");
    signer.rotate(2, &[1, 2]);
    served.time.advance(2 * DAY);
    assert_eq!(check_in(&served, folder).await.status, Some(LicenseStatus::Entitled));
    signer.rotate(2, &[2]);
    check_in(&served, folder).await;
    assert_eq!(pinned(folder), [2]);
    // While the appliance is away, two rotations follow each other.
    signer.rotate(4, &[2, 3, 4]);
    served.time.advance(20 * DAY);
    assert_eq!(check_in(&served, folder).await.status, Some(LicenseStatus::Entitled));
    assert_eq!(pinned(folder), [2, 3, 4]);
}

/// R-jwks-4: a server publishes the pinned key beside its own, and has only its own.
#[tokio::test(flavor = "multi_thread")]
async fn key_set_of_others_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (served, signer) = rotating(folder).await;
    let before = check_in(&served, folder).await;
    for (published, signing) in [
        (&[1, 3][..], &[3][..]),
        // All keys are replaced at once.
        (&[3, 4][..], &[3, 4][..]),
        // A registry that does not sign its key set.
        (&[1, 3][..], &[][..]),
    ] {
        signer.rotate_signed_with(3, published, signing);
        served.time.advance(2 * DAY);
        let refused = check_in(&served, folder).await;
        let Some(LicenseStatus::ServiceError(ServiceError::Keys { problem })) = &refused.status
        else {
            panic!("{published:?}: {:?}", refused.status)
        };
        assert!(problem.contains("not signed with a key that this appliance trusts"), "{problem}");
        assert_eq!(refused.licensed, before.licensed, "{published:?}");
        assert_eq!(pinned(folder), [1], "{published:?}");
    }
    // The license is valid, and only the keys are not.
    signer.rotate_signed_with(1, &[1, 3], &[3]);
    served.time.advance(2 * DAY);
    assert_eq!(check_in(&served, folder).await.status, Some(LicenseStatus::Entitled));
    assert_eq!(pinned(folder), [1]);
}

/// R-jwks-2.
#[tokio::test(flavor = "multi_thread")]
async fn revoked_key_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (served, signer) = rotating(folder).await;
    signer.rotate(1, &[1, 2]);
    check_in(&served, folder).await;
    signer.rotate(2, &[2]);
    check_in(&served, folder).await;
    assert_eq!(pinned(folder), [2], "the key is dropped before its license is renewed");
    served.time.advance(2 * DAY);
    assert_eq!(check_in(&served, folder).await.status, Some(LicenseStatus::Entitled));
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_keys_replace_pinned_ones() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (served, signer) = rotating(folder).await;
    signer.rotate(3, &[3]);
    let JwkMaterial { kty, crv, x, .. } = key(3).public_key().material.jwk();
    let kid = key(3).public_key().kid.clone();
    let exported = json!({ "keys": [{ "kty": kty, "crv": crv, "kid": kid, "x": x }] });
    let configured = folder.join("configured.json");
    std::fs::write(&configured, exported.to_string()).unwrap();
    let trust = Trust {
        configured: Some(configured),
        pinned: folder.join("keys.json"),
        issuer: ISSUER.to_owned(),
        free_edition: "essentials".to_owned(),
    };
    let client = Client::new(&served.url, None, trust, Duration::from_secs(5)).unwrap();
    let client = client.with_clock(Arc::new(served.time.clone()));
    served.time.advance(2 * DAY);
    let checked_in = check_in_with(&served, folder, &client).await;
    assert_eq!(checked_in.status, Some(LicenseStatus::Entitled));
    assert_eq!(pinned(folder), [3]);
    // Later check-ins run without the configured keys.
    signer.rotate(3, &[3, 4]);
    check_in(&served, folder).await;
    assert_eq!(pinned(folder), [3, 4]);
}

/// R-jwks-5.
#[tokio::test(flavor = "multi_thread")]
async fn older_and_future_key_sets_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (served, signer) = rotating(folder).await;
    signer.rotate(1, &[1, 2]);
    check_in(&served, folder).await;
    let older = signer.signed_key_sets(ISSUER, served.time.0.now()).unwrap();
    signer.rotate(2, &[2]);
    served.time.advance(2 * DAY);
    check_in(&served, folder).await;
    assert_eq!(pinned(folder), [2]);
    signer.replay(older);
    served.time.advance(2 * DAY);
    assert_eq!(check_in(&served, folder).await.status, Some(LicenseStatus::Entitled));
    assert_eq!(pinned(folder), [2], "an older set is refused");

    signer.rotate(2, &[2, 3]);
    let in_two_minutes = served.time.0.now() + TimeDelta::minutes(2);
    signer.replay(signer.signed_key_sets(ISSUER, in_two_minutes).unwrap());
    check_in(&served, folder).await;
    assert_eq!(pinned(folder), [2], "a set from the future is refused");
    served.time.advance(120);
    check_in(&served, folder).await;
    assert_eq!(pinned(folder), [2, 3]);
}
