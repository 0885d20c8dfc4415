//! Real failures of the network: each has its own error, and none counts as a refusal or as an
//! identity.

use std::time::Duration;

use appliance_install::{
    Admin, Client, ClientError, Files, Install, Job, Next, ProvisioningMethod, RedeemClient as _,
    RedeemOutcome, RedeemRequest, SecretText, ServiceError, SetupForm, Trust, UnverifiedIdentity,
    UnverifiedLicense,
};
use throwaway_servers::{SmtpOptions, SmtpServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use uuid::Uuid;

fn trust() -> Trust {
    Trust {
        configured: None,
        pinned: "/nowhere/keys.json".into(),
        issuer: "appliance-registry".to_owned(),
        free_edition: "essentials".to_owned(),
    }
}

async fn redeem(service: &str) -> RedeemOutcome {
    let client = Client::new(service, None, trust(), Duration::from_secs(3)).unwrap();
    let request = RedeemRequest {
        code: SecretText::new("K7QP-M2RX-9TDV".to_owned()),
        appliance_id: "appliance-1".to_owned(),
        idempotency_key: "0123456789abcdef".to_owned(),
    };
    client.redeem(&request).await
}

/// Starts a server that reads a request and sends `response`, if any. The server then closes the
/// connection, or keeps it open for longer than the client's timeout.
async fn server(response: Option<Vec<u8>>, keeps_open: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let response = response.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 65_536];
                drop(stream.read(&mut request).await);
                if let Some(response) = response {
                    drop(stream.write_all(&response).await);
                }
                if keeps_open {
                    tokio::time::sleep(Duration::from_mins(1)).await;
                }
            });
        }
    });
    format!("http://{address}")
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

#[tokio::test]
async fn each_failure_has_its_own_message() {
    let tls =
        SmtpServer::start(SmtpOptions { implicit_tls: true, ..SmtpOptions::default() }).unwrap();
    let down = SmtpServer::start(SmtpOptions::default()).unwrap();
    let refusing = format!("http://127.0.0.1:{}", down.port());
    drop(down);
    let whole = r#"{"tenant_id":"019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73","edition":"essentials","#;
    let mut cut =
        http("200 OK", "", &format!("{whole}\"company_name\":\"Acme\",\"contact_email\":\"\"}}"));
    cut.truncate(cut.len() - 20);
    let mut messages = std::collections::BTreeSet::new();
    for (case, service, expected) in [
        ("unknown host name", "http://registry.invalid".to_owned(), ServiceError::Dns),
        ("no listener", refusing, ServiceError::Refused),
        ("no response", server(None, true).await, ServiceError::TimedOut),
        ("closed before the response", server(None, false).await, ServiceError::Disconnected),
        ("closed within the response", server(Some(cut), false).await, ServiceError::Truncated),
        (
            "untrusted certificate",
            format!("https://localhost:{}", tls.port()),
            ServiceError::Tls { detail: String::new() },
        ),
        (
            "login page",
            server(Some(http("302 Found", "location: http://login.example/\r\n", "")), false).await,
            ServiceError::Redirected { to: "http://login.example/".into() },
        ),
        (
            "HTML page",
            server(Some(http("200 OK", "", "<html>hi</html>")), false).await,
            ServiceError::NotTheService { status: 200 },
        ),
        (
            "incomplete identity",
            server(Some(http("200 OK", "", "{}")), false).await,
            ServiceError::NotTheService { status: 200 },
        ),
        (
            "not found",
            server(Some(http("404 Not Found", "", "nginx")), false).await,
            ServiceError::NotTheService { status: 404 },
        ),
        (
            "server error",
            server(Some(http("500 Oh", "", "{}")), false).await,
            ServiceError::ServerError { status: 500 },
        ),
        (
            "overload",
            server(Some(http("503 Busy", "retry-after: 9\r\n", "")), false).await,
            ServiceError::Busy { retry_after: Some(9) },
        ),
        (
            "not HTTP",
            server(Some(b"SSH-2.0-hello\r\n".to_vec()), false).await,
            ServiceError::NotHttp,
        ),
    ] {
        let RedeemOutcome::ServiceError(service_error) = redeem(&service).await else {
            panic!("{case}: expected a service error")
        };
        match (&service_error, &expected) {
            (ServiceError::Tls { detail }, ServiceError::Tls { .. }) => assert!(!detail.is_empty()),
            _ => assert_eq!(service_error, expected, "{case}"),
        }
        let message = service_error.message(&service);
        let responded =
            matches!(service_error, ServiceError::ServerError { .. } | ServiceError::Busy { .. });
        let start = if responded {
            format!("The license service at {service} could not be used: ")
        } else {
            format!("Could not reach the license service at {service}: ")
        };
        assert!(message.starts_with(&start), "{message}");
        messages.insert(service_error.message("it"));
    }
    assert_eq!(messages.len(), 12, "one message for each kind and status");
}

#[tokio::test]
async fn refusal_has_the_registrys_text() {
    let body =
        r#"{"error":"Install code has expired, on 2026-11-24.","code":"expired_claim_code"}"#;
    let service =
        server(Some(http("410 Gone", "content-type: application/problem+json\r\n", body)), false)
            .await;
    let RedeemOutcome::Refused(refusal) = redeem(&service).await else {
        panic!("expected a refusal")
    };
    assert_eq!(
        (refusal.code.as_str(), refusal.text.as_str()),
        ("expired_claim_code", "Install code has expired, on 2026-11-24.")
    );
}

/// R-secrets-1.
#[tokio::test]
async fn password_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = format!("http://{}", listener.local_addr().unwrap());
    let received = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut request, mut chunk) = (Vec::new(), [0; 4_096]);
        // The body is one JSON object.
        while !request.ends_with(b"}") {
            let length = stream.read(&mut chunk).await.unwrap();
            assert_ne!(length, 0, "the request is incomplete");
            request.extend_from_slice(&chunk[..length]);
        }
        String::from_utf8(request).unwrap()
    });
    let secret = |text: &str| SecretText::new(text.to_owned());
    let admin = Admin {
        first_name: "Ada".into(),
        last_name: "Lovelace".into(),
        email: "ada@example.com".into(),
        password: secret("correct horse battery staple"),
    };
    let method = ProvisioningMethod::Code { code: secret("K7QP-M2RX-9TDV") };
    let folder = tempfile::tempdir().unwrap();
    let mut install = Install::open(folder.path(), "appliance-1".to_owned()).unwrap();
    let setup_form = SetupForm { company: "Acme".into(), admin, method };
    install.submit(setup_form, "0123456789abcdef".to_owned()).unwrap();
    let client = Client::new(&service, None, trust(), Duration::from_secs(3)).unwrap();
    let product = Files::new(folder.path().join("out"), "default".into(), Job::None);
    let next = install.advance(&client, &product, 0).await.unwrap();
    assert!(matches!(next, Next::Retry { .. }), "{next:?}");
    let request = received.await.unwrap();
    assert!(request.contains("K7QP-M2RX-9TDV"), "{request}");
    assert!(!request.contains("correct horse"), "{request}");
}

#[test]
fn invalid_address_is_rejected() {
    for address in [
        "",
        "registry.example",
        "ftp://registry.example",
        "https://",
        "https://registry.example/path",
    ] {
        assert!(
            matches!(
                Client::new(address, None, trust(), Duration::from_secs(1)),
                Err(ClientError::Address(_))
            ),
            "{address}"
        );
    }
    let authority =
        Client::new("https://registry.example", Some(b"no PEM"), trust(), Duration::from_secs(1));
    assert!(matches!(authority, Err(ClientError::Authority(_))));
}

#[test]
fn remote_plain_http_is_not_confidential() {
    let client =
        |service: &str| Client::new(service, None, trust(), Duration::from_secs(1)).unwrap();
    for service in ["https://registry.example", "http://127.0.0.1:8080", "http://localhost"] {
        assert!(client(service).check_confidential().is_ok(), "{service}");
    }
    for service in ["http://registry.example", "http://192.0.2.1:8080"] {
        let error = client(service).check_confidential().unwrap_err();
        assert!(matches!(error, ClientError::NotConfidential { proxy: None, .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(service) && text.contains("--insecure-http"), "{text}");
        assert!(client(service).with_plain_http(true).check_confidential().is_ok(), "{service}");
    }
    let error = ClientError::NotConfidential {
        service: "http://registry.example".to_owned(),
        proxy: Some("proxy.example:3128".to_owned()),
    };
    let text = error.to_string();
    assert!(text.contains("go through the proxy proxy.example:3128"), "{text}");
}

#[tokio::test]
async fn check_in_url_must_be_confidential() {
    let unverified = |check_in_url: &str| UnverifiedIdentity {
        tenant_id: Uuid::from_u128(7),
        edition: "pro".to_owned(),
        paid: Some(UnverifiedLicense {
            license: SecretText::new("a.b.c".to_owned()),
            credential: SecretText::new("00ff".to_owned()),
            check_in_url: check_in_url.to_owned(),
        }),
    };
    // No program listens there, so the keys of an accepted response cannot be fetched.
    let (local, tls) = ("http://127.0.0.1:1", "https://127.0.0.1:1");
    for (service, check_in_url, plain_http, is_refused) in [
        (local, "http://localhost/check-in", false, false),
        (local, "https://registry.example/check-in", false, false),
        (local, "http://registry.example/check-in", false, true),
        (local, "registry.example/check-in", false, true),
        (local, "http://registry.example/check-in", true, false),
        (tls, "http://127.0.0.1:1/check-in", false, true),
        (tls, "http://127.0.0.1:1/check-in", true, false),
    ] {
        let client = Client::new(service, None, trust(), Duration::from_secs(3)).unwrap();
        let client = client.with_plain_http(plain_http);
        let error = client.verify(&unverified(check_in_url)).await.unwrap_err();
        let text = format!("{service}, {check_in_url}, {plain_http}: {error:?}");
        assert_eq!(error != ServiceError::Refused, is_refused, "{text}");
        assert_eq!(text.contains("--insecure-http is not set"), is_refused, "{text}");
    }
}
