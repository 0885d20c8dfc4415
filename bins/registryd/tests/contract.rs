//! The wire contract over HTTP: the fields that clients read, of responses that succeed and of
//! refusals.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod external;
mod fleet;

use common::{ApiResponse, read_response, start, text, wait_for};
use databases::{Environment, on_both_databases, with};
use external::{operate, operator, publish};
use registry_core::id::TenantId;
use registry_core::registry::tenant_admin::TenantEdit;
use serde_json::{Value, json};

on_both_databases!(
    essentials_redeems_without_license,
    paid_edition_redeems_with_license,
    typed_code_is_normalised,
    ended_code_says_what_to_do,
    live_code_says_why_it_is_refused,
    expired_code_is_gone,
    running_appliance_differs_from_first_boot,
    subscription_is_one_tenant,
    contact_selects_newest_entitled_tenant,
    directory_has_console_fields,
    metrics_count_requests_by_pattern,
    health_needs_no_token,
    readiness_hides_paths,
);

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// R-register-4, R-register-7.
fn essentials_redeems_without_license(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, code) = server.register("Acme", "essentials");
    let (status, body) = server.redeem(&code);
    assert_eq!(status, 200);
    let expected = json!({
        "tenant_id": tenant, "edition": "essentials", "company_name": "Acme",
        "contact_email": "acme@example.com",
    });
    assert_eq!(body, expected);
    let (_, shown) = server.get_as_service(&format!("/tenants/{tenant}"));
    assert_eq!(shown["appliances"], json!([]));
    assert_eq!(shown["entitlement"], Value::Null);
}

/// R-register-5, R-general-2, R-credential-1, R-register-tenant-3.
fn paid_edition_redeems_with_license(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    for edition in ["pro", "premium"] {
        let (tenant, code) = server.register("Acme", edition);
        let (status, body) = server.redeem(&code);
        assert_eq!((status, &body["edition"]), (200, &json!("pro")));
        let check_in_url = text(&body["check_in_url"]);
        assert_eq!(check_in_url, format!("{}/check-in", server.url));
        let credential = text(&body["appliance_credential"]);
        assert!(credential.len() == 64 && credential.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(text(&body["first_jwt"]).split('.').count(), 3);
        assert_eq!(body["tenant_id"], tenant);
        assert_eq!(server.check_in(&credential).0, 200, "the URL is the endpoint's");
    }
}

/// R-register-1.
fn typed_code_is_normalised(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (_, code) = server.register("Acme", "essentials");
    let typed = format!("  {} ", code.to_lowercase().replace('-', " – "));
    assert_eq!(server.redeem(&typed).0, 200);
}

/// Date and time in the text of a [`refusal`].
const DATE: &str = "0000-00-00 at 00:00 UTC";

/// Returns status, code and text of a refusal. The text has a 0 in place of each digit.
fn refusal((status, body): ApiResponse) -> (u16, String, String) {
    (status, text(&body["code"]), without_digits(&text(&body["error"])))
}

fn expected(status: u16, code: &str, text: &str) -> (u16, String, String) {
    (status, code.to_owned(), without_digits(text))
}

fn without_digits(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
}

/// R-register-26: what happened, since when, and what to do; with and without a portal.
fn ended_code_says_what_to_do(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    for (setting, at_portal) in [
        (("REGISTRY_PORTAL_URL", "https://portal.example"), " at https://portal.example"),
        (("REGISTRY_WEB_ENABLED", "false"), ""),
    ] {
        let server = start(data.path(), &with(environment, &[setting]));
        let (_, used) = server.register("Used", "pro");
        assert_eq!(server.redeem(&used).0, 200);
        let (tenant, replaced) = server.register("Replaced", "pro");
        let (status, reissued) = server.reissue(&tenant);
        assert_eq!((status, text(&reissued["tenant_id"])), (200, tenant));
        let reissue = format!("Request a fresh one from the portal (re-issue){at_portal}.");
        let text_of_used = format!("Install code has already been used, on {DATE}. {reissue}");
        let consumed = expected(409, "consumed_claim_code", &text_of_used);
        assert_eq!(refusal(server.redeem(&used)), consumed);
        let text_of_replaced = format!(
            "Install code was replaced by a newer one on {DATE}. Use the newest code you were \
             mailed. {reissue}"
        );
        let response = server.redeem(&replaced);
        assert_eq!(response.1["reason"], "superseded");
        assert_eq!(refusal(response), expected(409, "consumed_claim_code", &text_of_replaced));
        assert_eq!(server.redeem(&text(&reissued["install_code"])).0, 200);
    }
}

/// R-register-26: no portal is named if a new code does not help.
fn live_code_says_why_it_is_refused(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let invalid =
        "Invalid install code. Check the code from your registration email and try again.";
    for unknown in ["AAAA-BBBB-CCCC", "nonsense!"] {
        let response = server.redeem(unknown);
        assert_eq!(refusal(response), expected(404, "invalid_claim_code", invalid));
    }
    let (tenant, code) = server.register("Acme", "pro");
    let mismatch = "This code or subscription belongs to another tenant. Use the code that was \
                    mailed for this tenant.";
    let response = server.activate(&code, &json!("019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071"));
    assert_eq!(refusal(response), expected(409, "tenant_mismatch", mismatch));
    assert_eq!(server.sign("sub_1", &json!(5)).0, 200);
    let activation = server.claim_code("sub_1");
    server.post_as_service("/revoke", &json!({ "stripe_sub_id": "sub_1" }));
    let revoked = format!("The subscription behind this code ended on {DATE}. Ask your vendor.");
    let response = server.activate(&activation, &json!(tenant));
    assert_eq!(refusal(response), expected(403, "entitlement_revoked", &revoked));
    operate(data.path(), environment, async |registry| {
        let id = TenantId(tenant.parse().unwrap());
        registry.tenant_edit(id, TenantEdit::Suspend, operator()).await.unwrap();
    });
    let suspended =
        "This tenant was suspended or cancelled on 0000-00-00 at 00:00 UTC. Ask your vendor.";
    assert_eq!(refusal(server.redeem(&code)), expected(403, "tenant_suspended", suspended));
}

/// R-codes-5: the lifetime is a setting. R-register-26: this registry's pages are a portal.
fn expired_code_is_gone(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &with(environment, &[("REGISTRY_CODES_LIFETIME", "10ms")]));
    let (_, code) = server.register("Acme", "pro");
    wait_for("the code to expire", || {
        let state = server.get_as_service("/tenants").1["items"][0]["install_code_state"].clone();
        if state == "expired" { Ok(()) } else { Err(state.to_string()) }
    });
    let expired = format!(
        "Install code has expired, on {DATE}. Request a fresh one from the portal (re-issue) at \
         {}/portal.",
        server.url
    );
    assert_eq!(refusal(server.redeem(&code)), expected(410, "expired_claim_code", &expired));
}

/// R-register-3, R-register-18, R-register-19, R-register-25.
fn running_appliance_differs_from_first_boot(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, code) = server.register("Acme", "essentials");
    let other = "019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071";
    let not_activation = ("invalid_claim_code", json!("not_an_activation_code"));
    for (named, status, (expected, reason)) in [
        (json!(other), 409, ("tenant_mismatch", Value::Null)),
        (Value::Null, 404, not_activation.clone()),
        (json!(tenant), 404, not_activation),
        (json!("not-a-uuid"), 422, ("invalid_request", json!("tenant_id"))),
    ] {
        let (got, body) = server.activate(&code, &named);
        assert_eq!(
            (got, &body["code"], &body["reason"]),
            (status, &json!(expected), &reason),
            "{body}"
        );
    }
    server.reissue(&tenant);
    let (status, body) = server.activate(&code, &Value::Null);
    assert_eq!((status, &body["code"]), (409, &json!("superseded_claim_code")));
    let (status, body) = server.redeem(&code);
    assert_eq!((status, &body["code"]), (409, &json!("consumed_claim_code")));
}

/// R-register-tenant-4, R-register-tenant-8, R-register-tenant-12, R-general-4, R-general-5.
fn subscription_is_one_tenant(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let body = json!({
        "company_name": "Acme", "contact_email": "a@example.com", "edition": "pro",
        "stripe_sub_id": "sub_1", "seats": null, "contact_name": null, "region": "",
        "unknown": true,
    });
    let [first, second] = [0, 1].map(|_| server.post_as_service("/register-tenant", &body).1);
    assert_eq!(first["tenant_id"], second["tenant_id"]);
    let (status, body) = server.redeem(&text(&first["install_code"]));
    assert_eq!((status, &body["reason"]), (409, &json!("superseded")));
    assert_eq!(server.redeem(&text(&second["install_code"])).0, 200);
    let shown = server.get_as_service(&format!("/tenants/{}", text(&first["tenant_id"]))).1;
    assert_eq!(shown["tenant"]["region"], Value::Null, "an empty text counts as absent");
    let without = [0, 1].map(|_| server.register("Acme", "pro").0);
    assert_ne!(without[0], without[1], "without a subscription two calls are two tenants");
}

/// R-reissue-1, R-reissue-2.
fn contact_selects_newest_entitled_tenant(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (paid, _) = server.register("Acme", "pro");
    let (newer_paid, _) = server.register("Acme", "pro");
    server.register("ACME", "essentials");
    assert_ne!(paid, newer_paid);
    let reissue = |body: Value| server.post_as_service("/install-codes/reissue", &body);
    let (status, body) = reissue(json!({ "contact_email": "Acme@Example.COM" }));
    assert_eq!((status, text(&body["tenant_id"])), (200, newer_paid));
    assert!(body["expires_at"].is_i64() && body["download_url"] == "");
    let (status, body) = reissue(json!({ "contact_email": "acme@example.com", "strict": true }));
    assert_eq!((status, &body["code"]), (409, &json!("ambiguous_contact")));
    let (status, body) = reissue(json!({ "contact_email": "nobody@example.com" }));
    assert_eq!((status, &body["code"]), (404, &json!("tenant_not_found")));
}

/// R-tenants-6, R-tenant-2, R-tenant-3, R-tenant-4, R-tenant-5, R-codes-8, R-credential-1.
fn directory_has_console_fields(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, code) = server.register("Acme", "pro");
    server.register("Bolt", "essentials");
    let (status, redeemed) = server.redeem(&code);
    assert_eq!(status, 200);
    let (_, list) = server.get_as_service("/tenants?limit=1");
    let cursor = text(&list["next_cursor"]);
    assert_eq!(list["items"][0]["company_name"], "Bolt");
    let (_, list) = server.get_as_service(&format!("/tenants?limit=1&cursor={cursor}"));
    assert_eq!(list["next_cursor"], Value::Null);
    let mut item = list["items"][0].clone();
    assert!(item["registered_at"].take().is_string() && item["installed_at"].take().is_string());
    let expected = json!({
        "tenant_id": tenant, "company_name": "Acme", "contact_email": "acme@example.com",
        "edition": "pro", "product_code": "default", "status": "installed", "registered_at": null,
        "installed_at": null, "stripe_sub_id": null, "tier": "pro", "seats": null,
        "entitlement_active": true, "last_checkin_at": null, "appliance_count": 1,
        "connected": true, "install_code_state": "consumed",
    });
    assert_eq!(item, expected);
    let (_, detail) = server.get_as_service(&format!("/tenants/{tenant}"));
    assert_eq!(keys(&detail), ["appliances", "entitlement", "install_codes", "tenant"]);
    assert_eq!(
        detail["appliances"],
        json!([{ "appliance_id": "appliance-1", "last_checkin_at": null, "revoked": false }])
    );
    assert_eq!(detail["entitlement"]["has_current_token"], true);
    assert_eq!(detail["entitlement"]["stripe_sub_id"], "", "no subscription");
    assert_eq!(text(&detail["install_codes"][0]["code_masked"]), code[code.len() - 4..]);
    let credential = text(&redeemed["appliance_credential"]);
    for secret in [&code, &code.replace('-', ""), &credential, &text(&redeemed["first_jwt"])] {
        for shown in [&list, &detail] {
            assert!(!shown.to_string().contains(secret), "{shown}");
        }
    }
    for path in ["/tenants/019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071", "/tenants/nonsense"] {
        let (status, body) = server.get_as_service(path);
        assert_eq!((status, &body["code"]), (404, &json!("tenant_not_found")));
    }
}

/// R-metrics-1, R-metrics-2.
fn metrics_count_requests_by_pattern(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (tenant, code) = server.register("Acme", "pro");
    assert_eq!(server.redeem(&code).0, 200);
    server.get_as_service(&format!("/tenants/{tenant}"));
    let response = server.get("/metrics").send().unwrap();
    let kind = response.headers().get("content-type").unwrap().to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    let metrics = response.text().unwrap();
    for line in [
        r#"registry_http_requests_total{method="POST",path="/register",status="200"} 1"#,
        r#"registry_http_requests_total{method="GET",path="/tenants/{tenant_id}",status="200"} 1"#,
        r#"registry_part_up{part="database"} 1"#,
        r#"registry_part_up{part="release"} 0"#,
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line} is not in\n{metrics}");
    }
    for secret in [&tenant, &code, &server.token] {
        assert!(!metrics.contains(secret.as_str()), "{secret}");
    }
    drop(server);
    let server = start(data.path(), environment);
    let metrics = server.get("/metrics").send().unwrap().text().unwrap();
    assert!(!metrics.contains(r#"path="/register""#), "since the start of the process: {metrics}");
}

/// R-health-1, R-health-2.
fn health_needs_no_token(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    assert_eq!(
        read_response(server.get("/healthz").send().unwrap()),
        (200, json!({ "status": "ok" }))
    );
    let (status, ready) = read_response(server.get("/readyz").send().unwrap());
    assert_eq!((status, &ready["status"]), (200, &json!("degraded")));
    let parts = ready["parts"].as_array().unwrap();
    let parts: Vec<_> = parts
        .iter()
        .map(|part| (text(&part["name"]), part["required"].clone(), text(&part["state"])))
        .collect();
    let expected = [
        ("database", true, "ok"),
        ("key_ring", true, "ok"),
        ("blob_store", false, "ok"),
        ("mail", false, "ok"),
        ("release", false, "down"),
    ];
    let expected = expected
        .map(|(name, required, state)| (name.to_owned(), json!(required), state.to_owned()));
    assert_eq!(parts, expected);
    assert!(text(&ready["parts"][4]["detail"]).contains("no release"));
    publish(data.path(), environment, b"the image");
    wait_for("the registry to be ready", || {
        let (status, ready) = read_response(server.get("/readyz").send().unwrap());
        if status == 200 && ready["status"] == "ready" { Ok(()) } else { Err(ready.to_string()) }
    });
    let page = server.get("/docs/").send().unwrap();
    assert!(page.status() == 200 && page.text().unwrap().contains("swagger-ui"));
}

/// R-health-2: a detail that may name a path is in the log only.
fn readiness_hides_paths(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let mailbox = data.path().canonicalize().unwrap().join("mailbox");
    std::fs::remove_dir_all(&mailbox).unwrap();
    std::fs::write(&mailbox, "").unwrap();
    let mail = wait_for("the part `mail` to be down", || {
        let ready = server.get_as_service("/readyz").1;
        if ready["parts"][3]["state"] == "down" {
            return Ok(ready["parts"][3].clone());
        }
        Err(ready.to_string())
    });
    assert_eq!(mail["name"], "mail");
    let mailbox = mailbox.to_string_lossy();
    assert!(mail["detail"].is_string() && !mail.to_string().contains(&*mailbox), "{mail}");
    wait_for("the cause in the log", || {
        let log = server.log.lock().unwrap().clone();
        let is_cause = |line: &str| line.contains("cause") && line.contains(&*mailbox);
        if log.lines().any(is_cause) { Ok(()) } else { Err(log) }
    });
}
