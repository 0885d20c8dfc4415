//! The wire contract's part about licenses, over HTTP against the real binary, on SQLite and on
//! PostgreSQL. The numbers of its rules stand beside what tries them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod both;
mod common;
mod fleet;

use appliance_license::LicenseState;
use both::{Environment, on_both_databases};
use common::calls::lasting;
use common::{answer, start, text};
use serde_json::{Value, json};

on_both_databases!(
    a_check_in_renews_what_is_due_and_says_when_to_call_again,
    a_revoked_subscription_is_a_200_with_grace_and_a_restored_one_is_licensed_again,
    an_unknown_a_malformed_and_a_retired_credential_are_refused_alike,
    a_new_credential_retires_the_old_one_at_its_first_use_and_verifying_is_no_use,
    a_service_is_told_whose_credential_it_was_shown,
    signing_grants_once_and_keeps_its_sub,
    what_cannot_be_signed_is_refused_and_names_its_field,
    twins_of_a_sale_are_one_sale,
    an_activation_code_upgrades_a_running_essentials_tenant_in_place,
    an_activation_code_adopts_a_tenant_that_the_registry_does_not_know,
    a_refused_activation_code_stays_live,
    claim_codes_supersede_each_other_and_running_appliances_are_told_so,
    an_install_code_is_no_activation_code_for_a_running_appliance,
    an_entitlement_that_ended_makes_an_install_code_essentials,
);

/// R-check-in-1, -6, -8; R-register-17.
fn a_check_in_renews_what_is_due_and_says_when_to_call_again(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, credential) = server.installed("sub_1");
    let (status, body) = server.check_in(&credential);
    assert_eq!((status, &body["status"]), (200, &json!("ok")));
    assert!(body.get("jwt").is_none() && body.get("exp").is_none(), "nothing is due: {body}");
    let (next, now) = (text(&body["next_check_in_at"]), text(&body["server_time"]));
    assert!(next > now && next[..10] <= *"9999-12-31", "{body}");
    assert_eq!(server.look(&format!("/tenants/{tenant}")).1["tenant"]["status"], "active");

    // More seats: due by difference, at once (lesson: not at the renewal date).
    let (_, signed) = server.sign("sub_1", &json!(50));
    let (status, renewed) = server.check_in(&credential);
    assert_eq!((status, &renewed["status"]), (200, &json!("ok")));
    assert!(renewed["exp"].as_i64().unwrap() > 1_700_000_000);
    let LicenseState::Licensed(license) = server.state(&renewed["jwt"], &tenant) else {
        panic!("{renewed}")
    };
    assert_eq!((license.seats, license.sub.as_str()), (Some(50), signed["sub"].as_str().unwrap()));
    assert!(server.check_in(&credential).1.get("jwt").is_none(), "once is enough");
    let other = "019b0a51-7d1e-7c3a-9b52-ffffffffffff";
    assert!(matches!(server.state(&renewed["jwt"], other), LicenseState::WrongTenant { .. }));

    let held =
        json!({ "appliance_credential": credential, "current_license_sub": "lic_of_before" });
    let (_, body) = answer(server.post("/check-in").json(&held).send().unwrap());
    assert!(body["jwt"].is_string(), "it holds another license: {body}");
}

/// R-check-in-2, -3; R-revoke-1, -2; R-general-3.
fn a_revoked_subscription_is_a_200_with_grace_and_a_restored_one_is_licensed_again(
    environment: Environment,
) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, credential) = server.installed("sub_1");
    for _ in 0..2 {
        let revoked = server.service("/revoke", &json!({ "stripe_sub_id": "sub_1" }));
        assert_eq!(revoked, (200, json!({ "status": "revoked" })));
    }
    let (status, body) = server.check_in(&credential);
    assert_eq!((status, &body["status"]), (200, &json!("revoked")));
    assert!(body.get("jwt").is_none() && body["next_check_in_at"].is_string());
    let (_, verified) = server.verify(&credential);
    assert_eq!(
        (&verified["entitlement_active"], &verified["edition"]),
        (&json!(false), &json!("essentials"))
    );
    server.sign("sub_1", &json!(5));
    let (status, body) = server.check_in(&credential);
    assert_eq!((status, &body["status"]), (200, &json!("ok")));
    assert!(
        matches!(server.state(&body["jwt"], &tenant), LicenseState::Licensed(_)),
        "with a token: {body}"
    );
    let shown = server.look(&format!("/tenants/{tenant}")).1;
    assert_eq!(shown["entitlement"]["active"], true);
    let (status, body) = server.service("/revoke", &json!({ "stripe_sub_id": "nobody's" }));
    assert_eq!((status, &body["code"]), (404, &json!("entitlement_not_found")));
}

/// R-check-in-5.
fn an_unknown_a_malformed_and_a_retired_credential_are_refused_alike(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, old) = server.installed("sub_1");
    let (_, reissued) = server.reissue(&tenant);
    let new = text(&server.redeem(&text(&reissued["install_code"])).1["appliance_credential"]);
    assert_eq!(server.check_in(&new).0, 200);
    let unknown = "0".repeat(64);
    let refused: Vec<_> = [&old, &unknown, &"short".to_owned(), &"ü".repeat(64), &String::new()]
        .iter()
        .map(|credential| lasting(&server.check_in(credential)))
        .collect();
    assert_eq!((refused[0].0, &refused[0].1["code"]), (401, &json!("revoked_appliance")));
    assert!(refused.iter().all(|it| *it == refused[0]), "{refused:?}");
}

/// R-credential-1 to -4; R-verify-appliance-3.
fn a_new_credential_retires_the_old_one_at_its_first_use_and_verifying_is_no_use(
    environment: Environment,
) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, old) = server.installed("sub_1");
    let (_, reissued) = server.reissue(&tenant);
    let (_, redeemed) = server.redeem(&text(&reissued["install_code"]));
    let new = text(&redeemed["appliance_credential"]);
    assert!(new.len() == 64 && new != old && new.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!((server.verify(&new).0, server.verify(&old).0), (200, 200));
    assert_eq!(server.check_in(&old).0, 200, "verifying was no use of the new one");
    assert_eq!(server.check_in(&new).0, 200);
    assert_eq!((server.check_in(&old).0, server.verify(&old).0), (401, 401));
    assert_eq!(server.check_in(&new).0, 200);
}

/// R-verify-appliance-1, -2; R-bearer-2.
fn a_service_is_told_whose_credential_it_was_shown(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, credential) = server.installed("sub_1");
    let expected = json!({
        "tenant_id": tenant, "edition": "pro", "appliance_id": "appliance-1", "appliance_revoked": false,
        "entitlement_active": true, "connected_eligible": true,
    });
    assert_eq!(server.verify(&credential), (200, expected));
    for wrong in ["0".repeat(64), "nonsense".to_owned(), String::new()] {
        let (status, body) = server.verify(&wrong);
        assert_eq!((status, &body["code"]), (401, &json!("invalid_credential")));
    }
    let asked = server.post("/verify-appliance").json(&json!({ "credential": credential }));
    let (status, body) = answer(asked.send().unwrap());
    assert_eq!((status, &body["code"]), (401, &json!("unauthorized")));
}

/// R-sign-1, -2, -3; R-license-*.
fn signing_grants_once_and_keeps_its_sub(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, _) = server.register("Acme", "essentials");
    let sign = |tier: &str, seats: Value, transport: &str| {
        let body = json!({
            "stripe_sub_id": "any opaque: string/ü", "customer": "Acme Ltd", "tier": tier, "seats": seats,
            "transport": transport, "tenant_id": tenant,
        });
        let (status, body) = server.service("/sign", &body);
        assert_eq!(status, 200, "{body}");
        body
    };
    let connected = sign("pro", json!(5), "connected");
    let unlimited = sign("premium", Value::Null, "connected");
    let airgap = sign("pro", Value::Null, "airgap");
    assert!(text(&connected["sub"]).starts_with("lic_"));
    assert!(connected["sub"] == unlimited["sub"] && unlimited["sub"] == airgap["sub"]);
    let days = (airgap["exp"].as_i64().unwrap() - connected["exp"].as_i64().unwrap()) / 86_400;
    assert!((333..=334).contains(&days), "{days}");
    let LicenseState::Licensed(license) = server.state(&unlimited["jwt"], &tenant) else {
        panic!("{unlimited}")
    };
    assert_eq!(
        (license.tier.as_str(), license.seats, license.customer.as_str()),
        ("pro", None, "Acme Ltd")
    );
    let (_, shown) = server.look(&format!("/tenants/{tenant}"));
    assert_eq!(
        (&shown["tenant"]["edition"], &shown["entitlement"]["seats"]),
        (&json!("pro"), &Value::Null)
    );
}

fn what_cannot_be_signed_is_refused_and_names_its_field(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let good = json!({ "stripe_sub_id": "sub_1", "customer": "Acme", "tier": "pro", "transport": "connected" });
    for (field, value) in [
        ("stripe_sub_id", json!("")),
        ("customer", json!("  ")),
        ("tier", json!("essentials")),
        ("tier", json!("platinum")),
        ("transport", json!("pigeon")),
        ("seats", json!(0)),
        ("seats", json!(-5)),
        ("seats", json!(3_000_000_000_i64)),
        ("seats", json!("many")),
        ("tenant_id", json!("not-a-uuid")),
    ] {
        let mut body = good.clone();
        body[field] = value.clone();
        let (status, body) = server.service("/sign", &body);
        assert_eq!(
            (status, &body["code"], &body["reason"]),
            (422, &json!("invalid_request"), &json!(field)),
            "{value}"
        );
    }
    assert_eq!(
        server.service("/revoke", &json!({ "stripe_sub_id": "sub_1" })).0,
        404,
        "nothing was granted"
    );
}

/// R-register-13.
fn an_activation_code_upgrades_a_running_essentials_tenant_in_place(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, code) = server.register("Acme", "essentials");
    assert_eq!(server.redeem(&code).0, 200);
    server.sign("sub_1", &json!(25));
    let code = server.claim_code("sub_1");
    let (status, body) = server.redeem(&code);
    assert_eq!((status, &body["code"]), (422, &json!("tenant_required")), "R-register-16");
    let (status, body) = server.activate(&code, &Value::Null);
    assert_eq!((status, &body["code"]), (422, &json!("tenant_required")));
    let (status, body) = server.activate(&code.to_lowercase(), &json!(tenant));
    assert_eq!(
        (status, &body["edition"], &body["tenant_id"]),
        (200, &json!("pro"), &json!(tenant))
    );
    assert!(matches!(server.state(&body["first_jwt"], &tenant), LicenseState::Licensed(_)));
    let (_, shown) = server.look(&format!("/tenants/{tenant}"));
    assert_eq!(
        (&shown["tenant"]["edition"], &shown["entitlement"]["stripe_sub_id"]),
        (&json!("pro"), &json!("sub_1"))
    );
    assert_eq!(server.check_in(&text(&body["appliance_credential"])).0, 200);
}

/// R-register-12.
fn an_activation_code_adopts_a_tenant_that_the_registry_does_not_know(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    server.sign("sub_1", &json!(25));
    let code = server.claim_code("sub_1");
    let tenant = "0B9B0A51-7D1E-4C3A-9B52-4F0E8D6A1C73";
    let (status, body) = server.activate(&code, &json!(tenant));
    assert_eq!(
        (status, &body["company_name"], &body["contact_email"]),
        (200, &json!("Acme Ltd"), &json!(""))
    );
    assert_eq!(body["tenant_id"], tenant.to_lowercase());
    let (_, shown) = server.look(&format!("/tenants/{}", tenant.to_lowercase()));
    assert_eq!(
        (&shown["tenant"]["status"], &shown["tenant"]["contact_email"]),
        (&json!("installed"), &json!(""))
    );
    assert_eq!(shown["entitlement"]["active"], true);
    assert_eq!(server.activate(&code, &json!(tenant)).1["code"], "consumed_claim_code");
}

/// R-register-10, -14, -18, -22.
fn a_refused_activation_code_stays_live(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (theirs, _) = server.installed("sub_theirs");
    let (ours, _) = server.register("Ours", "essentials");
    server.sign("sub_1", &json!(25));
    let code = server.claim_code("sub_1");
    let (status, body) = server.activate(&code, &json!(theirs));
    assert_eq!(
        (status, &body["code"], &body["reason"]),
        (409, &json!("tenant_mismatch"), &json!("already_entitled"))
    );
    server.service("/revoke", &json!({ "stripe_sub_id": "sub_1" }));
    let (status, body) = server.activate(&code, &json!(ours));
    assert_eq!((status, &body["code"]), (403, &json!("entitlement_revoked")));
    let (status, body) = server.service("/claim-codes", &json!({ "stripe_sub_id": "sub_1" }));
    assert_eq!((status, &body["code"]), (403, &json!("entitlement_revoked")));
    server.sign("sub_1", &json!(25));
    assert_eq!(server.activate(&code, &json!(ours)).0, 200, "it stayed live");
    let bound = server.claim_code("sub_1");
    let (status, body) = server.activate(&bound, &json!(theirs));
    assert_eq!((status, &body["code"]), (409, &json!("tenant_mismatch")), "R-register-18");
    assert_eq!(server.activate(&bound, &json!(ours)).0, 200);

    let named = json!({ "stripe_sub_id": "sub_1", "tenant_id": theirs });
    let (status, body) = server.service("/claim-codes", &named);
    assert_eq!(
        (status, &body["code"]),
        (409, &json!("tenant_mismatch")),
        "it is bound to another tenant"
    );
}

/// R-claim-codes-1, -2; R-register-25.
fn claim_codes_supersede_each_other_and_running_appliances_are_told_so(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, _) = server.register("Acme", "essentials");
    let (status, body) = server.service("/claim-codes", &json!({ "stripe_sub_id": "sub_1" }));
    assert_eq!((status, &body["code"]), (404, &json!("entitlement_not_found")));
    server.sign("sub_1", &json!(25));
    let (first, second) = (server.claim_code("sub_1"), server.claim_code("sub_1"));
    let (status, body) = server.activate(&first, &json!(tenant));
    assert_eq!(
        (status, &body["code"], &body["reason"]),
        (409, &json!("superseded_claim_code"), &json!("superseded"))
    );
    let (status, body) = server.redeem(&first);
    assert_eq!(
        (status, &body["code"], &body["reason"]),
        (409, &json!("consumed_claim_code"), &json!("superseded"))
    );
    assert_eq!(server.activate(&second, &json!(tenant)).0, 200);
}

/// R-register-19.
fn an_install_code_is_no_activation_code_for_a_running_appliance(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, code) = server.register("Acme", "essentials");
    for named in [Value::Null, json!(tenant)] {
        let (status, body) = server.activate(&code, &named);
        let reason = json!("not_an_activation_code");
        assert_eq!(
            (status, &body["code"], &body["reason"]),
            (404, &json!("invalid_claim_code"), &reason)
        );
    }
    assert_eq!(server.redeem(&code).0, 200, "it stayed live");
}

/// R-register-8, -9.
fn an_entitlement_that_ended_makes_an_install_code_essentials(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let body = json!({
        "company_name": "Acme", "contact_email": "a@example.com", "edition": "pro", "stripe_sub_id": "sub_1",
    });
    let (_, issued) = server.service("/register-tenant", &body);
    server.service("/revoke", &json!({ "stripe_sub_id": "sub_1" }));
    let (status, body) = server.redeem(&text(&issued["install_code"]));
    assert_eq!((status, &body["edition"]), (200, &json!("essentials")));
    for field in ["first_jwt", "appliance_credential", "check_in_url"] {
        assert!(body.get(field).is_none(), "{body}");
    }
}

/// R-sign-2, and the state of the code that the console reads.
fn twins_of_a_sale_are_one_sale(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    for sale in 0..8 {
        let signed = json!({
            "stripe_sub_id": format!("sub_s{sale}"), "customer": "Acme", "tier": "pro", "transport": "connected",
            "tenant_id": format!("77777710-5555-4555-8555-55555555555{sale}"),
        });
        let registered = json!({
            "company_name": format!("Twins {sale}."), "contact_email": "a@example.com", "edition": "pro",
            "stripe_sub_id": format!("sub_r{sale}"),
        });
        for (path, body) in [("/sign", &signed), ("/register-tenant", &registered)] {
            std::thread::scope(|scope| {
                let twins: Vec<_> =
                    (0..6).map(|_| scope.spawn(|| server.service(path, body))).collect();
                for twin in twins {
                    let (status, body) = twin.join().unwrap();
                    assert_eq!(status, 200, "{path}: {body}");
                }
            });
        }
        let (_, list) = server.look(&format!("/tenants?query=twins%20{sale}."));
        assert_eq!(list["items"][0]["install_code_state"], "live", "{list}");
    }
}
