//! The registry over HTTPS.

use std::error::Error as StdError;
use std::io::ErrorKind;
use std::time::Duration;

use appliance_license::TrustedKeys;
use async_trait::async_trait;
use reqwest::header::{LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use serde_json::json;

use crate::outcome::{Identity, Outcome, Redeeming, Request, read};
use crate::trouble::Trouble;
use crate::trust::{Trust, Verdict, judge};

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
    trust: Trust,
}

impl Client {
    /// The registry at `service`, whose licenses are believed by `trust`, and where a call may take `timeout`. The system's
    /// certificate authorities are trusted, and `ca_pem`, where one is given. Proxies are those of the environment.
    pub fn new(service: &str, ca_pem: Option<&[u8]>, trust: Trust, timeout: Duration) -> Result<Self, ClientError> {
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
        Ok(Self { http, service, trust })
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
        let answer = sent.body(body.to_string()).send().await?;
        let status = answer.status().as_u16();
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (retry_after, location) = (header(RETRY_AFTER).and_then(|it| it.trim().parse().ok()), header(LOCATION));
        let Some(body) = whole(answer).await? else { return Ok(Outcome::Trouble(Trouble::NotTheService { status })) };
        match read(status, retry_after, location.as_deref(), &body) {
            Outcome::Redeemed(identity) => self.believe(identity).await,
            outcome => Ok(outcome),
        }
    }

    /// A license that does not hold is found out now, and not when the product looks at it: the same request brings the same
    /// answer again, once the registry, or this machine's clock, was set right.
    async fn believe(&self, identity: Box<Identity>) -> Result<Outcome, reqwest::Error> {
        let Some(licensed) = &identity.licensed else { return Ok(Outcome::Redeemed(identity)) };
        let judged = |keys: TrustedKeys| {
            judge(keys, &self.trust.issuer, identity.tenant_id, licensed.license.expose(), unix_now())
        };
        let verdict = match self.trust.keys() {
            Ok(Some(keys)) => Ok(judged(keys)),
            Ok(None) => Ok(Verdict::UnknownKey),
            Err(problem) => Err(problem),
        };
        let verdict = match verdict {
            // Newer keys than those that were pinned; those that were given are not asked for.
            Ok(Verdict::UnknownKey) if self.trust.given.is_none() => self.fetch_keys().await?.map(judged),
            verdict => verdict,
        };
        let reason = match verdict {
            Ok(Verdict::Good) => return Ok(Outcome::Redeemed(identity)),
            Ok(Verdict::UnknownKey) => "no key that is trusted here signed it".to_owned(),
            Ok(Verdict::Bad(reason)) | Err(reason) => reason,
        };
        Ok(Outcome::Trouble(Trouble::Untrusted { reason }))
    }

    /// Fetches the service's keys and pins them.
    async fn fetch_keys(&self) -> Result<Result<TrustedKeys, String>, reqwest::Error> {
        let answer = self.http.get(format!("{}/.well-known/jwks.json", self.service)).send().await?;
        let status = answer.status().as_u16();
        let body = whole(answer).await?.filter(|_| status == 200).and_then(|body| String::from_utf8(body).ok());
        let Some(text) = body else { return Ok(Err(format!("the service's keys cannot be had (status {status})"))) };
        Ok(self.trust.pin(&text))
    }
}

/// The body; `None` where it is larger than any of a registry's.
async fn whole(mut answer: reqwest::Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await? {
        body.extend_from_slice(&part);
        if body.len() > ANSWER {
            return Ok(None);
        }
    }
    Ok(Some(body))
}

#[expect(clippy::disallowed_methods, reason = "the appliance's own clock: a license is judged by it")]
fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
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
