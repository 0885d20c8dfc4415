//! The order of the checks of a redemption, over HTTP.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod external;
mod fleet;

use common::{ApiResponse, read_response, start, text, wait_for};
use databases::{Environment, on_both_databases, with};
use external::{operate, operator};
use registry_core::id::TenantId;
use registry_core::registry::tenant_admin::TenantEdit;
use serde_json::{Value, json};

on_both_databases!(
    body_and_guesses_are_checked_first,
    state_of_code_is_checked_before_tenant,
    tenant_is_checked_before_entitlement,
    binding_is_checked_before_other_entitlement,
);

/// A tenant id that the registry does not know.
const OTHER: &str = "019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071";

/// Status, code and reason of a refusal.
fn refusal((status, body): ApiResponse) -> (u16, String, Value) {
    (status, text(&body["code"]), body["reason"].clone())
}

fn expected(status: u16, code: &str, reason: &str) -> (u16, String, Value) {
    let reason = if reason.is_empty() { Value::Null } else { json!(reason) };
    (status, code.to_owned(), reason)
}

/// R-register-27: body, guesses, code well-formed, code known.
fn body_and_guesses_are_checked_first(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let limit = [("REGISTRY_RATE_LIMIT_CODE_GUESSES", "1")];
    let server = start(data.path(), &with(environment, &limit));
    let (_, code) = server.register("Acme", "pro");
    let redeem = |code: &str, appliance: &str| {
        let body = json!({ "claim_code": code, "appliance_id": appliance });
        refusal(read_response(server.post("/register").json(&body).send().unwrap()))
    };
    let invalid = expected(422, "invalid_request", "appliance_id");
    let unknown = expected(404, "invalid_claim_code", "");
    assert_eq!(redeem("malformed!", ""), invalid, "the body before the form of the code");
    assert_eq!(redeem("malformed!", "a"), unknown);
    assert_eq!(redeem("AAAA-BBBB-CCCC", "a"), unknown, "the only guess");
    assert_eq!(redeem("AAAA-BBBB-CCCC", ""), invalid, "the body before the guesses");
    let limited = expected(429, "too_many_attempts", "");
    assert_eq!(redeem("malformed!", "a"), limited, "the guesses before the form of the code");
    assert_eq!(redeem(&code, "a"), limited, "the guesses before the code");
}

/// R-register-27: code consumed, superseded, expired, then the body's tenant.
fn state_of_code_is_checked_before_tenant(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (_, used) = server.register("Used", "essentials");
    assert_eq!(server.redeem(&used).0, 200);
    let other = json!(OTHER);
    let consumed = expected(409, "consumed_claim_code", "");
    assert_eq!(refusal(server.activate(&used, &other)), consumed);
    drop(server);

    let server = start(data.path(), &with(environment, &[("REGISTRY_CODES_LIFETIME", "10ms")]));
    let (tenant, code) = server.register("Acme", "essentials");
    wait_for("the code to expire", || {
        let state = server.get_as_service("/tenants").1["items"][0]["install_code_state"].clone();
        if state == "expired" { Ok(()) } else { Err(state.to_string()) }
    });
    assert_eq!(refusal(server.activate(&code, &other)), expected(410, "expired_claim_code", ""));
    server.reissue(&tenant);
    let superseded = expected(409, "superseded_claim_code", "superseded");
    assert_eq!(refusal(server.activate(&code, &other)), superseded, "superseded before expired");
}

/// R-register-27: the body's tenant, activation code, tenant not suspended, entitlement active.
fn tenant_is_checked_before_entitlement(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, code) = server.register("Acme", "essentials");
    server.sign("sub_bound", &Value::Null);
    let body = json!({ "stripe_sub_id": "sub_bound", "tenant_id": tenant });
    let bound = text(&server.post_as_service("/claim-codes", &body).1["code"]);
    server.sign("sub_unbound", &Value::Null);
    let unbound = server.claim_code("sub_unbound");
    operate(data.path(), environment, async |registry| {
        let id = TenantId(tenant.parse().unwrap());
        registry.tenant_edit(id, TenantEdit::Suspend, operator()).await.unwrap();
    });
    for subscription in ["sub_bound", "sub_unbound"] {
        let (status, _) =
            server.post_as_service("/revoke", &json!({ "stripe_sub_id": subscription }));
        assert_eq!(status, 200);
    }
    let (other, own) = (json!(OTHER), json!(tenant));
    let mismatch = expected(409, "tenant_mismatch", "");
    assert_eq!(refusal(server.activate(&code, &other)), mismatch);
    let not_activation = expected(404, "invalid_claim_code", "not_an_activation_code");
    assert_eq!(refusal(server.activate(&code, &own)), not_activation);
    let suspended = expected(403, "tenant_suspended", "");
    assert_eq!(refusal(server.activate(&bound, &own)), suspended);
    assert_eq!(refusal(server.redeem(&code)), suspended);
    let revoked = expected(403, "entitlement_revoked", "");
    assert_eq!(refusal(server.activate(&unbound, &Value::Null)), revoked, "before the tenant");
}

/// R-register-27: tenant bound, tenant known, no other entitlement.
fn binding_is_checked_before_other_entitlement(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let setting = [("REGISTRY_CODES_ACTIVATION_NEEDS_BOUND_TENANT", "true")];
    let server = start(data.path(), &with(environment, &setting));
    let entitled = server.subscribe("sub_entitled");
    server.sign("sub_1", &Value::Null);
    let code = server.claim_code("sub_1");
    let not_bound = expected(422, "tenant_required", "code_not_bound");
    assert_eq!(refusal(server.activate(&code, &entitled["tenant_id"])), not_bound);
    drop(server);

    let server = start(data.path(), environment);
    let required = expected(422, "tenant_required", "");
    assert_eq!(refusal(server.activate(&code, &Value::Null)), required);
    let entitled_already = expected(409, "tenant_mismatch", "already_entitled");
    assert_eq!(refusal(server.activate(&code, &entitled["tenant_id"])), entitled_already);
}
