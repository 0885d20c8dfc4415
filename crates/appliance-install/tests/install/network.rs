//! Each kind of network trouble, made to happen: it is told apart, and never taken for a refusal or
//! an identity.

use std::time::Duration;

use appliance_install::{
    Client, ClientError, RedeemClient as _, RedeemOutcome, RedeemRequest, SecretText, ServiceError,
    Trust,
};
use throwaway_servers::{SmtpOptions, SmtpServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn trust() -> Trust {
    Trust {
        given: None,
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

/// Something that reads a request and answers with these bytes, or not at all.
async fn server(answer: Option<Vec<u8>>, holds: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 65_536];
                drop(stream.read(&mut request).await);
                if let Some(answer) = answer {
                    drop(stream.write_all(&answer).await);
                }
                if holds {
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
async fn each_kind_of_trouble_has_its_own_message_and_is_no_refusal() {
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
    for (what, service, expected) in [
        ("no such name", "http://registry.invalid".to_owned(), ServiceError::Dns),
        ("nobody listens", refusing, ServiceError::Refused),
        ("silence", server(None, true).await, ServiceError::TimedOut),
        ("cut before the answer", server(None, false).await, ServiceError::BrokeOff),
        ("cut in the answer", server(Some(cut), false).await, ServiceError::CutShort),
        (
            "a certificate of nobody's",
            format!("https://localhost:{}", tls.port()),
            ServiceError::Tls { detail: String::new() },
        ),
        (
            "a network login",
            server(Some(http("302 Found", "location: http://login.example/\r\n", "")), false).await,
            ServiceError::Redirected { to: "http://login.example/".into() },
        ),
        (
            "a page",
            server(Some(http("200 OK", "", "<html>hi</html>")), false).await,
            ServiceError::NotTheService { status: 200 },
        ),
        (
            "half an identity",
            server(Some(http("200 OK", "", "{}")), false).await,
            ServiceError::NotTheService { status: 200 },
        ),
        (
            "no page",
            server(Some(http("404 Not Found", "", "nginx")), false).await,
            ServiceError::NotTheService { status: 404 },
        ),
        (
            "a failure",
            server(Some(http("500 Oh", "", "{}")), false).await,
            ServiceError::Failing { status: 500 },
        ),
        (
            "too busy",
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
            panic!("{what} is no service_error")
        };
        match (&service_error, &expected) {
            (ServiceError::Tls { detail }, ServiceError::Tls { .. }) => assert!(!detail.is_empty()),
            _ => assert_eq!(service_error, expected, "{what}"),
        }
        let message = service_error.message(&service);
        assert!(
            message.starts_with(&format!("Could not reach the license service at {service}: ")),
            "{message}"
        );
        messages.insert(service_error.message("it"));
    }
    assert_eq!(messages.len(), 12, "one for each kind and status");
}

#[tokio::test]
async fn a_refusal_is_shown_in_the_registrys_words() {
    let body =
        r#"{"error":"Install code has expired, on 2026-11-24.","code":"expired_claim_code"}"#;
    let service =
        server(Some(http("410 Gone", "content-type: application/problem+json\r\n", body)), false)
            .await;
    let RedeemOutcome::Refused(refused) = redeem(&service).await else { panic!("a refusal") };
    assert_eq!(
        (refused.code.as_str(), refused.text.as_str()),
        ("expired_claim_code", "Install code has expired, on 2026-11-24.")
    );
}

#[test]
fn an_address_that_is_none_is_refused() {
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
