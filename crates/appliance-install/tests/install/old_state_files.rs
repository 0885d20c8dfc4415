//! State files of older versions, which have other names for some fields and errors.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use appliance_install::{
    Admin, Identity, Install, LicenseStatus, Licensed, ProvisioningMethod, Refusal, SecretText,
    ServiceError, SetupForm, Step, UnverifiedIdentity, UnverifiedLicense, license_state,
};
use serde_json::{Value, json};
use uuid::Uuid;

const TENANT: &str = "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73";

fn write(folder: &Path, file: &str, content: &Value) {
    let path = folder.join(file);
    std::fs::write(&path, content.to_string()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The form as older versions wrote it.
fn entered() -> Value {
    json!({
        "company": "Acme",
        "admin": {
            "first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.com",
            "password": "correct horse battery staple",
        },
        "way": { "kind": "code", "code": "K7QP-M2RX-9TDV" },
    })
}

fn setup_form() -> SetupForm {
    let secret = |text: &str| SecretText::new(text.to_owned());
    let admin = Admin {
        first_name: "Ada".into(),
        last_name: "Lovelace".into(),
        email: "ada@example.com".into(),
        password: secret("correct horse battery staple"),
    };
    let method = ProvisioningMethod::Code { code: secret("K7QP-M2RX-9TDV") };
    SetupForm { company: "Acme".into(), admin, method }
}

fn steps() -> [(Value, Step); 5] {
    let tenant_id: Uuid = TENANT.parse().unwrap();
    let check_in_url = "https://registry.example/check-in";
    let refused = json!({ "code": "expired_claim_code", "text": "Install code has expired." });
    let refusal =
        Refusal { code: "expired_claim_code".into(), text: "Install code has expired.".into() };
    let redeem = |trouble: Value| {
        json!({
            "step": "redeem", "entered": entered(), "idempotency_key": "0123456789abcdef",
            "tries": 3, "trouble": trouble,
        })
    };
    let redeem_step = |service_error| Step::Redeem {
        setup_form: setup_form(),
        idempotency_key: "0123456789abcdef".into(),
        attempts: 3,
        service_error: Some(service_error),
    };
    let paid = json!({ "license": "a.b.c", "credential": "00ff", "check_in_url": check_in_url });
    let unverified_license = UnverifiedLicense {
        license: SecretText::new("a.b.c".into()),
        credential: SecretText::new("00ff".into()),
        check_in_url: check_in_url.into(),
    };
    let licensed = json!({
        "license": "a.b.c", "sub": "lic_1", "expires_at": 1_800_000_000, "credential": "00ff",
        "check_in_url": check_in_url,
    });
    let identity = Identity {
        tenant_id,
        edition: "pro".into(),
        licensed: Some(Licensed {
            license: SecretText::new("a.b.c".into()),
            sub: "lic_1".into(),
            expires_at: 1_800_000_000,
            credential: SecretText::new("00ff".into()),
            check_in_url: check_in_url.into(),
        }),
    };
    [
        (
            json!({ "step": "collect", "refused": refused, "before": entered() }),
            Step::Collect { refusal: Some(refusal), previous_form: Some(Box::new(setup_form())) },
        ),
        (
            redeem(json!({ "kind": "throttled", "retry_after": 60 })),
            redeem_step(ServiceError::RateLimited { retry_after: Some(60) }),
        ),
        (redeem(json!({ "kind": "broke_off" })), redeem_step(ServiceError::Disconnected)),
        (
            json!({
                "step": "verify", "entered": entered(), "tries": 1,
                "claimed": { "tenant_id": TENANT, "edition": "pro", "paid": paid },
                "trouble": { "kind": "cut_short" },
            }),
            Step::Verify {
                setup_form: setup_form(),
                unverified: UnverifiedIdentity {
                    tenant_id,
                    edition: "pro".into(),
                    paid: Some(unverified_license),
                },
                attempts: 1,
                service_error: Some(ServiceError::Truncated),
            },
        ),
        (
            json!({
                "step": "write", "entered": entered(),
                "identity": { "tenant_id": TENANT, "edition": "pro", "licensed": licensed },
            }),
            Step::Write { setup_form: setup_form(), identity: Some(identity) },
        ),
    ]
}

#[test]
fn old_state_files_are_readable() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (old, expected) in steps() {
        // SHA-256 of the code `K7QPM2RX9TDV`.
        let code = json!({
            "digest": "YIiFDduoofu58uGR57Ole9oIzxaJvboipo5FgRqh-i0",
            "idempotency_key": "fedcba9876543210",
        });
        let state = json!({
            "code_was_entered": true, "step": old, "tried": [code], "appliance_id": "appliance-1",
        });
        write(folder, "install.json", &state);
        let mut install = Install::open(folder, "appliance-2".to_owned()).unwrap();
        assert_eq!(*install.step(), expected);
        assert_eq!(install.appliance_id(), "appliance-1");
        if install.check_open().is_ok() {
            install.submit(setup_form(), "a-new-idempotency-key".to_owned()).unwrap();
            let Step::Redeem { idempotency_key, .. } = install.step() else {
                panic!("{:?}", install.step())
            };
            assert_eq!(idempotency_key, "fedcba9876543210", "the key in `tried` is used again");
        }
    }

    let old = json!({
        "tenant_id": TENANT, "appliance_id": "appliance-1", "edition": "pro",
        "licensed": {
            "license": "a.b.c", "sub": "lic_1", "expires_at": 1_800_000_000, "credential": "00ff",
            "check_in_url": "https://registry.example/check-in",
        },
        "handed": false, "schedule": { "due_at": 1_795_490_640, "failures": 2 },
        "answers": 4, "last_answer_at": 1_795_000_000,
        "standing": { "trouble": { "kind": "failing", "status": 500 } },
    });
    write(folder, "license.json", &old);
    let state = license_state(folder).unwrap().unwrap();
    assert!(!state.delivered);
    assert_eq!((state.completed_check_ins, state.last_response_at), (4, Some(1_795_000_000)));
    let server_error = ServiceError::ServerError { status: 500 };
    assert_eq!(state.status, Some(LicenseStatus::ServiceError(server_error)));
}
