//! Bad input: a 4xx in the one form of errors, and nothing lost.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod common;
mod databases;
mod fleet;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use common::{ApiResponse, Server, read_response, start, text, wait_for};
use databases::{Environment, on_both_databases, with};
use reqwest::blocking::Body;
use serde_json::json;

on_both_databases!(
    bad_redemption_is_refused_in_one_form,
    bad_registration_names_field,
    services_need_their_token,
    unknown_path_and_method_are_problems,
    broken_http_gets_no_body,
    bad_query_names_parameter,
    guesses_are_limited_by_source,
    slow_body_times_out,
    client_that_reads_nothing_is_dropped,
);

fn code_of((status, body): &ApiResponse) -> (u16, String) {
    (*status, text(&body["code"]))
}

fn redeem(server: &Server, body: impl Into<Body>) -> ApiResponse {
    let call = server.post("/register").header("content-type", "application/json");
    read_response(call.body(body).send().unwrap())
}

/// R-errors-1, R-errors-7, R-errors-8, R-general-9, R-codes-4, R-register-22.
fn bad_redemption_is_refused_in_one_form(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (_, code) = server.register("Acme", "pro");
    let with = |code: &str| json!({ "claim_code": code, "appliance_id": "a" }).to_string();
    for (body, status, expected) in [
        (String::new(), 400, "invalid_request"),
        ("{".to_owned(), 400, "invalid_request"),
        ("nonsense".to_owned(), 400, "invalid_request"),
        ("[]".to_owned(), 422, "invalid_request"),
        ("null".to_owned(), 422, "invalid_request"),
        ("{}".to_owned(), 422, "invalid_request"),
        (r#"{"claim_code": "a", "claim_code": "b"}"#.to_owned(), 422, "invalid_request"),
        ("[".repeat(5_000), 400, "invalid_request"),
        (format!("{{\"unknown\": {}", "[".repeat(5_000)), 400, "invalid_request"),
        (json!({ "claim_code": 12, "appliance_id": "a" }).to_string(), 422, "invalid_request"),
        (json!({ "claim_code": code, "appliance_id": "" }).to_string(), 422, "invalid_request"),
        (json!({ "claim_code": code, "appliance_id": null }).to_string(), 422, "invalid_request"),
        (
            json!({ "claim_code": code, "appliance_id": "a\u{0}" }).to_string(),
            422,
            "invalid_request",
        ),
        (json!({ "claim_code": code }).to_string(), 422, "invalid_request"),
        (with("🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀"), 404, "invalid_claim_code"),
        (with("\u{0}\u{1}\u{2}\u{1b}[31m"), 404, "invalid_claim_code"),
        (with(&"A".repeat(30_000)), 404, "invalid_claim_code"),
        (with(&"A".repeat(1_000_000)), 413, "payload_too_large"),
        (" ".repeat(65_537), 413, "payload_too_large"),
    ] {
        let got = redeem(&server, body.clone());
        let shown: String = body.chars().take(80).collect();
        assert_eq!(code_of(&got), (status, expected.to_owned()), "{shown}");
    }
    for not_utf8 in [&b"\"\xff\""[..], b"{\"ignored\": \"\xff\"}"] {
        let got = redeem(&server, not_utf8.to_vec());
        assert_eq!(code_of(&got), (400, "invalid_request".to_owned()));
    }
    let unsupported = (415, "unsupported_media_type".to_owned());
    let zipped = server
        .post("/register")
        .header("content-encoding", "gzip")
        .header("content-type", "application/json");
    assert_eq!(code_of(&read_response(zipped.body(with(&code)).send().unwrap())), unsupported);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let request = server.post("/register").header("content-type", kind).body(with(&code));
        assert_eq!(code_of(&read_response(request.send().unwrap())), unsupported, "{kind}");
    }
    // A body without a declared type is read as JSON, and the code is still live.
    let undeclared = server.post("/register").body(with(&code));
    assert_eq!(read_response(undeclared.send().unwrap()).0, 200);
}

/// R-errors-7, R-register-tenant-12, R-general-6.
fn bad_registration_names_field(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    for (field, value) in [
        ("company_name", json!("")),
        ("company_name", json!("x".repeat(201))),
        ("company_name", json!("a\u{0}b")),
        ("company_name", json!(["x"])),
        ("contact_email", json!("ada.example.com")),
        ("contact_email", json!("ada@example.com\r\nBcc: eve@example.com")),
        ("contact_email", json!("\"a b\"@example.com")),
        ("contact_email", json!("Ada <ada@example.com>")),
        ("contact_name", json!("Ada\nLovelace")),
        ("edition", json!("platinum")),
        ("edition", json!(null)),
        ("product_code", json!("toaster")),
        ("deployment_type", json!("cloud")),
        ("seats", json!(0)),
        ("seats", json!(-5)),
        ("seats", json!(2.5)),
        ("seats", json!(99_999_999_999_i64)),
        ("stripe_sub_id", json!("x".repeat(256))),
        ("region", json!("x".repeat(65))),
        ("send_email", json!("yes")),
    ] {
        let mut body =
            json!({ "company_name": "Acme", "contact_email": "a@example.com", "edition": "pro" });
        body[field] = value.clone();
        let got = server.post_as_service("/register-tenant", &body);
        assert_eq!(code_of(&got), (422, "invalid_request".to_owned()), "{field}: {value}");
        assert_eq!(got.1["reason"], field, "{value}: {}", got.1);
    }
    assert_eq!(server.get_as_service("/tenants").1["items"], json!([]));
}

/// R-bearer-1, R-bearer-2, R-bearer-3: the token is checked before the body, here not JSON.
fn services_need_their_token(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let wrong = "0".repeat(64);
    for header in [
        None,
        Some("Bearer"),
        Some("Bearer "),
        Some("Basic YTpi"),
        Some(&*format!("Bearer {wrong}")),
    ] {
        for (method, path) in [
            ("POST", "/register-tenant"),
            ("POST", "/install-codes/reissue"),
            ("POST", "/claim-codes"),
            ("POST", "/sign"),
            ("POST", "/revoke"),
            ("POST", "/verify-appliance"),
            ("GET", "/tenants"),
            ("GET", "/tenants/x"),
        ] {
            let mut request = server.request(method, path).body("{");
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            let response = request.send().unwrap();
            assert_eq!(response.headers().get("www-authenticate").unwrap(), "Bearer");
            assert_eq!(
                code_of(&read_response(response)),
                (401, "unauthorized".to_owned()),
                "{header:?} {path}"
            );
        }
    }
    assert_eq!(server.get_as_service("/tenants").0, 200);
    let no_json = server.post("/sign").bearer_auth(&server.token).body("{");
    assert_eq!(read_response(no_json.send().unwrap()).0, 400, "with the token, the body is read");
    // Other refusals with this status have codes of their own.
    assert_eq!(server.check_in(&wrong).1["code"], "revoked_appliance");
    assert_eq!(server.verify(&wrong).1["code"], "invalid_credential");
}

/// R-general-9.
fn unknown_path_and_method_are_problems(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    for (method, path, status, code) in [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/register/", 404, "not_found"),
        ("GET", "/docs/nothing", 404, "not_found"),
        ("GET", "/%ff", 404, "not_found"),
        ("GET", "/register", 405, "method_not_allowed"),
        ("DELETE", "/tenants", 405, "method_not_allowed"),
        ("PUT", "/register-tenant", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
    ] {
        let response = server.request(method, path).send().unwrap();
        assert_eq!(response.headers().contains_key("allow"), status == 405, "{method} {path}");
        assert_eq!(code_of(&read_response(response)), (status, code.to_owned()), "{method} {path}");
    }
}

/// R-general-9: input that is not an HTTP request gets a status without a body.
fn broken_http_gets_no_body(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let address = server.url.strip_prefix("http://").unwrap();
    let many_headers = "a: b\r\n".repeat(150);
    for (request, status) in [
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (format!("GET /{} HTTP/1.1\r\nhost: here\r\n\r\n", "x".repeat(70_000)), "414"),
        (format!("GET /healthz HTTP/1.1\r\n{many_headers}\r\n"), "431"),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {response}");
        assert!(response.ends_with("\r\n\r\n"), "{status} has a body: {response}");
    }
}

/// R-tenants-4, R-tenant-3.
fn bad_query_names_parameter(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    server.register("Acme", "pro");
    for (query, reason) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=many", "limit"),
        ("status=happy", "status"),
        ("edition=platinum", "edition"),
        ("deployment_type=cloud", "deployment_type"),
        ("cursor=nonsense", "cursor"),
        ("cursor=9223372036854775807.019ab3c45d6e7f809a1b2c3d4e5f6071", "cursor"),
        ("query=%00", "query"),
    ] {
        let got = server.get_as_service(&format!("/tenants?{query}"));
        assert_eq!(
            (code_of(&got), &got.1["reason"]),
            ((422, "invalid_request".to_owned()), &json!(reason)),
            "{query}"
        );
    }
    let twice = server.get_as_service("/tenants?limit=1&limit=2");
    assert_eq!(code_of(&twice), (422, "invalid_request".to_owned()));
    assert_eq!(server.get_as_service("/tenants/%ff").1["code"], "tenant_not_found");
    assert_eq!(read_response(server.get("/files/%ff").send().unwrap()).1["code"], "invalid_link");
    for empty in ["query=&limit=&status=", "query=&limit=200&unknown=1"] {
        let listed = server.get_as_service(&format!("/tenants?{empty}")).1;
        assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{empty}");
    }
}

/// R-guessing-2, R-guessing-4, R-errors-6.
fn guesses_are_limited_by_source(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let limit = ("REGISTRY_RATE_LIMIT_CODE_GUESSES", "3");
    let proxy = ("REGISTRY_HTTP_TRUSTED_PROXIES", "['127.0.0.1/32']");
    let server = start(data.path(), &with(environment, &[limit, proxy]));
    let (_, code) = server.register("Acme", "pro");
    let redeem = |source: &str, code: &str| {
        let body = json!({ "claim_code": code, "appliance_id": "a" });
        server.post("/register").header("x-forwarded-for", source).json(&body).send().unwrap()
    };
    for _ in 0..3 {
        assert_eq!(redeem("203.0.113.7", "AAAA-BBBB-CCCC").status(), 404);
    }
    let refused = redeem("198.51.100.1, 203.0.113.7", &code);
    let wait: u64 =
        refused.headers().get("retry-after").unwrap().to_str().unwrap().parse().unwrap();
    assert!((1..=600).contains(&wait), "{wait}");
    assert_eq!(code_of(&read_response(refused)), (429, "too_many_attempts".to_owned()));
    assert_eq!(redeem("203.0.113.8", &code).status(), 200);

    drop(server);
    let server = start(data.path(), &with(environment, &[limit]));
    let body = json!({ "claim_code": "AAAA-BBBB-CCCC", "appliance_id": "a" });
    let guess = |source: &str| {
        server.post("/register").header("x-forwarded-for", source).json(&body).send().unwrap()
    };
    let statuses: Vec<u16> =
        (0..4).map(|number| guess(&format!("203.0.113.{number}")).status().as_u16()).collect();
    assert_eq!(statuses, [404, 404, 404, 429], "without a trusted proxy the header does not count");
}

fn slow_body_times_out(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &with(environment, &[("REGISTRY_HTTP_READ_TIMEOUT", "300ms")]));
    let (_, code) = server.register("Acme", "pro");
    let address = server.url.strip_prefix("http://").unwrap();
    let head = "POST /register HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n";
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(format!("{head}{{").as_bytes()).unwrap();
    let mut response = String::new();
    slow.read_to_string(&mut response).unwrap();
    assert!(
        response.starts_with("HTTP/1.1 503") && response.contains("\"request_timeout\""),
        "{response}"
    );
    let mut cut_off = TcpStream::connect(address).unwrap();
    cut_off.write_all(format!("{head}{{\"claim_code\": \"{code}\"").as_bytes()).unwrap();
    drop(cut_off);
    let mut silent = TcpStream::connect(address).unwrap();
    silent.write_all(b"POST /register HTTP/1.1\r\nhost: he").unwrap();
    response.clear();
    silent.read_to_string(&mut response).unwrap();
    assert_eq!(server.redeem(&code).0, 200, "the code is still live");
}

fn client_that_reads_nothing_is_dropped(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let limits = [("REGISTRY_HTTP_CONNECTIONS", "6"), ("REGISTRY_HTTP_READ_TIMEOUT", "500ms")];
    let server = start(data.path(), &with(environment, &limits));
    let address = server.url.strip_prefix("http://").unwrap();
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: here\r\n\r\n".repeat(2_000);
    // Three clients that send, and read nothing, take all connections that one source may have.
    let greedy: Vec<_> = (0..3)
        .map(|_| {
            let mut socket = TcpStream::connect(address).unwrap();
            socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
            // An error means that the server's buffers are full, as this test needs them.
            drop(socket.write_all(requests.as_bytes()));
            socket
        })
        .collect();
    wait_for("a connection", || match server.get("/healthz").send() {
        Ok(response) if response.status() == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    drop(greedy);
}
