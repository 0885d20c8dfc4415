//! Licenses over HTTP: check-ins, credentials, and signing.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod external;
mod fleet;

use appliance_license::LicenseState;
use common::calls::{lasting, token_claims, token_header};
use common::{read_response, start, text};
use databases::{Environment, on_both_databases, with};
use external::{operate, operator};
use registry_core::id::TenantId;
use registry_core::registry::tenant_admin::TenantEdit;
use registry_core::text::ApplianceId;
use serde_json::{Value, json};

on_both_databases!(
    check_in_renews_due_license,
    revocation_leaves_license_until_expiry,
    wrong_credentials_are_refused_alike,
    first_use_retires_older_credentials,
    revoked_appliance_loses_all_credentials,
    service_verifies_credential,
    signing_keeps_sub,
    license_lifetimes_are_settings,
    unbound_license_has_no_audience,
    sign_adopts_unknown_tenant,
    sign_refuses_other_tenants,
    bad_sign_request_names_field,
    concurrent_sales_are_one,
);

/// R-check-in-1, R-check-in-6, R-check-in-8, R-check-in-12, R-register-17.
fn check_in_renews_due_license(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, credential) = server.installed("sub_1");
    // The license of the installation may have been lost: it is sent again, with the same claims.
    let sent = server.check_in(&credential).1;
    let sub = token_claims(&sent["jwt"])["sub"].clone();
    let again = server.check_in_with(&credential, &json!("lic_other")).1;
    assert_eq!(token_claims(&again["jwt"]), token_claims(&sent["jwt"]));
    let (status, body) = server.check_in_with(&credential, &sub);
    assert_eq!((status, &body["status"]), (200, &json!("ok")));
    assert!(body.get("jwt").is_none() && body.get("exp").is_none(), "nothing is due: {body}");
    let (next, now) = (text(&body["next_check_in_at"]), text(&body["server_time"]));
    assert!(next > now, "{body}");
    assert_eq!(
        server.get_as_service(&format!("/tenants/{tenant}")).1["tenant"]["status"],
        "active"
    );

    // Other seats make a license due at once, not at the renewal date.
    let (_, signed) = server.sign("sub_1", &json!(50));
    let (status, renewed) = server.check_in(&credential);
    assert_eq!((status, &renewed["status"]), (200, &json!("ok")));
    assert!(renewed["exp"].as_i64().unwrap() > 1_700_000_000);
    let LicenseState::Licensed(license) = server.state(&renewed["jwt"], &tenant) else {
        panic!("{renewed}")
    };
    assert_eq!((license.seats, license.sub.as_str()), (Some(50), signed["sub"].as_str().unwrap()));
    let sub = &signed["sub"];
    assert!(server.check_in_with(&credential, sub).1.get("jwt").is_none(), "it is due once");
    let other = "019b0a51-7d1e-7c3a-9b52-ffffffffffff";
    assert!(matches!(server.state(&renewed["jwt"], other), LicenseState::WrongTenant { .. }));

    let body = server.check_in_with(&credential, &json!("lic_other")).1;
    assert_eq!(token_claims(&body["jwt"])["sub"], signed["sub"], "it has another license");
}

/// R-check-in-2, R-check-in-3, R-revoke-1, R-revoke-2, R-general-3, R-sign-4,
/// R-verify-appliance-2.
fn revocation_leaves_license_until_expiry(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, credential) = server.installed("sub_1");
    for _ in 0..2 {
        let revoked = server.post_as_service("/revoke", &json!({ "stripe_sub_id": "sub_1" }));
        assert_eq!(revoked, (200, json!({ "status": "revoked" })));
    }
    let (status, body) = server.check_in(&credential);
    assert_eq!((status, &body["status"]), (200, &json!("revoked")));
    assert!(body.get("jwt").is_none() && body["next_check_in_at"].is_string());
    let (status, verified) = server.verify(&credential);
    assert_eq!(
        (status, &verified["entitlement_active"], &verified["edition"]),
        (200, &json!(false), &json!("essentials"))
    );
    server.sign("sub_1", &json!(5));
    let (status, body) = server.check_in(&credential);
    assert_eq!((status, &body["status"]), (200, &json!("ok")));
    let state = server.state(&body["jwt"], &tenant);
    assert!(matches!(state, LicenseState::Licensed(_)), "with a token: {body}");
    let shown = server.get_as_service(&format!("/tenants/{tenant}")).1;
    assert_eq!(shown["entitlement"]["active"], true);
    let (status, body) = server.post_as_service("/revoke", &json!({ "stripe_sub_id": "unknown" }));
    assert_eq!((status, &body["code"]), (404, &json!("entitlement_not_found")));
}

/// R-check-in-5.
fn wrong_credentials_are_refused_alike(environment: Environment) {
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

/// R-credential-1, R-credential-2, R-credential-3, R-credential-4, R-register-23, R-check-in-10,
/// R-verify-appliance-3.
fn first_use_retires_older_credentials(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, old) = server.installed("sub_1");
    let (_, reissued) = server.reissue(&tenant);
    let (_, redeemed) = server.redeem(&text(&reissued["install_code"]));
    let new = text(&redeemed["appliance_credential"]);
    assert!(new.len() == 64 && new != old && new.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!((server.verify(&new).0, server.verify(&old).0), (200, 200));
    assert_eq!(server.check_in(&old).0, 200, "verifying is not a use of the new one");
    assert_eq!(server.check_in(&new).0, 200);
    assert_eq!((server.check_in(&old).0, server.verify(&old).0), (401, 401));
    let (_, reissued) = server.reissue(&tenant);
    assert_eq!(server.redeem(&text(&reissued["install_code"])).0, 200);
    assert_eq!(server.check_in(&new).0, 200, "the last used one outlives an unused one");
}

/// R-credential-5.
fn revoked_appliance_loses_all_credentials(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, old) = server.installed("sub_1");
    let (_, reissued) = server.reissue(&tenant);
    let new = text(&server.redeem(&text(&reissued["install_code"])).1["appliance_credential"]);
    assert_eq!((server.verify(&old).0, server.verify(&new).0), (200, 200));
    operate(data.path(), environment, async |registry| {
        let (tenant, appliance) = (TenantId(tenant.parse().unwrap()), "appliance-1");
        let appliance = ApplianceId::parse(appliance).unwrap();
        registry.appliance_revoke(tenant, appliance, operator()).await.unwrap();
    });
    for credential in [&old, &new] {
        assert_eq!((server.verify(credential).0, server.check_in(credential).0), (401, 401));
    }
}

/// R-verify-appliance-1, R-bearer-1, R-bearer-2.
fn service_verifies_credential(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, credential) = server.installed("sub_1");
    let expected = json!({
        "tenant_id": tenant, "edition": "pro", "appliance_id": "appliance-1",
        "appliance_revoked": false, "entitlement_active": true, "connected_eligible": true,
    });
    assert_eq!(server.verify(&credential), (200, expected));
    let refused: Vec<_> = ["0".repeat(64), "nonsense".to_owned(), String::new()]
        .iter()
        .map(|wrong| lasting(&server.verify(wrong)))
        .collect();
    assert_eq!((refused[0].0, &refused[0].1["code"]), (401, &json!("invalid_credential")));
    assert!(refused.iter().all(|it| *it == refused[0]), "{refused:?}");
    let without_token = server.post("/verify-appliance").json(&json!({ "credential": credential }));
    let (status, body) = read_response(without_token.send().unwrap());
    assert_eq!((status, &body["code"]), (401, &json!("unauthorized")));
}

/// R-sign-1, R-sign-2, R-sign-6, R-license-1, R-license-2, R-license-4, R-check-in-7.
fn signing_keeps_sub(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, _) = server.register("Acme", "essentials");
    let sign = |tier: &str, seats: Value, transport: &str| {
        let body = json!({
            "stripe_sub_id": "any opaque: string/ü", "customer": "Acme Ltd", "tier": tier,
            "seats": seats, "transport": transport, "tenant_id": tenant,
        });
        let (status, body) = server.post_as_service("/sign", &body);
        assert_eq!(status, 200, "{body}");
        body
    };
    let connected = sign("pro", json!(5), "connected");
    let unlimited = sign("premium", Value::Null, "connected");
    let airgap = sign("pro", Value::Null, "airgap");
    assert!(text(&connected["sub"]).starts_with("lic_"));
    assert!(connected["sub"] == unlimited["sub"] && unlimited["sub"] == airgap["sub"]);
    assert_eq!(token_header(&connected["jwt"])["alg"], "EdDSA");
    let claims = token_claims(&connected["jwt"]);
    assert!(claims["aud"] == tenant && claims.get("nbf").is_none(), "{claims}");
    assert_eq!(claims["exp"], connected["exp"]);
    let days = |signed: &Value| {
        let claims = token_claims(&signed["jwt"]);
        (claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap()) / 86_400
    };
    assert_eq!((days(&connected), days(&airgap)), (31, 365));
    let LicenseState::Licensed(license) = server.state(&unlimited["jwt"], &tenant) else {
        panic!("{unlimited}")
    };
    assert_eq!(
        (license.tier.as_str(), license.seats, license.customer.as_str()),
        ("pro", None, "Acme Ltd")
    );
    let (_, shown) = server.get_as_service(&format!("/tenants/{tenant}"));
    assert_eq!(
        (&shown["tenant"]["edition"], &shown["entitlement"]["seats"]),
        (&json!("pro"), &Value::Null)
    );
}

/// R-check-in-7, R-sign-6.
fn license_lifetimes_are_settings(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let settings =
        [("REGISTRY_LICENSE_LIFETIME", "10d"), ("REGISTRY_LICENSE_AIRGAP_LIFETIME", "100d")];
    let server = start(data.path(), &with(environment, &settings));
    for (transport, days) in [("connected", 10), ("airgap", 100)] {
        let body = json!({
            "stripe_sub_id": "sub_1", "customer": "Acme", "tier": "pro", "transport": transport,
        });
        let claims = token_claims(&server.post_as_service("/sign", &body).1["jwt"]);
        let seconds = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert_eq!(seconds, days * 86_400, "{transport}");
    }
}

/// R-sign-5.
fn unbound_license_has_no_audience(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, _) = server.register("Acme", "essentials");
    let (status, unbound) = server.sign("sub_1", &json!(5));
    assert_eq!(status, 200, "{unbound}");
    assert!(token_claims(&unbound["jwt"]).get("aud").is_none());
    let state = server.state(&unbound["jwt"], &tenant);
    assert!(!matches!(state, LicenseState::Licensed(_) | LicenseState::Expiring { .. }));
    let code = server.claim_code("sub_1");
    assert_eq!(server.activate(&code, &json!(tenant)).0, 200);
    let (_, bound) = server.sign("sub_1", &json!(5));
    assert_eq!(token_claims(&bound["jwt"])["aud"], tenant);
    assert!(matches!(server.state(&bound["jwt"], &tenant), LicenseState::Licensed(_)));
}

/// R-sign-3.
fn sign_adopts_unknown_tenant(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let tenant = "0b9b0a51-7d1e-4c3a-9b52-4f0e8d6a1c73";
    let body = json!({
        "stripe_sub_id": "sub_1", "customer": "Acme Ltd", "tier": "pro", "transport": "connected",
        "tenant_id": tenant,
    });
    let (status, signed) = server.post_as_service("/sign", &body);
    assert_eq!(status, 200, "{signed}");
    assert_eq!(token_claims(&signed["jwt"])["aud"], tenant);
    let (_, shown) = server.get_as_service(&format!("/tenants/{tenant}"));
    let row = &shown["tenant"];
    assert_eq!(
        (&row["company_name"], &row["contact_email"], &row["status"], &row["installed_at"]),
        (&json!("Acme Ltd"), &json!(""), &json!("registered"), &Value::Null)
    );
    assert_eq!(shown["entitlement"]["stripe_sub_id"], "sub_1");
}

/// R-sign-7.
fn sign_refuses_other_tenants(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (acme, bolt) = (server.subscribe("sub_acme"), server.subscribe("sub_bolt"));
    let (suspended, _) = server.register("Cog", "essentials");
    operate(data.path(), environment, async |registry| {
        let id = TenantId(suspended.parse().unwrap());
        registry.tenant_edit(id, TenantEdit::Suspend, operator()).await.unwrap();
    });
    for (subscription, tenant, expected) in [
        ("sub_acme", &bolt["tenant_id"], (409, "tenant_mismatch", Value::Null)),
        ("sub_new", &acme["tenant_id"], (409, "tenant_mismatch", json!("already_entitled"))),
        ("sub_new", &json!(suspended), (403, "tenant_suspended", Value::Null)),
    ] {
        let body = json!({
            "stripe_sub_id": subscription, "customer": "Acme", "tier": "pro",
            "transport": "connected", "tenant_id": tenant,
        });
        let (status, body) = server.post_as_service("/sign", &body);
        let got = (status, body["code"].as_str().unwrap(), body["reason"].clone());
        assert_eq!(got, expected, "{subscription} {tenant}");
    }
}

/// R-license-3: essentials has no license.
fn bad_sign_request_names_field(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let good = json!({
        "stripe_sub_id": "sub_1", "customer": "Acme", "tier": "pro", "transport": "connected",
    });
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
        let (status, body) = server.post_as_service("/sign", &body);
        assert_eq!(
            (status, &body["code"], &body["reason"]),
            (422, &json!("invalid_request"), &json!(field)),
            "{value}"
        );
    }
    let (status, _) = server.post_as_service("/revoke", &json!({ "stripe_sub_id": "sub_1" }));
    assert_eq!(status, 404, "nothing was granted");
}

/// R-register-tenant-4, R-sign-2.
fn concurrent_sales_are_one(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    for sale in 0..8 {
        let signed = json!({
            "stripe_sub_id": format!("sub_s{sale}"), "customer": "Acme", "tier": "pro",
            "transport": "connected",
            "tenant_id": format!("77777710-5555-4555-8555-55555555555{sale}"),
        });
        let registered = json!({
            "company_name": format!("Twins {sale}."), "contact_email": "a@example.com",
            "edition": "pro", "stripe_sub_id": format!("sub_r{sale}"),
        });
        for (path, body, same) in
            [("/sign", &signed, "sub"), ("/register-tenant", &registered, "tenant_id")]
        {
            let responses: Vec<_> = std::thread::scope(|scope| {
                let twins: Vec<_> =
                    (0..6).map(|_| scope.spawn(|| server.post_as_service(path, body))).collect();
                twins.into_iter().map(|twin| twin.join().unwrap()).collect()
            });
            for (status, body) in &responses {
                assert_eq!(*status, 200, "{path}: {body}");
                assert_eq!(body[same], responses[0].1[same], "{path}");
            }
        }
        let (_, list) = server.get_as_service(&format!("/tenants?query=twins%20{sale}."));
        assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
        assert_eq!(list["items"][0]["install_code_state"], "live", "{list}");
    }
}
