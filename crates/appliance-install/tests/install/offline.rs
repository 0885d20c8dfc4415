//! Installations without a network: the registry reads the appliance's request, and the appliance
//! the registry's answer.

use std::path::Path;

use crate::served::{Served, setup_form};
use appliance_install::{
    AnswerError, Clock as _, Files, Install, Job, Next, ProvisioningMethod, SetupForm, Step,
    SubmitError, Trust, VerifiedAnswer, answer, license_state, request,
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

/// Trust in the registry's keys, as an image provides them.
fn trust(served: &Served, folder: &Path) -> Trust {
    let configured = folder.join("configured.json");
    std::fs::write(&configured, jwks(served)).unwrap();
    Trust {
        configured: Some(configured),
        pinned: folder.join("keys.json"),
        issuer: "appliance-registry".to_owned(),
        free_edition: "essentials".to_owned(),
    }
}

fn new_request(folder: &Path, random: u8) -> String {
    request(folder, "appliance-1", [random; 48], 1_795_490_640).unwrap()
}

/// Answers a request at the registry.
async fn registry_answer(
    served: &Served,
    code: &PlainCode,
    request: &str,
) -> Result<String, Error> {
    let code = TypedCode::new(code.expose().to_owned());
    let answer =
        served.world.registry.offline_answer(code, read_request(request).unwrap(), actor()).await?;
    Ok(answer.expose().to_owned())
}

fn offline(code: &PlainCode) -> SetupForm {
    SetupForm { method: ProvisioningMethod::Offline, ..setup_form(code) }
}

async fn install_offline(folder: &Path, code: &PlainCode, answer: VerifiedAnswer) -> Install {
    std::fs::create_dir_all(folder.join("out")).unwrap();
    let mut install = Install::open(folder, "appliance-1".to_owned()).unwrap();
    install.submit_answer(offline(code), answer).unwrap();
    let product = Files::new(folder.join("out"), "default".into(), Job::None);
    while install.deliver(&product).await.unwrap() == Next::Continue {}
    install
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_installs_its_appliance_once() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let (folder, now) = (folder.path(), served.time.now());
    let issued = served.world.register("Acme", "pro").await;
    let first = new_request(folder, 1);
    assert_eq!(new_request(folder, 2), first, "the pending request is returned again");
    let text = registry_answer(&served, &issued.code, &first).await.unwrap();

    // Another appliance, and an appliance without a request.
    let (other, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    new_request(other.path(), 3);
    let elsewhere = answer(other.path(), &text, &trust(&served, other.path()), now);
    assert!(matches!(elsewhere, Err(AnswerError::AnotherRequest)), "{elsewhere:?}");
    let without_request = answer(empty.path(), &text, &trust(&served, empty.path()), now);
    assert!(matches!(without_request, Err(AnswerError::NoRequest)), "{without_request:?}");

    let verified = answer(folder, &text, &trust(&served, folder), now).unwrap();
    assert_eq!(verified.identity.tenant_id, issued.tenant_id.0);
    let licensed = verified.identity.licensed.clone().unwrap();
    assert_eq!(licensed.expires_at, now + 365 * DAY, "no check-in renews the license");
    let install = install_offline(folder, &issued.code, verified).await;
    assert_eq!(*install.step(), Step::Done { tenant_id: Some(issued.tenant_id.0) });
    assert_eq!(license_state(folder).unwrap().unwrap().licensed, licensed);
    let again = answer(folder, &text, &trust(&served, folder), now);
    assert!(matches!(again, Err(AnswerError::NoRequest)), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn used_code_answers_only_its_request() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let issued = served.world.register("Acme", "pro").await;
    let (first, now) = (new_request(folder.path(), 1), served.time.now());
    let credential = |text: &str| {
        let verified = answer(folder.path(), text, &trust(&served, folder.path()), now).unwrap();
        verified.identity.licensed.unwrap().credential
    };
    let text = registry_answer(&served, &issued.code, &first).await.unwrap();
    served.time.advance(60);
    let again = registry_answer(&served, &issued.code, &first).await.unwrap();
    assert_eq!(credential(&text), credential(&again), "the first answer may have been lost");
    let other = tempfile::tempdir().unwrap();
    let refused = registry_answer(&served, &issued.code, &new_request(other.path(), 2)).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::CodeConsumed { .. }))), "{refused:?}");
    let record = served.world.registry.tenant_show(issued.tenant_id).await.unwrap().record;
    assert_eq!(record.appliances.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn altered_and_foreign_texts_are_rejected() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let (folder, now) = (folder.path(), served.time.now());
    let issued = served.world.register("Acme", "pro").await;
    let first = new_request(folder, 1);
    for (case, text, expected) in [
        ("altered", first.replacen('.', ".AAAA", 1), RequestError::Signature),
        ("cut off", first[..first.len() - 4].to_owned(), RequestError::Malformed),
        ("another file", "hello".to_owned(), RequestError::Malformed),
        ("a large file", "a".repeat(1 << 20), RequestError::Malformed),
        ("empty", String::new(), RequestError::Malformed),
    ] {
        assert_eq!(read_request(&text), Err(expected), "{case}");
    }
    let OfflineRequest { appliance_id, nonce, .. } = read_request(&first).unwrap();
    assert!(appliance_id == "appliance-1" && nonce.len() >= 16);

    let trust = trust(&served, folder);
    let text = registry_answer(&served, &issued.code, &first).await.unwrap();
    let license = answer(folder, &text, &trust, now).unwrap().identity.licensed.unwrap().license;
    let mut altered = text.clone();
    // In the middle of the signature: the last character has unused bits.
    let middle = text.len() - 40;
    let other = if &text[middle..=middle] == "A" { "B" } else { "A" };
    altered.replace_range(middle..=middle, other);
    for (case, text, expected) in [
        ("altered", altered.as_str(), Invalid::Signature),
        ("a license", license.expose(), Invalid::Malformed),
        ("the request", &first, Invalid::Malformed),
        ("another file", "hello", Invalid::Malformed),
    ] {
        let result = answer(folder, text, &trust, now);
        assert!(
            matches!(&result, Err(AnswerError::Untrusted(reason)) if *reason == expected),
            "{case}: {result:?}"
        );
    }
    // An answer does not pass for a license.
    let keys = TrustedKeys::from_jwks(&jwks(&served)).unwrap();
    let verifier = Verifier::new(keys, "appliance-registry", &issued.tenant_id.to_string());
    assert_eq!(verifier.state(&text, now), LicenseState::Invalid(Invalid::Malformed));

    let no_keys = Trust { configured: None, pinned: folder.join("nowhere.json"), ..trust.clone() };
    assert!(matches!(answer(folder, &text, &no_keys, now), Err(AnswerError::NoKeys(_))));
    let unwritable = Trust { pinned: folder.join("nowhere/keys.json"), ..trust.clone() };
    let result = answer(folder, &text, &unwritable, now);
    assert!(matches!(result, Err(AnswerError::KeysNotStored(_))), "{result:?}");
    let problem = result.unwrap_err().to_string();
    assert!(problem.contains("nowhere/keys.json cannot be written"), "{problem}");
    let other_issuer = Trust { issuer: "somebody".to_owned(), ..trust.clone() };
    let result = answer(folder, &text, &other_issuer, now);
    assert!(matches!(result, Err(AnswerError::Untrusted(Invalid::Issuer(_)))), "{result:?}");
    let late = answer(folder, &text, &trust, now + 400 * DAY);
    assert!(matches!(late, Err(AnswerError::License(_))), "{late:?}");
    let mut install = Install::open(folder, "appliance-1".to_owned()).unwrap();
    let without = install.submit(offline(&issued.code), "0123456789abcdef".to_owned());
    assert!(matches!(without, Err(SubmitError::NoAnswer)), "{without:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn essentials_has_no_license_offline() {
    let (served, folder) = (Served::start().await, tempfile::tempdir().unwrap());
    let folder = folder.path();
    let issued = served.world.register("Acme", "essentials").await;
    let text = registry_answer(&served, &issued.code, &new_request(folder, 1)).await.unwrap();
    let verified = answer(folder, &text, &trust(&served, folder), served.time.now()).unwrap();
    assert_eq!(
        (verified.identity.tenant_id, &verified.identity.licensed),
        (issued.tenant_id.0, &None)
    );
    install_offline(folder, &issued.code, verified).await;
    assert_eq!(license_state(folder).unwrap(), None);
}
