//! The registry over HTTPS.

use std::error::Error as StdError;
use std::io::ErrorKind;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use serde_json::json;

use crate::outcome::{Outcome, Redeeming, Request, read};
use crate::trouble::Trouble;

/// How large an answer may be, in bytes: the registry's have a few thousand.
const ANSWER: usize = 256 * 1024;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("`{0}` is not the address of a license service: http or https, and nothing after the host")]
    Address(String),
    /// The certificate authority cannot be used.
    #[error("the certificate authority cannot be used: {0}")]
    Authority(String),
    /// TLS cannot be used on this machine.
    #[error("TLS cannot be used: {0}")]
    Tls(String),
}

/// A registry at its address.
pub struct Client {
    http: reqwest::Client,
    service: String,
}

impl Client {
    /// The registry at `service`, where a call may take `timeout`. The system's certificate authorities are trusted, and
    /// `ca_pem`, where one is given. Proxies are those of the environment.
    pub fn new(service: &str, ca_pem: Option<&[u8]>, timeout: Duration) -> Result<Self, ClientError> {
        let service = service.trim().trim_end_matches('/').to_owned();
        let host = service.strip_prefix("https://").or_else(|| service.strip_prefix("http://")).unwrap_or_default();
        if host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) {
            return Err(ClientError::Address(service));
        }
        // Fails where the process has chosen one already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        // A redirect is trouble to be told, not to be followed with a code in hand.
        let mut http =
            reqwest::Client::builder().redirect(Policy::none()).timeout(timeout).connect_timeout(timeout / 3);
        if let Some(pem) = ca_pem {
            let certificates = reqwest::Certificate::from_pem_bundle(pem);
            let certificates = certificates.map_err(|error| ClientError::Authority(error.to_string()))?;
            if certificates.is_empty() {
                return Err(ClientError::Authority("it has no certificate in PEM".to_owned()));
            }
            http = http.tls_certs_merge(certificates);
        }
        let http = http.build().map_err(|error| ClientError::Tls(error.to_string()))?;
        Ok(Self { http, service })
    }

    /// Its address.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    async fn ask(&self, request: &Request) -> Result<Outcome, reqwest::Error> {
        let body = json!({ "claim_code": request.code.expose(), "appliance_id": request.appliance_id });
        let sent = self.http.post(format!("{}/register", self.service));
        let sent = sent.header("Idempotency-Key", &request.idempotency_key).header("Content-Type", "application/json");
        let mut answer = sent.body(body.to_string()).send().await?;
        let status = answer.status().as_u16();
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (retry_after, location) = (header(RETRY_AFTER).and_then(|it| it.trim().parse().ok()), header(LOCATION));
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await? {
            body.extend_from_slice(&part);
            if body.len() > ANSWER {
                return Ok(Outcome::Trouble(Trouble::NotTheService { status }));
            }
        }
        Ok(read(status, retry_after, location.as_deref(), &body))
    }
}

#[async_trait]
impl Redeeming for Client {
    async fn redeem(&self, request: &Request) -> Outcome {
        self.ask(request).await.unwrap_or_else(|error| Outcome::Trouble(trouble(&error)))
    }
}

/// What kind of network trouble it is: each has its own advice.
fn trouble(error: &reqwest::Error) -> Trouble {
    if error.is_timeout() {
        return Trouble::TimedOut;
    }
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(here) = cause {
        let text = here.to_string();
        if text.contains("dns error") {
            return Trouble::Dns;
        }
        if let Some(io) = here.downcast_ref::<std::io::Error>() {
            if let Some(tls) = tls_error(io) {
                return Trouble::Tls { detail: tls.to_string() };
            }
            match io.kind() {
                ErrorKind::ConnectionRefused => return Trouble::Refused,
                ErrorKind::TimedOut => return Trouble::TimedOut,
                _ => {}
            }
        }
        cause = here.source();
    }
    Trouble::BrokeOff
}

/// What TLS has against the connection: inside of an error of reading and writing, perhaps of one inside of that.
fn tls_error(io: &std::io::Error) -> Option<&rustls::Error> {
    let inner = io.get_ref()?;
    match inner.downcast_ref::<std::io::Error>() {
        Some(deeper) => tls_error(deeper),
        None => inner.downcast_ref(),
    }
}
