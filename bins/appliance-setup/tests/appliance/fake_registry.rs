//! A fake of the registry's endpoint for redemptions, with prepared responses.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::json;

pub(crate) const TENANT: &str = "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73";

/// A registry that records the requests.
pub(crate) struct FakeRegistry {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeRegistry {
    /// Starts a registry that sends these responses (status and body), one for each connection, and
    /// then no more. An empty status closes the connection without a response.
    pub(crate) fn start(responses: &[(&str, String)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let recorded = requests.clone();
        let responses: Vec<_> =
            responses.iter().map(|(status, body)| ((*status).to_owned(), body.clone())).collect();
        std::thread::spawn(move || {
            for (status, body) in responses {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let mut part = [0; 4096];
                while !String::from_utf8_lossy(&request).contains("\"claim_code\"") {
                    let read = stream.read(&mut part).unwrap();
                    assert_ne!(read, 0, "the request ended without a code");
                    request.extend_from_slice(&part[..read]);
                }
                recorded.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
                if !status.is_empty() {
                    let response = format!(
                        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\
                         connection: close\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(response.as_bytes()).unwrap();
                }
            }
        });
        Self { url, requests }
    }

    /// Starts a registry that accepts one redemption.
    pub(crate) fn with_identity() -> Self {
        Self::start(&[("200 OK", identity())])
    }

    /// Returns the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Returns the body of a successful redemption. The edition is `essentials`, because other editions
/// come with a license, which only a real registry can sign.
pub(crate) fn identity() -> String {
    json!({
        "tenant_id": TENANT,
        "edition": "essentials",
        "company_name": "Acme",
        "contact_email": "a@example.com",
    })
    .to_string()
}

/// Returns the body that refuses an expired code.
pub(crate) fn expired_code() -> String {
    r#"{"error":"Install code has expired. Request a fresh one.","code":"expired_claim_code"}"#
        .to_owned()
}

/// Returns the value of a request's header. `name` includes the colon.
pub(crate) fn header(request: &str, name: &str) -> String {
    let value = request
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(str::to_owned));
    value.unwrap_or_else(|| panic!("no {name} in {request}"))
}
