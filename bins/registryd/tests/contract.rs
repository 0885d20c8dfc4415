//! The wire contract over HTTP: what clients read from answers that succeed, and from each refusal.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod both;
mod common;
mod fleet;

use both::{Environment, on_both_databases, with};
use common::{answer, start, text};
use serde_json::{Value, json};

on_both_databases!(
    essentials_gets_a_tenant_and_no_license_fields,
    a_paid_edition_gets_all_three_license_fields_and_premium_is_pro,
    codes_are_read_with_spaces_dashes_and_lower_case,
    a_refused_code_says_what_happened_since_when_and_what_to_do,
    an_expired_code_is_gone,
    a_running_appliance_is_told_apart_from_a_first_boot,
    a_subscription_is_one_tenant_and_without_one_two_calls_are_two,
    a_contact_in_any_case_means_its_newest_tenant_unless_strictly_asked,
    the_directory_has_the_fields_that_the_console_reads,
    eight_character_codes_have_no_dashes,
    the_figures_count_requests_by_pattern_and_hold_no_secret,
    health_and_readiness_and_the_description_are_open,
);

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn essentials_gets_a_tenant_and_no_license_fields(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, code) = server.register("Acme", "essentials");
    let (status, body) = server.redeem(&code);
    assert_eq!(status, 200);
    let expected = json!({
        "tenant_id": tenant, "edition": "essentials", "company_name": "Acme", "contact_email": "acme@example.com"
    });
    assert_eq!(body, expected);
    let (_, shown) = server.look(&format!("/tenants/{tenant}"));
    assert_eq!(shown["appliances"], json!([]));
    assert_eq!(shown["entitlement"], Value::Null);
}

fn a_paid_edition_gets_all_three_license_fields_and_premium_is_pro(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    for edition in ["pro", "premium"] {
        let (tenant, code) = server.register("Acme", edition);
        let (status, body) = server.redeem(&code);
        assert_eq!((status, &body["edition"]), (200, &json!("pro")));
        assert_eq!(body["check_in_url"], format!("{}/check-in", server.url));
        let credential = text(&body["appliance_credential"]);
        assert!(credential.len() == 64 && credential.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(text(&body["first_jwt"]).split('.').count(), 3);
        assert_eq!(body["tenant_id"], tenant);
    }
}

fn codes_are_read_with_spaces_dashes_and_lower_case(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (_, code) = server.register("Acme", "essentials");
    let typed = format!("  {} ", code.to_lowercase().replace('-', " – "));
    assert_eq!(server.redeem(&typed).0, 200);
}

fn a_refused_code_says_what_happened_since_when_and_what_to_do(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(
        data.path(),
        &with(environment, &[("REGISTRY_PORTAL_URL", "https://portal.example")]),
    );
    let (_, used) = server.register("Used", "pro");
    assert_eq!(server.redeem(&used).0, 200);
    let (tenant, replaced) = server.register("Replaced", "pro");
    let (status, reissued) = server.reissue(&tenant);
    assert_eq!((status, text(&reissued["tenant_id"])), (200, tenant));
    let (status, body) = server.redeem(&used);
    assert_eq!((status, &body["code"]), (409, &json!("consumed_claim_code")));
    assert!(text(&body["error"]).contains("already been used, on 20"), "{body}");
    assert!(text(&body["error"]).ends_with("(re-issue) at https://portal.example."), "{body}");
    let (status, body) = server.redeem(&replaced);
    assert_eq!(
        (status, &body["code"], &body["reason"]),
        (409, &json!("consumed_claim_code"), &json!("superseded"))
    );
    for unknown in ["AAAA-BBBB-CCCC", "nonsense!"] {
        let (status, body) = server.redeem(unknown);
        assert_eq!((status, &body["code"]), (404, &json!("invalid_claim_code")));
        assert!(
            text(&body["error"]).contains("Check the code from your registration email"),
            "{body}"
        );
    }
    assert_eq!(server.redeem(&text(&reissued["install_code"])).0, 200);
}

fn an_expired_code_is_gone(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &with(environment, &[("REGISTRY_CODES_LIFETIME", "10ms")]));
    let (_, code) = server.register("Acme", "pro");
    std::thread::sleep(std::time::Duration::from_millis(20));
    let (status, body) = server.redeem(&code);
    assert_eq!((status, &body["code"]), (410, &json!("expired_claim_code")));
}

fn a_running_appliance_is_told_apart_from_a_first_boot(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let redeem = |code: &str, tenant: Value| {
        let body = json!({ "claim_code": code, "appliance_id": "a", "tenant_id": tenant });
        answer(server.post("/register").json(&body).send().unwrap())
    };
    let (tenant, code) = server.register("Acme", "essentials");
    let other = "019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071";
    for (named, status, code_word, reason) in [
        (json!(other), 409, "tenant_mismatch", Value::Null),
        (Value::Null, 404, "invalid_claim_code", json!("not_an_activation_code")),
        (json!(tenant), 404, "invalid_claim_code", json!("not_an_activation_code")),
        (json!("not-a-uuid"), 422, "invalid_request", json!("tenant_id")),
    ] {
        let (got, body) = redeem(&code, named);
        assert_eq!(
            (got, &body["code"], &body["reason"]),
            (status, &json!(code_word), &reason),
            "{body}"
        );
    }
    server.reissue(&tenant);
    let (status, body) = redeem(&code, Value::Null);
    assert_eq!((status, &body["code"]), (409, &json!("superseded_claim_code")));
}

fn a_subscription_is_one_tenant_and_without_one_two_calls_are_two(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let body = json!({
        "company_name": "Acme", "contact_email": "a@example.com", "edition": "pro", "stripe_sub_id": "sub_1",
        "seats": null, "contact_name": null, "region": "", "unknown": true
    });
    let [first, second] = [0, 1].map(|_| server.service("/register-tenant", &body).1);
    assert_eq!(first["tenant_id"], second["tenant_id"]);
    assert_eq!(server.redeem(&text(&second["install_code"])).0, 200);
    assert_ne!(server.register("Acme", "pro").0, server.register("Acme", "pro").0);
}

fn a_contact_in_any_case_means_its_newest_tenant_unless_strictly_asked(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    server.register("Acme", "pro");
    let (newest, _) = server.register("ACME", "essentials");
    let (status, body) =
        server.service("/install-codes/reissue", &json!({ "contact_email": "Acme@Example.COM" }));
    assert_eq!((status, text(&body["tenant_id"])), (200, newest));
    assert!(body["expires_at"].is_i64() && body["download_url"] == "");
    let strict = json!({ "contact_email": "acme@example.com", "strict": true });
    let (status, body) = server.service("/install-codes/reissue", &strict);
    assert_eq!((status, &body["code"]), (409, &json!("ambiguous_contact")));
    let (status, body) =
        server.service("/install-codes/reissue", &json!({ "contact_email": "nobody@example.com" }));
    assert_eq!((status, &body["code"]), (404, &json!("tenant_not_found")));
}

fn the_directory_has_the_fields_that_the_console_reads(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, code) = server.register("Acme", "pro");
    server.register("Bolt", "essentials");
    assert_eq!(server.redeem(&code).0, 200);
    let (_, list) = server.look("/tenants?limit=1");
    let cursor = text(&list["next_cursor"]);
    assert_eq!(list["items"][0]["company_name"], "Bolt");
    let (_, list) = server.look(&format!("/tenants?limit=1&cursor={cursor}"));
    assert_eq!(list["next_cursor"], Value::Null);
    let mut item = list["items"][0].clone();
    assert!(
        text(&item["registered_at"].take()).contains('T')
            && text(&item["installed_at"].take()).ends_with('Z')
    );
    let expected = json!({
        "tenant_id": tenant, "company_name": "Acme", "contact_email": "acme@example.com", "edition": "pro",
        "product_code": "psa", "status": "installed", "registered_at": null, "installed_at": null,
        "stripe_sub_id": null, "tier": "pro", "seats": null, "entitlement_active": true, "last_checkin_at": null,
        "appliance_count": 1, "connected": true, "install_code_state": "consumed"
    });
    assert_eq!(item, expected);
    let (_, detail) = server.look(&format!("/tenants/{tenant}"));
    assert_eq!(keys(&detail), ["appliances", "entitlement", "install_codes", "tenant"]);
    assert_eq!(
        detail["appliances"],
        json!([{ "appliance_id": "appliance-1", "last_checkin_at": null, "revoked": false }])
    );
    assert_eq!(detail["entitlement"]["has_current_token"], true);
    assert_eq!(text(&detail["install_codes"][0]["code_masked"]), code[code.len() - 4..]);
    for path in ["/tenants/019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071", "/tenants/nonsense"] {
        let (status, body) = server.look(path);
        assert_eq!((status, &body["code"]), (404, &json!("tenant_not_found")));
    }
}

fn eight_character_codes_have_no_dashes(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &with(environment, &[("REGISTRY_CODES_LENGTH", "8")]));
    let (_, code) = server.register("Acme", "essentials");
    assert!(code.len() == 8 && !code.contains('-'), "{code}");
    assert_eq!(server.redeem(&code).0, 200);
}

fn the_figures_count_requests_by_pattern_and_hold_no_secret(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, code) = server.register("Acme", "pro");
    assert_eq!(server.redeem(&code).0, 200);
    server.look(&format!("/tenants/{tenant}"));
    let response = server.get("/metrics").send().unwrap();
    let kind = response.headers().get("content-type").unwrap().to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    let figures = response.text().unwrap();
    for line in [
        r#"registry_http_requests_total{method="POST",path="/register",status="200"} 1"#,
        r#"registry_http_requests_total{method="GET",path="/tenants/{tenant_id}",status="200"} 1"#,
        r#"registry_part_up{part="database"} 1"#,
        r#"registry_part_up{part="release"} 0"#,
    ] {
        assert!(figures.lines().any(|it| it == line), "{line} is not in\n{figures}");
    }
    for secret in [&tenant, &code, &server.token] {
        assert!(!figures.contains(secret.as_str()), "{secret}");
    }
}

fn health_and_readiness_and_the_description_are_open(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    assert_eq!(answer(server.get("/healthz").send().unwrap()), (200, json!({ "status": "ok" })));
    let (status, ready) = answer(server.get("/readyz").send().unwrap());
    assert_eq!((status, &ready["status"]), (200, &json!("degraded")));
    let parts = ready["parts"].as_array().unwrap();
    let names: Vec<_> = parts.iter().map(|part| text(&part["name"])).collect();
    assert_eq!(names, ["database", "key_ring", "blob_store", "mail", "release"]);
    assert!(text(&parts[4]["detail"]).contains("no release"));
    let (_, api) = answer(server.get("/openapi.json").send().unwrap());
    for path in [
        "/register-tenant",
        "/register",
        "/install-codes/reissue",
        "/tenants",
        "/tenants/{tenant_id}",
        "/readyz",
    ] {
        assert!(api["paths"][path].is_object(), "{path}");
    }
    let page = server.get("/docs/").send().unwrap();
    assert!(page.status() == 200 && page.text().unwrap().contains("swagger-ui"));
}
