//! `Idempotency-Key`, over HTTP against the real binary, on SQLite and on PostgreSQL.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod both;
mod common;
mod fleet;

use both::{Environment, on_both_databases};
use common::{Answer, Server, answer, start, text};
use serde_json::{Value, json};

on_both_databases!(
    a_lost_answer_is_had_again_under_its_key,
    a_key_is_one_request_and_twins_wait_for_each_other,
    every_call_that_changes_something_takes_a_key,
);

fn keyed(server: &Server, path: &str, body: &Value, key: &str) -> Answer {
    let call =
        server.post(path).bearer_auth(&server.token).header("Idempotency-Key", key).json(body);
    answer(call.send().unwrap())
}

/// R-idempotency-1, -2; R-register-24.
fn a_lost_answer_is_had_again_under_its_key(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (_, code) = server.register("Acme", "pro");
    let redeem = |code: &str, key: &str| {
        keyed(
            &server,
            "/register",
            &json!({ "claim_code": code, "appliance_id": "appliance-1" }),
            key,
        )
    };
    let first = redeem(&code, "a-key-of-16-chars");
    assert_eq!(first.0, 200, "{first:?}");
    for typed in [code.clone(), code.to_lowercase(), code.replace('-', " ")] {
        assert_eq!(
            redeem(&typed, "a-key-of-16-chars"),
            first,
            "the same code, however it is typed"
        );
    }
    let credential = text(&first.1["appliance_credential"]);
    assert_eq!(server.check_in(&credential).0, 200, "the answer of then still works");
    assert_eq!(
        server.redeem(&code).1["code"],
        "consumed_claim_code",
        "without the key single use is strict"
    );
    assert_eq!(redeem(&code, "another-key-of-16-chars").1["code"], "consumed_claim_code");
    let other = json!({ "claim_code": code, "appliance_id": "appliance-2" });
    let (status, body) = keyed(&server, "/register", &other, "a-key-of-16-chars");
    assert_eq!((status, &body["code"]), (422, &json!("idempotency_key_reused")), "R-idempotency-3");
    // Refusals are not recorded: R-idempotency-6.
    let (_, essentials) = server.register("Bolt", "essentials");
    let running = json!({ "claim_code": essentials, "appliance_id": "a", "tenant_id": null });
    assert_eq!(keyed(&server, "/register", &running, "one-more-key-of-16").0, 404);
    let boot = json!({ "claim_code": essentials, "appliance_id": "a" });
    assert_eq!(keyed(&server, "/register", &boot, "one-more-key-of-16").0, 200);
    for bad in ["short", "has spaces in its middle", &"x".repeat(256)] {
        let (status, body) = keyed(&server, "/register", &boot, bad);
        assert_eq!((status, &body["reason"]), (422, &json!("Idempotency-Key")), "{bad}");
    }
}

/// R-idempotency-3, -4; R-register-tenant-8.
fn a_key_is_one_request_and_twins_wait_for_each_other(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let body =
        json!({ "company_name": "Acme", "contact_email": "a@example.com", "edition": "pro" });
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let twins: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| keyed(&server, "/register-tenant", &body, "twins-of-one-request"))
            })
            .collect();
        twins.into_iter().map(|twin| twin.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|it| it.0 == 200 && *it == answers[0]), "{answers:?}");
    let (_, listed) = server.look("/tenants");
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    // The same fields in other words are the same request; other fields are another one.
    let reordered = r#"{ "edition": "pro", "unknown": 1, "contact_email": "a@example.com", "company_name": "Acme" }"#;
    let call = server
        .post("/register-tenant")
        .bearer_auth(&server.token)
        .header("Idempotency-Key", "twins-of-one-request");
    let again =
        answer(call.header("content-type", "application/json").body(reordered).send().unwrap());
    assert_eq!(again, answers[0]);
    let mut other = body.clone();
    other["company_name"] = json!("Bolt");
    let (status, refused) = keyed(&server, "/register-tenant", &other, "twins-of-one-request");
    assert_eq!((status, &refused["code"]), (422, &json!("idempotency_key_reused")));
}

fn every_call_that_changes_something_takes_a_key(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, credential) = server.installed("sub_1");
    let sign = json!({ "stripe_sub_id": "sub_1", "customer": "Acme", "tier": "pro", "seats": 9, "transport": "connected" });
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
    // One key means something else on another route.
    let register = json!({ "company_name": "Bolt", "contact_email": "b@example.com", "edition": "essentials" });
    assert_eq!(keyed(&server, "/register-tenant", &register, "a-key-of-many-characters-0").0, 200);
}
