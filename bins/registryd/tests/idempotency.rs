//! `Idempotency-Key` over HTTP.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod fleet;

use common::{ApiResponse, Server, read_response, start, text};
use databases::{Environment, on_both_databases};
use registry_wiring::{Config, TokenRole, Tokens};
use serde_json::{Value, json};

on_both_databases!(
    lost_response_is_replayed,
    twin_requests_are_one,
    key_belongs_to_route_and_caller,
    every_change_takes_a_key,
);

fn keyed(server: &Server, path: &str, body: &Value, key: &str) -> ApiResponse {
    let call =
        server.post(path).bearer_auth(&server.token).header("Idempotency-Key", key).json(body);
    read_response(call.send().unwrap())
}

/// R-idempotency-1, R-idempotency-2, R-idempotency-3, R-idempotency-6 (refusals are not recorded),
/// R-idempotency-7, R-register-24.
fn lost_response_is_replayed(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (_, code) = server.register("Acme", "pro");
    let redeem = |code: &str, key: &str| {
        let body = json!({ "claim_code": code, "appliance_id": "appliance-1" });
        keyed(&server, "/register", &body, key)
    };
    let first = redeem(&code, "a-key-of-17-chars");
    assert_eq!(first.0, 200, "{first:?}");
    for typed in [code.clone(), code.to_lowercase(), code.replace('-', " ")] {
        assert_eq!(redeem(&typed, "a-key-of-17-chars"), first, "the same code: {typed}");
    }
    let credential = text(&first.1["appliance_credential"]);
    assert_eq!(server.check_in(&credential).0, 200, "the replayed credential works");
    assert_eq!(
        server.redeem(&code).1["code"],
        "consumed_claim_code",
        "without the key single use is strict"
    );
    assert_eq!(redeem(&code, "another-key-of-many").1["code"], "consumed_claim_code");
    let other = json!({ "claim_code": code, "appliance_id": "appliance-2" });
    let (status, body) = keyed(&server, "/register", &other, "a-key-of-17-chars");
    assert_eq!((status, &body["code"]), (422, &json!("idempotency_key_reused")));
    // Refusals are not recorded.
    let (_, essentials) = server.register("Bolt", "essentials");
    let running = json!({ "claim_code": essentials, "appliance_id": "a", "tenant_id": null });
    assert_eq!(keyed(&server, "/register", &running, "one-more-key-of-17").0, 404);
    let boot = json!({ "claim_code": essentials, "appliance_id": "a" });
    assert_eq!(keyed(&server, "/register", &boot, "one-more-key-of-17").0, 200);
}

/// R-idempotency-1, R-idempotency-3, R-idempotency-4, R-idempotency-7, R-register-tenant-8.
fn twin_requests_are_one(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let body =
        json!({ "company_name": "Acme", "contact_email": "a@example.com", "edition": "pro" });
    let key = "twins-of-one-request";
    let register = || keyed(&server, "/register-tenant", &body, key);
    let responses: Vec<ApiResponse> = std::thread::scope(|scope| {
        let twins: Vec<_> = (0..8).map(|_| scope.spawn(register)).collect();
        twins.into_iter().map(|twin| twin.join().unwrap()).collect()
    });
    assert!(responses.iter().all(|it| it.0 == 200 && *it == responses[0]), "{responses:?}");
    let (_, listed) = server.get_as_service("/tenants");
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);

    // The order of fields and unknown fields do not count; the value of a known field does.
    let reordered = r#"{ "edition": "pro", "unknown": 1, "contact_email": "a@example.com",
                         "company_name": "Acme" }"#;
    let call = server
        .post("/register-tenant")
        .bearer_auth(&server.token)
        .header("Idempotency-Key", key)
        .header("content-type", "application/json");
    assert_eq!(read_response(call.body(reordered).send().unwrap()), responses[0]);
    let mut other = body.clone();
    other["company_name"] = json!("Bolt");
    let (status, refused) = keyed(&server, "/register-tenant", &other, key);
    assert_eq!((status, &refused["code"]), (422, &json!("idempotency_key_reused")));

    for (length, status) in [(15, 422), (16, 200), (255, 200), (256, 422)] {
        let (got, body) = keyed(&server, "/register-tenant", &body, &"k".repeat(length));
        assert_eq!(got, status, "{length} characters: {body}");
        if status == 422 {
            assert_eq!(body["reason"], "Idempotency-Key");
        }
    }
    let (status, refused) = keyed(&server, "/register-tenant", &body, "has spaces in its middle");
    assert_eq!((status, &refused["reason"]), (422, &json!("Idempotency-Key")));
    let twice = server
        .post("/register-tenant")
        .bearer_auth(&server.token)
        .header("Idempotency-Key", "the-first-of-two-keys")
        .header("Idempotency-Key", "the-second-of-two-keys");
    let (status, refused) = read_response(twice.json(&body).send().unwrap());
    assert_eq!((status, &refused["reason"]), (422, &json!("Idempotency-Key")));
}

/// R-idempotency-5.
fn key_belongs_to_route_and_caller(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let config = Config { data: data.path().to_owned(), ..Config::default() };
    let other =
        Tokens::open_to_change(&config).unwrap().create("store", TokenRole::Service).unwrap();
    let server = start(data.path(), environment);
    let key = "one-key-of-several-callers";
    let body =
        json!({ "company_name": "Acme", "contact_email": "a@example.com", "edition": "pro" });
    let register = |token: &str| {
        let call = server.post("/register-tenant").bearer_auth(token);
        read_response(call.header("Idempotency-Key", key).json(&body).send().unwrap())
    };
    let (first, second) = (register(&server.token), register(other.expose()));
    assert_eq!((first.0, second.0), (200, 200));
    assert_ne!(first.1["tenant_id"], second.1["tenant_id"], "two service tokens");
    assert_eq!(register(&server.token), first);

    let tenant = json!({ "tenant_id": first.1["tenant_id"] });
    let (status, reissued) = keyed(&server, "/install-codes/reissue", &tenant, key);
    assert_eq!(status, 200, "another route: {reissued}");

    let redeem = |code: &Value| {
        let body = json!({ "claim_code": code, "appliance_id": "a" });
        keyed(&server, "/register", &body, key)
    };
    let codes = [&reissued["install_code"], &second.1["install_code"]];
    let redeemed = codes.map(redeem);
    assert!(redeemed.iter().all(|(status, _)| *status == 200), "{redeemed:?}");
    assert_ne!(redeemed[0], redeemed[1], "two codes");
    assert_eq!(codes.map(redeem), redeemed);
}

/// R-idempotency-1.
fn every_change_takes_a_key(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, credential) = server.installed("sub_1");
    let sign = json!({
        "stripe_sub_id": "sub_1", "customer": "Acme", "tier": "pro", "seats": 9,
        "transport": "connected",
    });
    for (number, (path, body)) in [
        ("/install-codes/reissue", json!({ "tenant_id": tenant })),
        ("/sign", sign),
        ("/check-in", json!({ "appliance_credential": credential })),
        ("/claim-codes", json!({ "stripe_sub_id": "sub_1" })),
        ("/revoke", json!({ "stripe_sub_id": "sub_1" })),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("a-key-of-many-characters-{number}");
        let first = keyed(&server, path, &body, &key);
        assert_eq!(first.0, 200, "{path}: {first:?}");
        assert_eq!(keyed(&server, path, &body, &key), first, "{path}");
    }
}
