//! Installing without a network: the appliance's request and the registry's answer, each held
//! against the other's reader.

use std::path::Path;

use crate::served::{Served, setup_form};
use appliance_install::{
    AnswerError, Answered, Clock as _, Files, Install, Job, Next, ProvisioningMethod, SetupForm,
    Step, SubmitError, Trust, answer, license_state, request,
};
use appliance_license::{Invalid, LicenseState, TrustedKeys, Verifier};
use registry_core::install_code::PlainCode;
use registry_core::offline::OfflineRequest;
use registry_core::secret::TypedCode;
use registry_core::{Error, Refusal};
use registry_license::{RequestError, read_request};
use registry_testkit::actor;

const DAY: u64 = 86_400;

fn jwks(served: &Served) -> String {
    let key = &served.world.registry.public_keys()[0];
    let jwk = key.material.jwk();
    format!(
        r#"{{"keys": [{{"kty": "{}", "crv": "{}", "kid": "{}", "x": "{}"}}]}}"#,
        jwk.kty, jwk.crv, key.kid, jwk.x
    )
}

/// The keys that the image brought along.
fn trust(served: &Served, folder: &Path) -> Trust {
    let given = folder.join("given.json");
    std::fs::write(&given, jwks(served)).unwrap();
    Trust {
        given: Some(given),
        pinned: folder.join("keys.json"),
        issuer: "appliance-registry".to_owned(),
        free_edition: "essentials".to_owned(),
    }
}

fn asked(folder: &Path, random: u8) -> String {
    request(folder, "appliance-1", [random; 48], 1_795_490_640).unwrap()
}

async fn answered(served: &Served, code: &PlainCode, request: &str) -> Result<String, Error> {
    let code = TypedCode::new(code.expose().to_owned());
    let answer =
        served.world.registry.offline_answer(code, read_request(request).unwrap(), actor()).await?;
    Ok(answer.expose().to_owned())
}

fn offline(code: &PlainCode) -> SetupForm {
    SetupForm { way: ProvisioningMethod::Offline, ..setup_form(code) }
}

async fn take(folder: &Path, code: &PlainCode, identity: Answered) -> Install {
    std::fs::create_dir_all(folder.join("out")).unwrap();
    let mut install = Install::open(folder, "appliance-1".to_owned()).unwrap();
    install.submit_answer(offline(code), identity).unwrap();
    while install.hand_over(&Files::new(folder.join("out"), Job::None)).await.unwrap() == Next::GoOn
    {
    }
    install
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_brings_the_same_identity_as_the_network_and_fits_its_appliance_once() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let (folder, now) = (folder.path(), served.time.now());
    let issued = served.world.register("Acme", "pro").await;
    let first = asked(folder, 1);
    assert_eq!(asked(folder, 2), first, "the one that waits is written again");
    let text = answered(&served, &issued.code, &first).await.unwrap();

    // Another appliance, or this one after its request was forgotten.
    let (other, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    asked(other.path(), 3);
    let elsewhere = answer(other.path(), &text, &trust(&served, other.path()), now);
    assert!(matches!(elsewhere, Err(AnswerError::AnotherRequest)), "{elsewhere:?}");
    let unasked = answer(fresh.path(), &text, &trust(&served, fresh.path()), now);
    assert!(matches!(unasked, Err(AnswerError::NoRequest)), "{unasked:?}");

    let identity = answer(folder, &text, &trust(&served, folder), now).unwrap();
    assert_eq!(identity.identity.tenant_id, issued.tenant_id.0);
    let licensed = identity.identity.licensed.clone().unwrap();
    assert_eq!(licensed.expires_at, now + 365 * DAY, "about a year: nobody renews it daily");
    let install = take(folder, &issued.code, identity).await;
    assert_eq!(*install.step(), Step::Done { tenant_id: Some(issued.tenant_id.0) });
    assert_eq!(license_state(folder).unwrap().unwrap().licensed, licensed);
    let again = answer(folder, &text, &trust(&served, folder), now);
    assert!(matches!(again, Err(AnswerError::NoRequest)), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_again_and_a_used_code_answers_no_other() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let issued = served.world.register("Acme", "pro").await;
    let (first, now) = (asked(folder.path(), 1), served.time.now());
    let credential = |text: &str| {
        let identity = answer(folder.path(), text, &trust(&served, folder.path()), now).unwrap();
        identity.identity.licensed.unwrap().credential
    };
    let text = answered(&served, &issued.code, &first).await.unwrap();
    served.time.pass(60);
    let again = answered(&served, &issued.code, &first).await.unwrap();
    assert_eq!(credential(&text), credential(&again), "the file may have been lost on the way");
    let other = tempfile::tempdir().unwrap();
    let refused = answered(&served, &issued.code, &asked(other.path(), 2)).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::CodeConsumed { .. }))), "{refused:?}");
    let record = served.world.registry.tenant_show(issued.tenant_id).await.unwrap().record;
    assert_eq!(record.appliances.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_altered_or_is_something_else_is_not_taken() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let (folder, now) = (folder.path(), served.time.now());
    let issued = served.world.register("Acme", "pro").await;
    let first = asked(folder, 1);
    for (what, text, expected) in [
        ("altered", first.replacen('.', ".AAAA", 1), RequestError::Signature),
        ("cut off", first[..first.len() - 4].to_owned(), RequestError::Malformed),
        ("another file", "hello".to_owned(), RequestError::Malformed),
        ("a large file", "a".repeat(1 << 20), RequestError::Malformed),
        ("empty", String::new(), RequestError::Malformed),
    ] {
        assert_eq!(read_request(&text), Err(expected), "{what}");
    }
    let OfflineRequest { appliance_id, nonce, .. } = read_request(&first).unwrap();
    assert!(appliance_id == "appliance-1" && nonce.len() >= 16);

    let trust = trust(&served, folder);
    let text = answered(&served, &issued.code, &first).await.unwrap();
    let license = answer(folder, &text, &trust, now).unwrap().identity.licensed.unwrap().license;
    let mut altered = text.clone();
    // In the middle of the signature: its end is mostly the same in all of them.
    let middle = text.len() - 40;
    let other = if &text[middle..=middle] == "A" { "B" } else { "A" };
    altered.replace_range(middle..=middle, other);
    for (what, text, expected) in [
        ("altered", altered.as_str(), Invalid::Signature),
        ("a license", license.expose(), Invalid::Malformed),
        ("the request", &first, Invalid::Malformed),
        ("another file", "hello", Invalid::Malformed),
    ] {
        let taken = answer(folder, text, &trust, now);
        assert!(
            matches!(&taken, Err(AnswerError::NotBelieved(reason)) if *reason == expected),
            "{what}: {taken:?}"
        );
    }
    // Nor is an answer a license.
    let keys = TrustedKeys::from_jwks(&jwks(&served)).unwrap();
    let verifier = Verifier::new(keys, "appliance-registry", &issued.tenant_id.to_string());
    assert_eq!(verifier.state(&text, now), LicenseState::Invalid(Invalid::Malformed));

    let nothing_given = Trust { given: None, pinned: folder.join("nowhere.json"), ..trust.clone() };
    assert!(matches!(answer(folder, &text, &nothing_given, now), Err(AnswerError::NoKeys(_))));
    let other_issuer = Trust { issuer: "somebody".to_owned(), ..trust.clone() };
    let taken = answer(folder, &text, &other_issuer, now);
    assert!(matches!(taken, Err(AnswerError::NotBelieved(Invalid::Issuer(_)))), "{taken:?}");
    let late = answer(folder, &text, &trust, now + 400 * DAY);
    assert!(matches!(late, Err(AnswerError::License(_))), "{late:?}");
    let mut install = Install::open(folder, "appliance-1".to_owned()).unwrap();
    let without = install.submit(offline(&issued.code), "0123456789abcdef".to_owned());
    assert!(matches!(without, Err(SubmitError::NoAnswer)), "{without:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn essentials_has_no_license_offline_either() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let folder = folder.path();
    let issued = served.world.register("Acme", "essentials").await;
    let text = answered(&served, &issued.code, &asked(folder, 1)).await.unwrap();
    let identity = answer(folder, &text, &trust(&served, folder), served.time.now()).unwrap();
    assert_eq!(
        (identity.identity.tenant_id, &identity.identity.licensed),
        (issued.tenant_id.0, &None)
    );
    take(folder, &issued.code, identity).await;
    assert_eq!(license_state(folder).unwrap(), None);
}
