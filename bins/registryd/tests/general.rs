//! The general rules of the wire contract, on every endpoint.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod external;
mod fleet;

use common::calls::token_claims;
use common::{ApiResponse, Server, read_response, start, text, wait_for};
use databases::{Environment, on_both_databases, with};
use external::publish;
use serde_json::{Value, json};

on_both_databases!(
    every_path_is_at_root,
    every_success_is_json,
    unknown_fields_are_ignored,
    null_counts_as_absent,
    texts_are_trimmed_and_bounded,
    times_are_unix_or_iso_8601,
    request_id_and_key_are_optional,
    valid_request_id_is_echoed,
    failed_signature_consumes_nothing,
    other_names_of_fields_are_accepted,
);

/// A body for every endpoint that takes one. `tenant`, `code` and `credential` belong to the
/// subscription `sub_1`.
fn requests(tenant: &str, code: &str, credential: &str) -> [(&'static str, Value); 8] {
    [
        (
            "/register-tenant",
            json!({ "company_name": "Acme", "contact_email": "a@example.com", "edition": "pro" }),
        ),
        ("/register", json!({ "claim_code": code, "appliance_id": "appliance-2" })),
        ("/check-in", json!({ "appliance_credential": credential })),
        ("/verify-appliance", json!({ "credential": credential })),
        ("/install-codes/reissue", json!({ "tenant_id": tenant })),
        (
            "/sign",
            json!({
                "stripe_sub_id": "sub_1", "customer": "Acme", "tier": "pro",
                "transport": "connected",
            }),
        ),
        ("/claim-codes", json!({ "stripe_sub_id": "sub_1" })),
        ("/revoke", json!({ "stripe_sub_id": "sub_1" })),
    ]
}

/// Sends every request of [`requests`], with these fields in addition.
fn send_all(server: &Server, more: &Value) -> Vec<(&'static str, ApiResponse)> {
    let (tenant, credential) = server.installed("sub_1");
    let code = text(&server.reissue(&tenant).1["install_code"]);
    let send = |(path, mut body): (&'static str, Value)| {
        let fields = body.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        (path, server.post_as_service(path, &body))
    };
    requests(&tenant, &code, &credential).into_iter().map(send).collect()
}

/// R-general-2.
fn every_path_is_at_root(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (_, api) = read_response(server.get("/openapi.json").send().unwrap());
    let paths: Vec<&String> = api["paths"].as_object().unwrap().keys().collect();
    for path in [
        "/register",
        "/check-in",
        "/register-tenant",
        "/install-codes/reissue",
        "/claim-codes",
        "/sign",
        "/revoke",
        "/tenants",
        "/tenants/{tenant_id}",
        "/verify-appliance",
        "/download/{token}",
        "/files/{key}",
        "/healthz",
        "/readyz",
        "/.well-known/jwks.json",
        "/metrics",
    ] {
        assert!(paths.iter().any(|known| *known == path), "{path}: {paths:?}");
        // A method that no path supports: the path exists if the error is about the method.
        let response = server.request("PATCH", &path.replace(['{', '}'], "")).send().unwrap();
        assert_eq!(read_response(response).1["code"], "method_not_allowed", "{path}");
    }
    let docs = server.get("/docs").send().unwrap();
    assert!(docs.status() == 303 && docs.headers()["location"] == "/docs/", "{docs:?}");
}

/// R-general-1, R-general-3: `read_response` panics at a response that is not JSON.
fn every_success_is_json(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    publish(data.path(), environment, b"the image");
    for (path, (status, body)) in send_all(&server, &json!({})) {
        assert_eq!(status, 200, "{path}: {body}");
        assert!(body.is_object(), "{path}: {body}");
    }
    let listed = server.get_as_service("/tenants").1;
    let tenant = format!("/tenants/{}", text(&listed["items"][0]["tenant_id"]));
    for path in [tenant.as_str(), "/healthz", "/readyz", "/openapi.json", "/.well-known/jwks.json"]
    {
        assert!(server.get_as_service(path).1.is_object(), "{path}");
    }
    let issued = server.subscribe("sub_2");
    let link = text(&issued["download_url"]);
    let link = link.strip_prefix(&server.url).unwrap();
    for (path, kind) in [(link, "application/octet-stream"), ("/docs/", "text/html")] {
        let response = server.get(path).send().unwrap();
        let got = response.headers()["content-type"].to_str().unwrap();
        assert!(response.status() == 200 && got.starts_with(kind), "{path}: {got}");
    }
}

/// R-general-4.
fn unknown_fields_are_ignored(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let unknown = json!({ "unknown": { "nested": [1] }, "Company_Name": "other" });
    for (path, (status, body)) in send_all(&server, &unknown) {
        assert_eq!(status, 200, "{path}: {body}");
    }
}

/// R-general-5.
fn null_counts_as_absent(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, credential) = server.installed("sub_1");
    for (path, body) in [
        (
            "/register-tenant",
            json!({
                "company_name": "Acme", "contact_email": "null@example.com",
                "edition": "essentials", "contact_name": null, "product_code": null,
                "deployment_type": null, "stripe_customer_id": null, "stripe_sub_id": null,
                "seats": null, "region": null, "send_email": null,
            }),
        ),
        (
            "/install-codes/reissue",
            json!({
                "tenant_id": tenant, "contact_email": null, "send_email": null, "strict": null,
            }),
        ),
        ("/check-in", json!({ "appliance_credential": credential, "current_license_sub": null })),
        (
            "/sign",
            json!({
                "stripe_sub_id": "sub_1", "customer": "Acme", "tier": "pro", "seats": null,
                "transport": "connected", "tenant_id": null,
            }),
        ),
        ("/claim-codes", json!({ "stripe_sub_id": "sub_1", "tenant_id": null })),
    ] {
        let (status, body) = server.post_as_service(path, &body);
        assert_eq!(status, 200, "{path}: {body}");
    }
    let newest = server.get_as_service("/tenants").1["items"][0].clone();
    assert_eq!(newest["product_code"], "default", "the default, as without the field");
    wait_for("the mail that is the default", || {
        let mails = server.mails(1);
        if mails.iter().any(|mail| mail.contains("null@example.com")) {
            return Ok(());
        }
        Err(format!("{} other mails", mails.len()))
    });
    // The exception: `null` marks a running appliance.
    let (_, code) = server.register("Bolt", "essentials");
    assert_eq!(server.activate(&code, &Value::Null).1["reason"], "not_an_activation_code");
    assert_eq!(server.redeem(&code).0, 200);
}

/// R-general-6. The longest text of each field, between blanks, is stored without them; one more
/// character is refused.
fn texts_are_trimmed_and_bounded(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    for (field, length, shown) in [
        ("company_name", 200, Some("company_name")),
        ("contact_name", 200, Some("contact_name")),
        ("stripe_customer_id", 255, Some("stripe_customer_id")),
        ("stripe_sub_id", 255, None),
        ("region", 64, Some("region")),
    ] {
        let register = |value: &str| {
            let mut body = json!({
                "company_name": "Acme", "contact_email": "a@example.com", "edition": "essentials",
            });
            body[field] = json!(value);
            server.post_as_service("/register-tenant", &body)
        };
        // Characters, not bytes, are counted.
        let longest = "ü".repeat(length);
        let (status, issued) = register(&format!(" \u{a0}{longest}\t"));
        assert_eq!(status, 200, "{field}: {issued}");
        let tenant = format!("/tenants/{}", text(&issued["tenant_id"]));
        if let Some(shown) = shown {
            assert_eq!(server.get_as_service(&tenant).1["tenant"][shown], longest, "{field}");
        }
        let unprintable = ["a\u{0}b", "a\u{1b}b", "a\u{202e}b", "a\u{2028}b"].map(str::to_owned);
        for wrong in unprintable.into_iter().chain([format!("{longest}ü")]) {
            let (status, body) = register(&wrong);
            assert_eq!((status, &body["reason"]), (422, &json!(field)), "{wrong:?}");
        }
    }
    let (_, code) = server.register("Bolt", "pro");
    let redeem = |appliance: &str| {
        let body = json!({ "claim_code": code, "appliance_id": appliance });
        read_response(server.post("/register").json(&body).send().unwrap())
    };
    for wrong in [String::new(), "  ".to_owned(), "ü".repeat(256), "a\u{0}b".to_owned()] {
        let (status, body) = redeem(&wrong);
        assert_eq!((status, &body["reason"]), (422, &json!("appliance_id")), "{wrong:?}");
    }
    let (status, redeemed) = redeem(&format!(" {} ", "ü".repeat(255)));
    assert_eq!(status, 200, "{redeemed}");
    let verified = server.verify(&text(&redeemed["appliance_credential"])).1;
    assert_eq!(verified["appliance_id"], "ü".repeat(255));
}

/// True for a time such as `2026-11-24T03:24:00Z`.
fn is_iso_8601_in_utc(value: &Value) -> bool {
    let Some(text) = value.as_str() else { return false };
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let fraction = shape.strip_prefix("0000-00-00T00:00:00").and_then(|it| it.strip_suffix('Z'));
    fraction.is_some_and(|it| {
        it.is_empty() || it.strip_prefix('.').is_some_and(|it| it.chars().all(|c| c == '0'))
    })
}

/// R-general-7, R-tenant-1, R-codes-5: a new code expires after seven days.
fn times_are_unix_or_iso_8601(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let issued = server.subscribe("sub_1");
    let (_, redeemed) = server.redeem(&text(&issued["install_code"]));
    let (_, checked_in) = server.check_in(&text(&redeemed["appliance_credential"]));
    let (_, signed) = server.sign("sub_1", &json!(9));
    let (_, activation) =
        server.post_as_service("/claim-codes", &json!({ "stripe_sub_id": "sub_1" }));
    let tenant = text(&issued["tenant_id"]);
    let (_, detail) = server.get_as_service(&format!("/tenants/{tenant}"));
    let item = server.get_as_service("/tenants").1["items"][0].clone();
    let (_, refused) = server.redeem("nonsense");

    let claims = token_claims(&signed["jwt"]);
    let now = claims["iat"].as_i64().unwrap();
    let week = 7 * 86_400;
    for (name, value, lifetime) in [
        ("install code", &issued["expires_at"], week),
        ("activation code", &activation["expires_at"], week),
        ("install code in the directory", &detail["install_codes"][0]["expires_at"], week),
        ("license", &signed["exp"], 31 * 86_400),
        ("license token", &claims["exp"], 31 * 86_400),
    ] {
        let seconds = value.as_i64().unwrap_or_else(|| panic!("{name}: {value}"));
        let difference = seconds - now - lifetime;
        assert!((-120..=120).contains(&difference), "{name}: {difference} s off");
    }
    for (name, value) in [
        ("next_check_in_at", &checked_in["next_check_in_at"]),
        ("server_time", &checked_in["server_time"]),
        ("server_time of an error", &refused["server_time"]),
        ("registered_at", &item["registered_at"]),
        ("installed_at", &item["installed_at"]),
        ("last_checkin_at", &item["last_checkin_at"]),
        ("registered_at of one tenant", &detail["tenant"]["registered_at"]),
        ("installed_at of one tenant", &detail["tenant"]["installed_at"]),
        ("created_at", &detail["tenant"]["created_at"]),
        ("updated_at", &detail["tenant"]["updated_at"]),
        ("created_at of a code", &detail["install_codes"][0]["created_at"]),
        ("last_checkin_at of an appliance", &detail["appliances"][0]["last_checkin_at"]),
    ] {
        assert!(is_iso_8601_in_utc(value), "{name}: {value}");
    }
}

/// R-general-8: the old clients' requests have no such header, which all other tests show.
fn request_id_and_key_are_optional(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let id = "a-request-id.of_the-client";
    for (code, status) in [(server.register("Acme", "pro").1, 200), ("nonsense".to_owned(), 404)] {
        let body = json!({ "claim_code": code, "appliance_id": "a" });
        let call = server
            .post("/register")
            .header("X-Request-Id", id)
            .header("Idempotency-Key", "a-key-of-a-new-client")
            .header("X-Api-Version", "2");
        let response = call.json(&body).send().unwrap();
        assert_eq!(response.headers()["x-request-id"], id);
        assert_eq!(read_response(response).0, status);
    }
}

/// R-general-10.
fn valid_request_id_is_echoed(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let returned_id = |sent: &str| {
        let response = server.get("/healthz").header("X-Request-Id", sent).send().unwrap();
        response.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    for valid in ["12345678", "UPPER.and_lower-1", &"x".repeat(128)] {
        assert_eq!(returned_id(valid), valid);
    }
    for invalid in ["1234567", "with blanks in it", "with/a/slash", &"x".repeat(129)] {
        let own = returned_id(invalid);
        assert!(own.len() >= 8 && own != invalid, "{own}");
    }
}

/// R-register-6, R-errors-2, R-errors-5, R-register-22.
fn failed_signature_consumes_nothing(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, code) = server.register("Acme", "pro");
    drop(server);
    // Nothing can be signed for an edition that the configuration no longer has.
    let editions = "[{ name = 'essentials' }, { name = 'gold', tier = 'gold' }]";
    let server = start(data.path(), &with(environment, &[("REGISTRY_EDITIONS", editions)]));
    let (status, body) = server.redeem(&code);
    assert_eq!((status, &body["code"]), (500, &json!("internal_error")), "{body}");
    let shown = server.get_as_service(&format!("/tenants/{tenant}")).1;
    assert_eq!(shown["tenant"]["status"], "registered");
    assert_eq!(shown["install_codes"][0]["consumed"], false);
    assert_eq!(shown["appliances"], json!([]));
    drop(server);
    let server = start(data.path(), environment);
    assert_eq!(server.redeem(&code).1["edition"], "pro");
}

/// R-register-tenant-14, R-claim-codes-5, R-sign-8, R-revoke-3.
fn other_names_of_fields_are_accepted(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (subscription, customer) =
        (("stripe_sub_id", "subscription_id"), ("stripe_customer_id", "billing_customer_id"));
    let register = json!({
        "company_name": "Acme", "contact_email": "a@example.com", "edition": "pro",
        "stripe_sub_id": "sub_1", "stripe_customer_id": "cus_1",
    });
    let sign = json!({
        "stripe_sub_id": "sub_1", "customer": "Acme", "tier": "pro", "transport": "connected",
    });
    let mut tenants = Vec::new();
    for (path, old, renamed) in [
        ("/register-tenant", &register, subscription),
        ("/register-tenant", &register, customer),
        ("/sign", &sign, subscription),
        ("/claim-codes", &json!({ "stripe_sub_id": "sub_1" }), subscription),
        ("/revoke", &json!({ "stripe_sub_id": "sub_1" }), subscription),
    ] {
        let (old_name, new_name) = renamed;
        let mut new = old.clone();
        let value = new.as_object_mut().unwrap().remove(old_name).unwrap();
        new[new_name] = value;
        let (status, body) = server.post_as_service(path, &new);
        assert_eq!(status, 200, "{path} {new_name}: {body}");
        tenants.extend(body["tenant_id"].as_str().map(str::to_owned));
        let mut equal = old.clone();
        equal[new_name] = old[old_name].clone();
        let (status, body) = server.post_as_service(path, &equal);
        assert_eq!(status, 200, "{path}, {new_name} equals {old_name}: {body}");
        let mut both = old.clone();
        both[new_name] = json!("other");
        let (status, body) = server.post_as_service(path, &both);
        assert_eq!((status, &body["reason"]), (422, &json!(new_name)), "{path}: {body}");
    }
    assert!(tenants.len() == 2 && tenants[0] == tenants[1], "one subscription: {tenants:?}");
    let shown = server.get_as_service(&format!("/tenants/{}", tenants[0])).1;
    assert_eq!(shown["tenant"]["stripe_customer_id"], "cus_1", "responses use the old names");
    assert_eq!(shown["entitlement"]["stripe_sub_id"], "sub_1");
}
