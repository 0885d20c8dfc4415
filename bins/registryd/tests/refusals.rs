//! Bad input: a 4xx in our form, and nothing lost.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "each test binary uses its part of the harness")]

mod both;
mod common;
mod fleet;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use both::{Environment, on_both_databases, with};
use common::{Server, answer, start, text};
use serde_json::{Value, json};

on_both_databases!(
    whatever_is_sent_to_register_is_refused_in_one_form_and_the_code_stays_live,
    a_registration_with_a_bad_value_names_the_field_and_registers_nobody,
    services_need_their_token,
    unknown_paths_and_wrong_methods_answer_in_our_form,
    odd_queries_are_refused_and_name_the_parameter,
    guessing_is_throttled_by_source_and_only_a_trusted_proxy_names_another,
    a_body_that_does_not_arrive_times_out_and_one_that_is_cut_off_changes_nothing,
    clients_that_do_not_read_their_answers_give_their_places_up,
);

fn code_of((status, body): &(u16, Value)) -> (u16, String) {
    (*status, text(&body["code"]))
}

fn redeem(server: &Server, body: impl Into<reqwest::blocking::Body>) -> (u16, Value) {
    answer(
        server
            .post("/register")
            .header("content-type", "application/json")
            .body(body)
            .send()
            .unwrap(),
    )
}

fn whatever_is_sent_to_register_is_refused_in_one_form_and_the_code_stays_live(
    environment: Environment,
) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    let (_, code) = server.register("Acme", "pro");
    let with = |code: &str| json!({ "claim_code": code, "appliance_id": "a" }).to_string();
    for (body, status, word) in [
        (String::new(), 400, "invalid_request"),
        ("{".to_owned(), 400, "invalid_request"),
        ("nonsense".to_owned(), 400, "invalid_request"),
        ("[]".to_owned(), 422, "invalid_request"),
        ("null".to_owned(), 422, "invalid_request"),
        ("{}".to_owned(), 422, "invalid_request"),
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
        assert_eq!(
            code_of(&got),
            (status, word.to_owned()),
            "{}",
            body.chars().take(80).collect::<String>()
        );
    }
    for invalid in [&b"\"\xff\""[..], b"{\"ignored\": \"\xff\"}"] {
        assert_eq!(
            code_of(&redeem(&server, invalid.to_vec())),
            (400, "invalid_request".to_owned())
        );
    }
    let zipped = server
        .post("/register")
        .header("content-encoding", "gzip")
        .header("content-type", "application/json");
    assert_eq!(code_of(&answer(zipped.body(with(&code)).send().unwrap())).0, 415);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let request = server.post("/register").header("content-type", kind).body(with(&code));
        assert_eq!(
            code_of(&answer(request.send().unwrap())),
            (415, "unsupported_media_type".to_owned()),
            "{kind}"
        );
    }
    assert_eq!(server.redeem(&code).0, 200);
}

fn a_registration_with_a_bad_value_names_the_field_and_registers_nobody(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    for (field, value) in [
        ("company_name", json!("")),
        ("company_name", json!("x".repeat(201))),
        ("company_name", json!("a\u{0}b")),
        ("company_name", json!(["x"])),
        ("contact_email", json!("ada.example.com")),
        ("contact_email", json!("ada@example.com\r\nBcc: eve@example.com")),
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
        let got = server.service("/register-tenant", &body);
        assert_eq!(code_of(&got), (422, "invalid_request".to_owned()), "{field}: {value}");
        assert_eq!(got.1["reason"], field, "{value}: {}", got.1);
    }
    assert_eq!(server.look("/tenants").1["items"], json!([]));
}

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
                code_of(&answer(response)),
                (401, "unauthorized".to_owned()),
                "{header:?} {path}"
            );
        }
    }
    assert_eq!(server.look("/tenants").0, 200);
}

fn unknown_paths_and_wrong_methods_answer_in_our_form(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    for (method, path, status, word) in [
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
        assert_eq!(code_of(&answer(response)), (status, word.to_owned()), "{method} {path}");
    }
}

fn odd_queries_are_refused_and_name_the_parameter(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), environment);
    server.register("Acme", "pro");
    for (query, reason) in [
        ("limit=0", json!("limit")),
        ("limit=201", json!("limit")),
        ("limit=many", json!("limit")),
        ("status=happy", json!("status")),
        ("edition=platinum", json!("edition")),
        ("deployment_type=cloud", json!("deployment_type")),
        ("cursor=nonsense", json!("cursor")),
        ("cursor=9223372036854775807.019ab3c45d6e7f809a1b2c3d4e5f6071", json!("cursor")),
        ("query=%00", json!("query")),
    ] {
        let got = server.look(&format!("/tenants?{query}"));
        assert_eq!(
            (code_of(&got), &got.1["reason"]),
            ((422, "invalid_request".to_owned()), &reason),
            "{query}"
        );
    }
    let twice = server.look("/tenants?limit=1&limit=2");
    assert_eq!(code_of(&twice), (422, "invalid_request".to_owned()));
    assert_eq!(server.look("/tenants/%ff").1["code"], "tenant_not_found");
    assert_eq!(answer(server.get("/files/%ff").send().unwrap()).1["code"], "invalid_link");
    assert_eq!(
        server.look("/tenants?query=&limit=&status=").1["items"].as_array().unwrap().len(),
        1
    );
    assert_eq!(
        server.look("/tenants?query=&limit=200&unknown=1").1["items"].as_array().unwrap().len(),
        1
    );
}

fn guessing_is_throttled_by_source_and_only_a_trusted_proxy_names_another(
    environment: Environment,
) {
    let data = tempfile::tempdir().unwrap();
    let more =
        [("REGISTRY_GUESSES_LIMIT", "3"), ("REGISTRY_HTTP_TRUSTED_PROXIES", "['127.0.0.1/32']")];
    let server = start(data.path(), &with(environment, &more));
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
    assert_eq!(code_of(&answer(refused)), (429, "too_many_attempts".to_owned()));
    assert_eq!(redeem("203.0.113.8", &code).status(), 200);

    drop(server);
    let server = start(data.path(), &with(environment, &[("REGISTRY_GUESSES_LIMIT", "3")]));
    let body = json!({ "claim_code": "AAAA-BBBB-CCCC", "appliance_id": "a" });
    let guess = |source: &str| {
        server.post("/register").header("x-forwarded-for", source).json(&body).send().unwrap()
    };
    let statuses: Vec<u16> =
        (0..4).map(|number| guess(&format!("203.0.113.{number}")).status().as_u16()).collect();
    assert_eq!(statuses, [404, 404, 404, 429]);
}

fn a_body_that_does_not_arrive_times_out_and_one_that_is_cut_off_changes_nothing(
    environment: Environment,
) {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &with(environment, &[("REGISTRY_HTTP_READ_TIMEOUT", "300ms")]));
    let (_, code) = server.register("Acme", "pro");
    let address = server.url.strip_prefix("http://").unwrap();
    let head = "POST /register HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n";
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(format!("{head}{{").as_bytes()).unwrap();
    let mut answered = String::new();
    slow.read_to_string(&mut answered).unwrap();
    assert!(
        answered.starts_with("HTTP/1.1 408") && answered.contains("\"request_timeout\""),
        "{answered}"
    );
    let mut cut = TcpStream::connect(address).unwrap();
    cut.write_all(format!("{head}{{\"claim_code\": \"{code}\"").as_bytes()).unwrap();
    drop(cut);
    let mut silent = TcpStream::connect(address).unwrap();
    silent.write_all(b"POST /register HTTP/1.1\r\nhost: he").unwrap();
    answered.clear();
    silent.read_to_string(&mut answered).unwrap();
    assert_eq!(server.redeem(&code).0, 200);
}

fn clients_that_do_not_read_their_answers_give_their_places_up(environment: Environment) {
    let data = tempfile::tempdir().unwrap();
    let more = [("REGISTRY_HTTP_CONNECTIONS", "3"), ("REGISTRY_HTTP_READ_TIMEOUT", "500ms")];
    let server = start(data.path(), &with(environment, &more));
    let address = server.url.strip_prefix("http://").unwrap();
    let many = "GET /openapi.json HTTP/1.1\r\nhost: here\r\n\r\n".repeat(2_000);
    let greedy: Vec<_> = (0..3)
        .map(|_| {
            let mut socket = TcpStream::connect(address).unwrap();
            socket.set_write_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
            // It breaks off where the server takes no more, which is what this wants.
            drop(socket.write_all(many.as_bytes()));
            socket
        })
        .collect();
    assert_eq!(server.get("/healthz").send().unwrap().status(), 200);
    drop(greedy);
}
