//! Attacks of strangers: guesses from one address and from many, requests that repeat for ever,
//! sign-ups, replays after the end, and links of a suspended tenant.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod external;
mod fleet;
mod pages;

use common::{ApiResponse, Server, read_response, start, text, wait_for};
use databases::{Environment, on_both_databases, with};
use external::{operate, operator};
use pages::registration;
use registry_core::id::TenantId;
use registry_core::registry::entitlements::EntitlementEdit;
use registry_core::registry::tenant_admin::TenantEdit;
use registry_core::store::EntitlementSelector;
use registry_core::text::{ApplianceId, SubscriptionId};
use serde_json::{Value, json};

on_both_databases!(
    burst_learns_no_more_than_its_limit,
    guesses_from_many_addresses_are_limited,
    loops_write_a_bounded_number_of_rows,
    replay_ends_with_revoke_suspend_cancel,
);

const PROXY: (&str, &str) = ("REGISTRY_HTTP_TRUSTED_PROXIES", "['127.0.0.1/32']");

/// A well-formed code that nobody has.
const UNKNOWN: &str = "AAAA-BBBB-CCCC";

/// Redeems a code from this address.
fn redeem_from(server: &Server, source: &str, code: &str) -> ApiResponse {
    let body = json!({ "claim_code": code, "appliance_id": "appliance-1" });
    let request = server.post("/register").header("x-forwarded-for", source).json(&body);
    read_response(request.send().unwrap())
}

fn count(responses: &[u16], status: u16) -> usize {
    responses.iter().filter(|it| **it == status).count()
}

fn rows(database: &str, query: &str) -> u64 {
    fleet::query(database, query).trim().parse().unwrap()
}

/// Returns what `fleet::query` takes for the database of a test.
fn database_of(environment: Environment, data: &std::path::Path) -> String {
    let url = environment.iter().find(|it| it.0 == "REGISTRY_DATABASE_URL").map(|it| it.1);
    url.map_or_else(|| data.join("registry.db").to_str().unwrap().to_owned(), str::to_owned)
}

/// R-guessing-2: of 480 guesses at once, 30 are looked up. A good code of the same address waits for
/// them, or is told how long to wait; its recorded response is not withheld (R-guessing-7).
fn burst_learns_no_more_than_its_limit(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (_, code) = server.register("Office", "pro");
    let keyed = |code: &str| {
        let body = json!({ "claim_code": code, "appliance_id": "appliance-1" });
        let request = server.post("/register").header("idempotency-key", "a-key-of-the-office");
        read_response(request.json(&body).send().unwrap())
    };
    let first = keyed(&code);
    assert_eq!(first.0, 200);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let guess = || (0..40).map(|_| server.redeem(UNKNOWN).0).collect::<Vec<_>>();
        let guessers: Vec<_> = (0..12).map(|_| scope.spawn(guess)).collect();
        guessers.into_iter().flat_map(|it| it.join().unwrap()).collect()
    });
    assert_eq!((count(&statuses, 404), count(&statuses, 429)), (30, 450));
    assert_eq!(keyed(&code), first, "the office's own response is repeated");
    let (_, other) = server.register("Office2", "pro");
    let body = json!({ "claim_code": other, "appliance_id": "appliance-2" });
    let refused = server.post("/register").json(&body).send().unwrap();
    let wait = refused.headers()["retry-after"].to_str().unwrap().to_owned();
    assert_eq!(refused.status(), 429);
    assert!((1..=600).contains(&wait.parse::<u64>().unwrap()), "{wait}");
    let counted = rows(
        &database_of(environment, data.path()),
        "SELECT sum(count) FROM audit WHERE action = 'unknown_codes'",
    );
    assert_eq!(counted, 30);
}

/// R-guessing-3, R-guessing-5, R-guessing-6, R-limits-1: an attacker has many
/// addresses, of networks or of none.
fn guesses_from_many_addresses_are_limited(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let limits = [
        PROXY,
        ("REGISTRY_RATE_LIMIT_CODE_GUESSES", "3"),
        ("REGISTRY_RATE_LIMIT_CODE_GUESSES_TOTAL", "100"),
    ];
    let server = start(data.path(), &with(environment, &limits));
    let (_, code) = server.register("Customer", "pro");
    let guess = |address: String| redeem_from(&server, &address, UNKNOWN).0;
    let of_24: Vec<u16> = (0..40).map(|it| guess(format!("203.0.113.{it}"))).collect();
    assert_eq!((count(&of_24, 404), count(&of_24, 429)), (24, 16), "a /24");
    let of_48: Vec<u16> = (0..80).map(|it| guess(format!("2001:db8:1:{it:x}00::1"))).collect();
    assert_eq!((count(&of_48, 404), count(&of_48, 429)), (48, 32), "a /48");
    // The rest of the total, and its reserve for those who have not guessed.
    let scattered: Vec<u16> = (0..100).map(|it| guess(format!("10.{it}.0.1"))).collect();
    assert_eq!((count(&scattered, 404), count(&scattered, 503)), (78, 22));
    let (status, overloaded) = redeem_from(&server, "10.0.0.1", &code);
    assert_eq!((status, &overloaded["code"]), (503, &json!("overloaded")));
    let limits = server.get_as_service("/v1/rate-limits").1;
    let limit = &limits["items"][0];
    assert_eq!((&limit["name"], &limit["counted"]), (&json!("code_guesses"), &json!(150)));
    assert!(limit["refused"] == 48 && limit["overloaded"] == 23, "{limit}");
    assert!(
        limit["networks"].as_array().unwrap().iter().any(|it| it["network"] == "2001:db8:1::/48")
    );
    let metrics = server.get("/metrics").send().unwrap().text().unwrap();
    let expected = "rate_limit_events_total{limit=\"code_guesses\",outcome=\"overloaded\"} 23";
    assert!(metrics.contains(expected), "{metrics}");
    // R-limits-2: an operator ends it.
    let clear = |query: &str| {
        let request = server.request("DELETE", &format!("/v1/rate-limits{query}"));
        read_response(request.bearer_auth(&server.token).send().unwrap())
    };
    assert_eq!(clear("?network=203.0.113.0/24"), (200, json!({ "cleared": 1 })));
    assert!(clear("").1["cleared"].as_u64().unwrap() > 100);
    assert_eq!(redeem_from(&server, "10.0.0.1", &code).0, 200);
    assert_eq!(server.request("DELETE", "/v1/rate-limits").send().unwrap().status(), 401);
}

/// A used code, a revoked credential, a foreign license and fresh keys in loops: the rows that they
/// write do not grow with them.
fn loops_write_a_bounded_number_of_rows(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (_, used) = server.register("Used", "pro");
    let credential = text(&server.redeem(&used).1["appliance_credential"]);
    let (tenant, revoked) = server.register("Revoked", "pro");
    let gone = text(&server.redeem(&revoked).1["appliance_credential"]);
    let id = TenantId(tenant.parse().unwrap());
    operate(data.path(), environment, async |registry| {
        let appliance = ApplianceId::parse("appliance-1").unwrap();
        registry.appliance_revoke(id, appliance, operator()).await.unwrap();
    });
    let database = database_of(environment, data.path());
    let sizes = || {
        ["audit", "replays", "credentials", "appliances"]
            .map(|table| rows(&database, &format!("SELECT count(*) FROM {table}")))
    };
    let check_in = |credential: &str, sub: &str, key: usize| {
        let body = json!({ "appliance_credential": credential, "current_license_sub": sub });
        let key = format!("a-fresh-key-number-{key}");
        let request = server.post("/check-in").header("idempotency-key", key).json(&body);
        read_response(request.send().unwrap()).0
    };
    let before = sizes();
    for round in 0..120 {
        assert_eq!(server.redeem(&used).0, 409);
        let body = json!({ "claim_code": used, "appliance_id": format!("appliance-{round}") });
        assert_eq!(server.post("/register").json(&body).send().unwrap().status(), 409);
        assert_eq!(check_in(&gone, "lic_of_somebody", round), 401);
        assert_eq!(check_in(&"f".repeat(64), "lic_of_somebody", round), 401);
        assert_eq!(check_in(&credential, "lic_of_somebody", round), 200);
    }
    let after = sizes();
    // One entry a minute for each of three kinds, two minutes at most, and the activation.
    assert!(after[0] - before[0] <= 7, "audit: {before:?} {after:?}");
    assert!(after[1] - before[1] <= 2, "replays: {before:?} {after:?}");
    assert_eq!(after[2..], before[2..]);
}

/// The request, and what it is answered once this happened.
type Ended = (&'static str, u16, &'static str);

/// R-idempotency-2: a response that holds a license, a credential or a code is not repeated after
/// its end, and the refusal is audited.
fn replay_ends_with_revoke_suspend_cancel(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let key_of = |path: &str, number: usize| {
        format!("the-key-number-{number}-of-{}", path.replace('/', "-"))
    };
    let send = |path: &str, number: usize, body: &Value| {
        let request = server.post(path).bearer_auth(&server.token);
        let request = request.header("idempotency-key", key_of(path, number)).json(body);
        read_response(request.send().unwrap())
    };
    let cases: [(&str, [Ended; 5]); 3] = [
        (
            "suspend",
            [
                ("/register-tenant", 403, "tenant_suspended"),
                ("/install-codes/reissue", 403, "tenant_suspended"),
                ("/register", 403, "tenant_suspended"),
                ("/sign", 403, "tenant_suspended"),
                ("/check-in", 200, ""),
            ],
        ),
        (
            "revoke entitlement",
            [
                ("/register-tenant", 200, ""),
                ("/install-codes/reissue", 200, ""),
                ("/register", 403, "entitlement_revoked"),
                ("/sign", 403, "entitlement_revoked"),
                ("/check-in", 200, ""),
            ],
        ),
        (
            "revoke appliance",
            [
                ("/register-tenant", 200, ""),
                ("/install-codes/reissue", 200, ""),
                ("/register", 409, "consumed_claim_code"),
                ("/sign", 200, ""),
                ("/check-in", 401, "revoked_appliance"),
            ],
        ),
    ];
    for (number, (end, expected)) in cases.into_iter().enumerate() {
        let subscription = format!("sub_{number}");
        let register = json!({
            "company_name": "Acme", "contact_email": "a@example.com", "edition": "pro",
            "stripe_sub_id": subscription,
        });
        let registered = send("/register-tenant", number, &register).1;
        let tenant = text(&registered["tenant_id"]);
        let reissue = json!({ "tenant_id": tenant });
        let code = text(&send("/install-codes/reissue", number, &reissue).1["install_code"]);
        let redeem = json!({ "claim_code": code, "appliance_id": "appliance-1" });
        let redeemed = send("/register", number, &redeem).1;
        let sign = json!({
            "stripe_sub_id": subscription, "customer": "Acme", "tier": "pro",
            "transport": "connected",
        });
        assert_eq!(send("/sign", number, &sign).0, 200);
        let check_in = json!({ "appliance_credential": redeemed["appliance_credential"] });
        assert!(send("/check-in", number, &check_in).1["jwt"].is_string());
        let bodies = [&register, &reissue, &redeem, &sign, &check_in];
        let before = bodies.map(Clone::clone);
        let id = TenantId(tenant.parse().unwrap());
        operate(data.path(), environment, async |registry| match end {
            "suspend" => {
                registry.tenant_edit(id, TenantEdit::Suspend, operator()).await.unwrap();
            }
            "revoke entitlement" => {
                let subscription = SubscriptionId::parse(&subscription).unwrap();
                let selector = EntitlementSelector::Subscription(subscription);
                let edit = EntitlementEdit::Revoke;
                registry.entitlement_edit(selector, edit, None, operator()).await.unwrap();
            }
            _ => {
                let appliance = ApplianceId::parse("appliance-1").unwrap();
                registry.appliance_revoke(id, appliance, operator()).await.unwrap();
            }
        });
        for (body, (path, status, code)) in before.iter().zip(expected) {
            let (seen, response) = send(path, number, body);
            assert_eq!(seen, status, "{end} {path}: {response}");
            assert_eq!(response["code"].as_str().unwrap_or_default(), code, "{end} {path}");
            if path == "/check-in" && seen == 200 {
                assert_eq!(
                    (&response["status"], &response["jwt"]),
                    (&json!("revoked"), &Value::Null)
                );
            }
        }
    }
    let refused = "SELECT count(*) FROM audit \
                   WHERE action IN ('redeem_refused', 'reissue_refused', 'entitlement_refused')";
    assert!(rows(&database_of(environment, data.path()), refused) >= 7);
}

/// Sign-ups from many addresses, and with plus-addresses of one inbox.
#[test]
fn sign_ups_of_strangers_are_limited() {
    let data = tempfile::tempdir().unwrap();
    let limits =
        [PROXY, ("REGISTRY_RATE_LIMIT_MAILS", "4"), ("REGISTRY_RATE_LIMIT_MAILS_TOTAL", "20")];
    let server = start(data.path(), &limits);
    let sign_up = |number: usize, source: &str, email: &str| {
        let id = format!("form-{number}");
        let fields = registration(&id, &[("contact_email", email)]);
        let request = server.post("/signup").header("x-forwarded-for", source).form(&fields);
        request.send().unwrap().status().as_u16()
    };
    let plus: Vec<u16> = (0..8)
        .map(|it| sign_up(it, &format!("192.0.{it}.1"), &format!("ada+{it}@acme.example")))
        .collect();
    assert_eq!((count(&plus, 200), count(&plus, 429)), (4, 4), "one inbox");
    let many: Vec<u16> = (0..60)
        .map(|it| sign_up(100 + it, &format!("10.{it}.0.1"), &format!("eve{it}@evil.example")))
        .collect();
    assert_eq!(count(&many, 503), 60 - count(&many, 200));
    assert!(count(&many, 200) <= 26, "{many:?}");
    let tenants = rows(
        data.path().join("registry.db").to_str().unwrap(),
        "SELECT count(*) FROM tenants WHERE origin = 'sign_up'",
    );
    assert!(tenants <= 30, "{tenants} tenants for a total of 20 and a reserve of 10");
    let mail = wait_for("a mail", || {
        common::mailbox(data.path()).first().cloned().ok_or("no mail".to_owned())
    });
    let subject = mail.lines().find(|line| line.starts_with("Subject:")).unwrap();
    assert!(!subject.contains("Acme"), "a stranger's text is in no subject: {subject}");
}

/// A page of another site cannot spend the guesses of an office, or its mails.
#[test]
fn cross_site_requests_count_for_nobody() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[("REGISTRY_RATE_LIMIT_CODE_GUESSES", "3")]);
    let (_, code) = server.register("Office", "pro");
    let body = json!({ "claim_code": UNKNOWN, "appliance_id": "a" }).to_string();
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        for _ in 0..10 {
            let request = server.post("/register").header(name, value).body(body.clone());
            assert_eq!(request.send().unwrap().status(), 415, "{name}");
        }
    }
    assert_eq!(server.post("/register").body(body).send().unwrap().status(), 404, "a program");
    assert_eq!(server.redeem(&code).0, 200);
}

/// Responses that no browser shows as a page may not be kept, framed or run.
#[test]
fn every_response_has_security_headers() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[]);
    for path in ["/docs/", "/openapi.json", "/metrics", "/healthz", "/nowhere", "/tenants"] {
        let response = server.get(path).send().unwrap();
        let header = |name: &str| response.headers().get(name).map(|it| it.to_str().unwrap());
        assert_eq!(header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(header("cache-control"), Some("no-store"), "{path}");
        let policy = header("content-security-policy").unwrap();
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
    }
}
