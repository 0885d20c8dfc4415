//! Activation codes over HTTP: which tenant they bring an entitlement to, and which they do not.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod fleet;

use appliance_license::LicenseState;
use common::{start, text};
use databases::{Environment, on_both_databases, with};
use serde_json::{Value, json};

on_both_databases!(
    activation_code_upgrades_essentials_tenant,
    activation_code_adopts_unknown_tenant,
    activation_code_takes_bound_tenant,
    unbound_activation_code_can_be_refused,
    refused_activation_code_stays_live,
    claim_codes_supersede_each_other,
    install_code_activates_no_running_appliance,
    revoked_entitlement_redeems_as_essentials,
);

/// R-register-13, R-register-16. The stores' `unbound_activation_code_uses_the_named_tenant` checks
/// that the upgrade is audited.
fn activation_code_upgrades_essentials_tenant(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, code) = server.register("Acme", "essentials");
    assert_eq!(server.redeem(&code).0, 200);
    server.sign("sub_1", &json!(25));
    let code = server.claim_code("sub_1");
    let (status, body) = server.redeem(&code);
    assert_eq!((status, &body["code"]), (422, &json!("tenant_required")));
    let (status, body) = server.activate(&code, &Value::Null);
    assert_eq!((status, &body["code"]), (422, &json!("tenant_required")));
    let (status, body) = server.activate(&code.to_lowercase(), &json!(tenant));
    assert_eq!(
        (status, &body["edition"], &body["tenant_id"]),
        (200, &json!("pro"), &json!(tenant))
    );
    assert!(matches!(server.state(&body["first_jwt"], &tenant), LicenseState::Licensed(_)));
    let (_, shown) = server.get_as_service(&format!("/tenants/{tenant}"));
    assert_eq!(
        (&shown["tenant"]["edition"], &shown["entitlement"]["stripe_sub_id"]),
        (&json!("pro"), &json!("sub_1"))
    );
    assert_eq!(server.check_in(&text(&body["appliance_credential"])).0, 200);
}

/// R-register-12.
fn activation_code_adopts_unknown_tenant(environment: Environment) {
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
    let (_, shown) = server.get_as_service(&format!("/tenants/{}", tenant.to_lowercase()));
    assert_eq!(
        (&shown["tenant"]["status"], &shown["tenant"]["contact_email"]),
        (&json!("installed"), &json!(""))
    );
    assert_eq!(shown["entitlement"]["active"], true);
    assert_eq!(server.activate(&code, &json!(tenant)).1["code"], "consumed_claim_code");
}

/// Issues an activation code that binds its entitlement to a tenant.
fn bound_code(server: &common::Server, subscription: &str, tenant: &str) -> String {
    let body = json!({ "stripe_sub_id": subscription, "tenant_id": tenant });
    let (status, body) = server.post_as_service("/claim-codes", &body);
    assert_eq!(status, 200, "{body}");
    text(&body["code"])
}

/// R-register-11, R-claim-codes-3.
fn activation_code_takes_bound_tenant(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let [first, second, third] =
        ["First", "Second", "Third"].map(|company| server.register(company, "essentials").0);
    for subscription in ["sub_1", "sub_2", "sub_3"] {
        server.sign(subscription, &Value::Null);
    }
    let tenant_of = |code: &str, named: &Value| {
        let (status, body) = server.activate(code, named);
        assert_eq!(status, 200, "{body}");
        text(&body["tenant_id"])
    };
    let (tenant, install_code) = server.register("Zeroth", "essentials");
    let (status, redeemed) = server.redeem(&install_code);
    assert_eq!((status, text(&redeemed["tenant_id"])), (200, tenant), "only the code has a tenant");

    let code = bound_code(&server, "sub_1", &first);
    assert_eq!(tenant_of(&code, &Value::Null), first, "the tenant of code and entitlement");

    let code = server.claim_code("sub_2");
    let body = json!({
        "stripe_sub_id": "sub_2", "customer": "Acme Ltd", "tier": "pro", "transport": "connected",
        "tenant_id": second,
    });
    assert_eq!(server.post_as_service("/sign", &body).0, 200);
    assert_eq!(tenant_of(&code, &Value::Null), second, "the tenant of the entitlement");

    let code = server.claim_code("sub_3");
    assert_eq!(tenant_of(&code, &json!(third)), third, "the tenant of the body");
}

/// R-register-15.
fn unbound_activation_code_can_be_refused(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let setting = [("REGISTRY_CODES_ACTIVATION_NEEDS_BOUND_TENANT", "true")];
    let server = start(data.path(), &with(environment, &setting));
    let (tenant, _) = server.register("Acme", "essentials");
    server.sign("sub_1", &Value::Null);
    let code = server.claim_code("sub_1");
    let (status, body) = server.activate(&code, &json!(tenant));
    assert_eq!(
        (status, &body["code"], &body["reason"]),
        (422, &json!("tenant_required"), &json!("code_not_bound"))
    );
    let code = bound_code(&server, "sub_1", &tenant);
    assert_eq!(server.activate(&code, &json!(tenant)).0, 200);
}

/// R-register-10, R-register-14, R-register-18, R-register-22, R-claim-codes-3, R-claim-codes-4.
fn refused_activation_code_stays_live(environment: Environment) {
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
    server.post_as_service("/revoke", &json!({ "stripe_sub_id": "sub_1" }));
    let (status, body) = server.activate(&code, &json!(ours));
    assert_eq!((status, &body["code"]), (403, &json!("entitlement_revoked")));
    let (status, body) =
        server.post_as_service("/claim-codes", &json!({ "stripe_sub_id": "sub_1" }));
    assert_eq!((status, &body["code"]), (403, &json!("entitlement_revoked")));
    server.sign("sub_1", &json!(25));
    assert_eq!(server.activate(&code, &json!(ours)).0, 200, "the code stayed live");
    let bound = server.claim_code("sub_1");
    let (status, body) = server.activate(&bound, &json!(theirs));
    assert_eq!((status, &body["code"]), (409, &json!("tenant_mismatch")));
    assert_eq!(server.activate(&bound, &json!(ours)).0, 200);

    let named = json!({ "stripe_sub_id": "sub_1", "tenant_id": theirs });
    let (status, body) = server.post_as_service("/claim-codes", &named);
    assert_eq!(
        (status, &body["code"]),
        (409, &json!("tenant_mismatch")),
        "the entitlement is bound to another tenant"
    );
}

/// R-claim-codes-1, R-claim-codes-2, R-codes-7, R-register-25.
fn claim_codes_supersede_each_other(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, _) = server.register("Acme", "essentials");
    let (status, body) =
        server.post_as_service("/claim-codes", &json!({ "stripe_sub_id": "sub_1" }));
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

/// R-register-19, R-register-22.
fn install_code_activates_no_running_appliance(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, code) = server.register("Acme", "essentials");
    for named in [Value::Null, json!(tenant)] {
        let (status, body) = server.activate(&code, &named);
        assert_eq!(
            (status, &body["code"], &body["reason"]),
            (404, &json!("invalid_claim_code"), &json!("not_an_activation_code"))
        );
    }
    assert_eq!(server.redeem(&code).0, 200, "the code stayed live");
}

/// R-register-8, R-register-9.
fn revoked_entitlement_redeems_as_essentials(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let issued = server.subscribe("sub_1");
    server.post_as_service("/revoke", &json!({ "stripe_sub_id": "sub_1" }));
    let tenant = text(&issued["tenant_id"]);
    let row = server.get_as_service(&format!("/tenants/{tenant}")).1["tenant"].clone();
    assert_eq!(row["edition"], "pro", "the tenant's row does not decide");
    let (status, body) = server.redeem(&text(&issued["install_code"]));
    assert_eq!((status, &body["edition"]), (200, &json!("essentials")));
    for field in ["first_jwt", "appliance_credential", "check_in_url"] {
        assert!(body.get(field).is_none(), "{body}");
    }
}
