//! The registry over HTTPS.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use appliance_license::{License, TrustedKeys};
use async_trait::async_trait;
use reqwest::header::{DATE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::check_in::{CheckingIn, Said, read as read_check_in};
use crate::clock::{Clock, SystemClock};
use crate::held::Held;
use crate::network::trouble;
use crate::outcome::{Outcome, Read, Redeeming, Request, read};
use crate::trouble::Trouble;
use crate::trust::{Trust, Verdict, judge};
use uuid::Uuid;

/// How large an answer may be, in bytes: the registry's have a few thousand.
const ANSWER: usize = 256 * 1024;

/// Where the keys are published.
const JWKS: &str = "/.well-known/jwks.json";

/// How far two clocks may be apart, in seconds, and still agree.
const AGREE: u64 = 60;

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
    clock: Arc<dyn Clock>,
    skew: AtomicI64,
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
        // A connection for each call: they are few, and one that is kept may be closed just when it is used again.
        let mut http = reqwest::Client::builder()
            .redirect(Policy::none())
            .pool_max_idle_per_host(0)
            .timeout(timeout)
            .connect_timeout(timeout / 3);
        if let Some(pem) = ca_pem {
            let certificates = reqwest::Certificate::from_pem_bundle(pem);
            let certificates = certificates.map_err(|error| ClientError::Authority(error.to_string()))?;
            if certificates.is_empty() {
                return Err(ClientError::Authority("it has no certificate in PEM".to_owned()));
            }
            http = http.tls_certs_merge(certificates);
        }
        let http = http.build().map_err(|error| ClientError::Tls(error.to_string()))?;
        Ok(Self { http, service, trust, clock: Arc::new(SystemClock), skew: AtomicI64::new(0) })
    }

    /// Its address.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Judges licenses, and the service's clock, by this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// By how many seconds the service's clock was ahead of this machine's when it last answered: negative where it was
    /// behind; `None` where both agree to a minute, or it has not answered yet.
    #[must_use]
    pub fn clock_skew(&self) -> Option<i64> {
        let skew = self.skew.load(Ordering::Relaxed);
        (skew.unsigned_abs() > AGREE).then_some(skew)
    }

    /// Whether the service answers, and what is in the way where it does not.
    pub async fn probe(&self) -> Result<(), Trouble> {
        let answer = self.get(&format!("{}{JWKS}", self.service)).await.map_err(|error| trouble(&error))?;
        match answer.text().and_then(|text| TrustedKeys::from_jwks(text).ok()) {
            Some(_) if answer.status == 200 => Ok(()),
            _ => Err(answer.trouble()),
        }
    }

    async fn post(&self, url: &str, key: Option<&str>, body: &Value) -> Result<Answer, reqwest::Error> {
        let mut sent = self.http.post(url).header("Content-Type", "application/json");
        if let Some(key) = key {
            sent = sent.header("Idempotency-Key", key);
        }
        self.take(sent.body(body.to_string()).send().await?).await
    }

    async fn get(&self, url: &str) -> Result<Answer, reqwest::Error> {
        self.take(self.http.get(url).send().await?).await
    }

    async fn take(&self, answer: reqwest::Response) -> Result<Answer, reqwest::Error> {
        let status = answer.status().as_u16();
        let headers = answer.headers();
        let retry_after = header(headers, RETRY_AFTER).and_then(|it| it.trim().parse().ok());
        let location = header(headers, LOCATION).map(str::to_owned);
        self.note_time(header(headers, DATE));
        Ok(Answer { status, retry_after, location, body: whole(answer).await? })
    }

    /// Every answer says when it was made (RFC 9110 §6.6.1).
    fn note_time(&self, date: Option<&str>) {
        let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else { return };
        let there = date.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.skew.store(there.cast_signed().wrapping_sub(self.clock.now().cast_signed()), Ordering::Relaxed);
    }

    /// A license that does not hold is found out now, and not when the product looks at it: the same request brings the same
    /// answer again, once the registry, or this machine's clock, was set right.
    async fn believe(&self, tenant: Uuid, license: &str) -> Result<Result<License, Trouble>, reqwest::Error> {
        let judged = |keys: TrustedKeys| judge(keys, &self.trust.issuer, tenant, license, self.clock.now());
        let verdict = match self.trust.keys() {
            Ok(Some(keys)) => Ok(judged(keys)),
            Ok(None) => Ok(Verdict::UnknownKey),
            Err(problem) => Err(problem),
        };
        let verdict = match verdict {
            // Newer keys than those that were pinned; those that were given are not asked for.
            Ok(Verdict::UnknownKey) if self.trust.given.is_none() => self.fetch_keys(&self.service).await?.map(judged),
            verdict => verdict,
        };
        let reason = match verdict {
            Ok(Verdict::Good(license)) => return Ok(Ok(license)),
            Ok(Verdict::UnknownKey) => "no key that is trusted here signed it".to_owned(),
            Ok(Verdict::Bad(reason)) | Err(reason) => reason,
        };
        Ok(Err(Trouble::Untrusted { reason }))
    }

    /// Fetches the service's keys and pins them.
    async fn fetch_keys(&self, origin: &str) -> Result<Result<TrustedKeys, String>, reqwest::Error> {
        let answer = self.get(&format!("{origin}{JWKS}")).await?;
        let status = answer.status;
        Ok(match answer.text().filter(|_| status == 200) {
            Some(text) => self.trust.pin(text),
            None => Err(format!("the service's keys cannot be had (status {status})")),
        })
    }

    async fn redeem_once(&self, request: &Request) -> Result<Outcome, reqwest::Error> {
        let body = json!({ "claim_code": request.code.expose(), "appliance_id": request.appliance_id });
        let url = format!("{}/register", self.service);
        let claimed = match read(&self.post(&url, Some(&request.idempotency_key), &body).await?) {
            Read::Claimed(claimed) => *claimed,
            Read::Refused(refused) => return Ok(Outcome::Refused(refused)),
            Read::Trouble(trouble) => return Ok(Outcome::Trouble(trouble)),
        };
        let license = match &claimed.paid {
            None => None,
            Some(paid) => match self.believe(claimed.tenant_id, paid.license.expose()).await? {
                Ok(license) => Some(license),
                Err(trouble) => return Ok(Outcome::Trouble(trouble)),
            },
        };
        Ok(Outcome::Redeemed(Box::new(claimed.believed(license))))
    }

    async fn check_in_once(&self, held: &Held) -> Result<Said, reqwest::Error> {
        let licensed = &held.licensed;
        let body = json!({
            "appliance_credential": licensed.credential.expose(), "current_license_sub": licensed.sub,
        });
        let answer = read_check_in(&self.post(&licensed.check_in_url, None, &body).await?);
        if self.trust.given.is_none() && answer.is_the_registrys() {
            // Those that were pinned stay where these cannot be had; a license by a newer key asks once more.
            drop(self.fetch_keys(&self.service).await);
        }
        let Said::Renewed { license, expires_at: _, asked } = answer else { return Ok(answer) };
        Ok(match self.believe(held.tenant_id, license.expose()).await? {
            Ok(believed) => Said::Renewed { license, expires_at: believed.expires_at, asked },
            Err(trouble) => Said::Trouble(trouble),
        })
    }
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
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

#[async_trait]
impl Redeeming for Client {
    async fn redeem(&self, request: &Request) -> Outcome {
        self.redeem_once(request).await.unwrap_or_else(|error| Outcome::Trouble(trouble(&error)))
    }
}

#[async_trait]
impl CheckingIn for Client {
    async fn check_in(&self, held: &Held) -> Said {
        self.check_in_once(held).await.unwrap_or_else(|error| Said::Trouble(trouble(&error)))
    }
}
