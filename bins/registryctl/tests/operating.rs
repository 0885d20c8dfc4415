//! Commands for tenants, entitlements, appliances, licenses, keys and tokens.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use common::{ctl, run_failing, run_ok};
use registry_core::rate_limit::Source;
use registry_core::registry::redeem::{Redeem, RedemptionChannel, Requester};
use registry_core::secret::TypedCode;
use registry_wiring::Config;
use serde_json::{Value, json};

/// Creates a paid tenant with an installed appliance, and returns the tenant's ID.
async fn installed(data: &Path) -> String {
    let args = [
        "tenant",
        "register",
        "--company",
        "Acme",
        "--email",
        "a@example.com",
        "--edition",
        "pro",
        "--subscription",
        "sub_1",
    ];
    let issued = run_ok(data, &args);
    let path = data.to_str().unwrap().to_owned();
    let config =
        Config::load(None, |name| (name == "REGISTRY_DATA").then(|| path.clone())).unwrap();
    let registry = registry_wiring::build(&config, "http://127.0.0.1:1").await.unwrap().registry;
    let redeem = Redeem {
        typed_code: TypedCode::new(issued["install_code"].as_str().unwrap().to_owned()),
        appliance_id: "appliance-1".to_owned(),
        requester: Requester::FirstBoot,
        channel: RedemptionChannel::Network(Source::of([127, 0, 0, 1].into())),
        key: None,
    };
    registry.code_redeem(redeem).await.unwrap();
    issued["tenant_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn tenant_is_suspended_resumed_and_cancelled() {
    let data = tempfile::tempdir().unwrap();
    let tenant = installed(data.path()).await;
    let (exit, error) = run_failing(data.path(), &["tenant", "suspend", &tenant]);
    assert!(exit == 1 && error.contains("--yes"), "{error}");
    for _ in 0..2 {
        assert_eq!(
            run_ok(data.path(), &["tenant", "suspend", &tenant, "--yes"])["status"],
            "suspended"
        );
    }
    assert_eq!(run_failing(data.path(), &["code", "reissue", &tenant]).0, 3);
    assert_eq!(run_ok(data.path(), &["tenant", "resume", &tenant])["status"], "installed");
    assert_eq!(run_ok(data.path(), &["tenant", "cancel", &tenant, "--yes"])["status"], "cancelled");
    let unknown = "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73";
    assert_eq!(run_failing(data.path(), &["tenant", "suspend", unknown, "--yes"]).0, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn entitlement_is_found_by_tenant_or_subscription() {
    let data = tempfile::tempdir().unwrap();
    let tenant = installed(data.path()).await;
    let show = |id: &str| run_ok(data.path(), &["entitlement", "show", id]);
    assert_eq!(show(&tenant), show("sub_1"));
    assert_eq!((&show("sub_1")["seats"], &show("sub_1")["active"]), (&Value::Null, &json!(true)));
    assert_eq!(run_ok(data.path(), &["entitlement", "set-seats", "sub_1", "25"])["seats"], 25);
    assert_eq!(
        run_ok(data.path(), &["entitlement", "set-seats", &tenant, "unlimited"])["seats"],
        Value::Null
    );
    assert_eq!(
        ctl(data.path(), &["entitlement", "set-seats", "sub_1", "0"]).status.code(),
        Some(2)
    );
    assert_eq!(run_ok(data.path(), &["entitlement", "revoke", "sub_1", "--yes"])["active"], false);
    assert_eq!(run_ok(data.path(), &["entitlement", "restore", "sub_1"])["active"], true);
    assert_eq!(run_failing(data.path(), &["entitlement", "show", "sub_unknown"]).0, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn appliance_is_listed_and_revoked() {
    let data = tempfile::tempdir().unwrap();
    let tenant = installed(data.path()).await;
    let listed = run_ok(data.path(), &["appliance", "list", &tenant]);
    let item = &listed["items"][0];
    assert_eq!((&item["appliance_id"], &item["revoked"]), (&json!("appliance-1"), &json!(false)));
    assert!(item["license_ends_at"].is_string() && item["last_checkin_at"].is_null(), "{listed}");
    assert_eq!(
        run_failing(data.path(), &["appliance", "revoke", &tenant, "unknown", "--yes"]).0,
        4
    );
    run_ok(data.path(), &["appliance", "revoke", &tenant, "appliance-1", "--yes"]);
    assert_eq!(run_ok(data.path(), &["appliance", "list", &tenant])["items"][0]["revoked"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_license_is_inspected_offline() {
    let data = tempfile::tempdir().unwrap();
    let tenant = installed(data.path()).await;
    let [license, keys] = ["license.jwt", "keys.json"]
        .map(|name| data.path().join(name).to_str().unwrap().to_owned());
    let sign = [
        "license",
        "sign",
        "--subscription",
        "sub_1",
        "--customer",
        "Acme",
        "--tenant",
        &tenant,
        "--out",
        &license,
    ];
    let signed = run_ok(data.path(), &sign);
    assert_eq!(signed["file"], license);
    let inspected = run_ok(data.path(), &["license", "inspect", &license]);
    assert_eq!((&inspected["state"], &inspected["aud"]), (&json!("licensed"), &json!(tenant)));
    assert_eq!(inspected["sub"], signed["sub"]);
    assert_eq!(run_failing(data.path(), &sign).0, 1, "an existing file is not overwritten");

    let exported = ctl(data.path(), &["keys", "export"]).stdout;
    std::fs::write(&keys, exported).unwrap();
    let missing_data = data.path().join("missing");
    let offline = run_ok(&missing_data, &["license", "inspect", &license, "--keys", &keys]);
    assert_eq!(offline, inspected);
    assert!(!missing_data.exists(), "no data folder was created");
    let token = std::fs::read_to_string(&license).unwrap();
    let (head, signature) = token.trim().rsplit_once('.').unwrap();
    let altered: String = signature.chars().rev().collect();
    std::fs::write(&license, format!("{head}.{altered}")).unwrap();
    let state = run_ok(data.path(), &["license", "inspect", &license])["state"].clone();
    assert!(state.as_str().unwrap().starts_with("invalid"), "{state}");
    assert_eq!(run_failing(data.path(), &["license", "inspect", "nonsense"]).0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_license_is_printed_without_controls() {
    let data = tempfile::tempdir().unwrap();
    installed(data.path()).await;
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let kid = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}";
    let header = part(&json!({ "alg": "EdDSA", "kid": kid }));
    let claims = part(&json!({ "iss": "i", "sub": "x\nstate  licensed", "tier": ["\u{1b}[A"] }));
    let token = format!("{header}.{claims}.AAAA");
    let inspect = ["license", "inspect", &token];
    let mut plain = Command::new(env!("CARGO_BIN_EXE_registryctl"));
    plain.arg("--data").arg(data.path()).args(inspect).env_remove("REGISTRY_CONFIG");
    let [plain, json] = [plain.output().unwrap(), ctl(data.path(), &inspect)].map(|output| {
        let printed = String::from_utf8(output.stdout).unwrap();
        let is_raw = |c: char| c == '\u{202e}' || (c != '\n' && c.is_control());
        assert!(output.status.success() && !printed.contains(is_raw), "{printed:?}");
        printed
    });
    assert!(plain.contains("\\u{1b}]0;owned\\u{7}\\u{9b}2J\\u{202e}"), "{plain}");
    assert!(plain.contains("x\\u{a}state  licensed"), "{plain}");
    assert_eq!(plain.lines().filter(|line| line.starts_with("state")).count(), 1, "{plain}");
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["kid"], kid);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_is_generated_activated_and_retired() {
    let data = tempfile::tempdir().unwrap();
    installed(data.path()).await;
    let states = || {
        let listed = run_ok(data.path(), &["keys", "list"]);
        let items = listed["items"].as_array().unwrap();
        items.iter().map(|key| key["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(states(), ["active"]);
    let first =
        run_ok(data.path(), &["keys", "list"])["items"][0]["kid"].as_str().unwrap().to_owned();
    let second = run_ok(data.path(), &["keys", "generate", "--algorithm", "ES256"])["kid"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(states(), ["active", "standby"]);
    let (exit, error) = run_failing(data.path(), &["keys", "activate", &second]);
    assert!(exit == 1 && error.contains("--force"), "{error}");
    let (exit, error) = run_failing(data.path(), &["keys", "retire", &first, "--yes"]);
    assert_eq!(exit, 1, "the active key cannot be retired: {error}");
    run_ok(data.path(), &["keys", "activate", &second, "--force"]);
    assert_eq!(states(), ["retired", "active"]);
    let exported: Value =
        serde_json::from_slice(&ctl(data.path(), &["keys", "export"]).stdout).unwrap();
    assert_eq!(exported["keys"].as_array().unwrap().len(), 2, "the retired key is still published");
    assert_eq!(run_failing(data.path(), &["keys", "activate", "unknown"]).0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn stolen_key_is_revoked() {
    let data = tempfile::tempdir().unwrap();
    installed(data.path()).await;
    let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
    let stolen = kid(&run_ok(data.path(), &["keys", "list"])["items"][0]);
    let next = kid(&run_ok(data.path(), &["keys", "generate"]));
    let (exit, error) = run_failing(data.path(), &["keys", "revoke", &stolen, "--yes"]);
    assert!(exit == 1 && error.contains("activate another key first"), "{error}");
    run_ok(data.path(), &["keys", "activate", &next, "--force"]);
    assert!(run_failing(data.path(), &["keys", "revoke", &stolen]).1.contains("--yes"));
    let listed = run_ok(data.path(), &["keys", "revoke", &stolen, "--yes"]);
    let kids: Vec<_> = listed["items"].as_array().unwrap().iter().map(kid).collect();
    assert_eq!(kids, [next]);
    let exported = run_ok(data.path(), &["keys", "export"]);
    assert_eq!(exported["keys"].as_array().unwrap().len(), 1, "{exported}");
    assert_eq!(run_failing(data.path(), &["keys", "revoke", &stolen, "--yes"]).0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_is_created_listed_and_revoked() {
    let data = tempfile::tempdir().unwrap();
    let missing_data = data.path().join("missing");
    let (exit, error) = run_failing(&missing_data, &["token", "list"]);
    assert!(exit == 1 && error.contains("no registry") && !missing_data.exists(), "{error}");
    installed(data.path()).await;
    let listed = || {
        let listed = run_ok(data.path(), &["token", "list"]);
        let items = listed["items"].as_array().unwrap();
        items
            .iter()
            .map(|token| {
                (token["name"].clone(), token["role"].clone(), token["revoked_at"].is_null())
            })
            .collect::<Vec<_>>()
    };
    let created = run_ok(data.path(), &["token", "create", "store"]);
    assert_eq!(created["name"], "store");
    assert_eq!(created["token"].as_str().unwrap().len(), 64);
    let other = run_ok(data.path(), &["token", "create", "ann@example.com", "--role", "operator"]);
    assert_ne!(other["token"], created["token"]);
    assert_eq!(
        listed(),
        [
            (json!("default"), json!("service"), true),
            (json!("store"), json!("service"), true),
            (json!("ann@example.com"), json!("operator"), true)
        ]
    );
    let stored = std::fs::read_to_string(data.path().join("tokens.json")).unwrap();
    assert!(!stored.contains(created["token"].as_str().unwrap()), "only a digest is stored");
    for name in ["store", "default", "", "a b", "ä", &"x".repeat(65)] {
        assert_eq!(run_failing(data.path(), &["token", "create", name]).0, 1, "{name}");
    }
    assert!(run_failing(data.path(), &["token", "revoke", "store"]).1.contains("--yes"));
    run_ok(data.path(), &["token", "revoke", "store", "--yes"]);
    assert_eq!(run_failing(data.path(), &["token", "revoke", "store", "--yes"]).0, 1);
    run_ok(data.path(), &["token", "create", "store"]);
    run_ok(data.path(), &["token", "revoke", "default", "--yes"]);
    assert_eq!(run_failing(data.path(), &["token", "revoke", "default", "--yes"]).0, 1);
    assert_eq!(listed().iter().filter(|(_, _, accepted)| *accepted).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_changes_take_turns() {
    let data = tempfile::tempdir().unwrap();
    installed(data.path()).await;
    let run_concurrently = |commands: Vec<String>| {
        std::thread::scope(|scope| {
            let run = |command: String| {
                let args: Vec<&str> = command.split(' ').collect();
                run_ok(data.path(), &args);
            };
            let threads: Vec<_> =
                commands.into_iter().map(|command| scope.spawn(move || run(command))).collect();
            for thread in threads {
                thread.join().unwrap();
            }
        });
    };
    run_concurrently((0..6).map(|n| format!("token create t{n}")).collect());
    run_concurrently((0..6).map(|n| format!("token revoke t{n} --yes")).collect());
    run_concurrently((0..4).map(|_| "keys generate".to_owned()).collect());
    let listed = run_ok(data.path(), &["token", "list"]);
    let items = listed["items"].as_array().unwrap();
    assert_eq!(items.iter().filter(|token| token["revoked_at"].is_string()).count(), 6, "{listed}");
    assert_eq!(run_ok(data.path(), &["keys", "list"])["items"].as_array().unwrap().len(), 5);
}

/// A key that signed a fleet's licenses keeps its `kid` when it moves into the ring.
#[tokio::test(flavor = "multi_thread")]
async fn imported_key_keeps_its_kid() {
    let data = tempfile::tempdir().unwrap();
    installed(data.path()).await;
    let first = data.path().join("keys/license.pem");
    let moved = data.path().join("fleet.pem").to_str().unwrap().to_owned();
    // The registry was created with `license.key_file`, so its folder has no key.
    std::fs::rename(&first, &moved).unwrap();
    assert!(run_failing(data.path(), &["keys", "list"]).1.contains("license.pem is missing"));
    let imported = run_ok(data.path(), &["keys", "import", &moved, "--kid", "fleet-2026"]);
    assert_eq!(imported["kid"], "fleet-2026");
    let listed = run_ok(data.path(), &["keys", "list"]);
    assert_eq!(listed["items"][0]["kid"], "fleet-2026", "{listed}");
    assert_eq!(listed["items"][0]["state"], "active", "{listed}");
    let again = run_failing(data.path(), &["keys", "import", &moved, "--kid", "other"]).1;
    assert!(again.contains("fleet-2026"), "the ring has the key already: {again}");
    let generated = run_ok(data.path(), &["keys", "generate"]);
    assert_eq!(generated["state"], "standby");
    let keys = run_ok(data.path(), &["keys", "export"]);
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2, "{keys}");
    let out = data.path().join("license.jwt").to_str().unwrap().to_owned();
    let sign = ["license", "sign", "--subscription", "sub_1", "--customer", "Acme", "--out", &out];
    run_ok(data.path(), &sign);
    let inspected = run_ok(data.path(), &["license", "inspect", &out]);
    assert_eq!(inspected["kid"], "fleet-2026", "{inspected}");
}

/// R-license-3.
#[tokio::test(flavor = "multi_thread")]
async fn free_tier_is_not_signed() {
    let data = tempfile::tempdir().unwrap();
    installed(data.path()).await;
    let file = data.path().join("license.jwt").to_str().unwrap().to_owned();
    let sign =
        ["license", "sign", "--subscription", "sub_new", "--customer", "Acme", "--out", &file];
    let free = [&sign[..], &["--tier", "essentials"]].concat();
    let (exit, error) = run_failing(data.path(), &free);
    assert!(exit == 3 && error.contains("a free tier has no licenses"), "{error}");
    assert!(!Path::new(&file).exists());
    assert_eq!(run_failing(data.path(), &["entitlement", "show", "sub_new"]).0, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn unwritable_license_grants_nothing() {
    let data = tempfile::tempdir().unwrap();
    installed(data.path()).await;
    let file = data.path().join("existing.jwt").to_str().unwrap().to_owned();
    std::fs::write(&file, "").unwrap();
    let sign =
        ["license", "sign", "--subscription", "sub_new", "--customer", "Acme", "--out", &file];
    let (exit, error) = run_failing(data.path(), &sign);
    assert!(exit == 1 && error.contains("cannot be written"), "{error}");
    assert_eq!(run_failing(data.path(), &["entitlement", "show", "sub_new"]).0, 4);
    std::fs::remove_file(&file).unwrap();
    let signed = ctl(data.path(), &sign);
    let printed = String::from_utf8_lossy(&signed.stderr);
    assert!(signed.status.success() && printed.contains("--tenant"), "{printed}");
}

/// Of several tenants of one address, the command does not choose by itself.
#[tokio::test(flavor = "multi_thread")]
async fn reissue_by_address_asks_which_tenant() {
    let data = tempfile::tempdir().unwrap();
    let tenant = installed(data.path()).await;
    let register = ["tenant", "register", "--company", "Other", "--email", "A@example.com"];
    let other = run_ok(data.path(), &[&register[..], &["--edition", "essentials"]].concat());
    let asked = ["code", "reissue", "a@example.com"];
    let (exit, error) = run_failing(data.path(), &asked);
    assert_eq!(exit, 3, "{error}");
    for id in [&*tenant, other["tenant_id"].as_str().unwrap()] {
        assert!(error.contains(id), "{error}");
    }
    let preferred = [&asked[..], &["--preferred"]].concat();
    assert_eq!(run_ok(data.path(), &preferred)["tenant_id"], tenant, "installed and entitled");
    let audit = run_ok(data.path(), &["audit", "list", "--action", "code_reissued"]);
    assert_eq!(audit["items"][0]["detail"], "newest_of_several", "{audit}");
}

/// An entitlement that went to the wrong tenant leaves it, and can be bound again.
#[tokio::test(flavor = "multi_thread")]
async fn entitlement_is_unbound() {
    let data = tempfile::tempdir().unwrap();
    let tenant = installed(data.path()).await;
    assert_eq!(run_failing(data.path(), &["entitlement", "unbind", "sub_1"]).0, 1);
    let unbound = run_ok(data.path(), &["entitlement", "unbind", "sub_1", "--yes"]);
    assert_eq!((&unbound["tenant_id"], &unbound["active"]), (&Value::Null, &json!(true)));
    assert_eq!(run_ok(data.path(), &["tenant", "show", &tenant])["edition"], "essentials");
    let audit = run_ok(data.path(), &["audit", "list", "--tenant", &tenant]);
    let actions: Vec<_> =
        audit["items"].as_array().unwrap().iter().map(|it| &it["action"]).collect();
    assert_eq!(actions[0], "entitlement_unbound");
}
