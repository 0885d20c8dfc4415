//! The registry over HTTPS.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use appliance_license::{License, TrustedKeys};
use async_trait::async_trait;
use reqwest::header::{DATE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use crate::check_in::{CheckInClient, CheckedIn, read as read_check_in};
use crate::check_in_outcome::CheckInOutcome;
use crate::clock::{Clock, SystemClock};
use crate::http_response::HttpResponse;
use crate::license_state::LicenseState;
use crate::network::service_error;
use crate::redemption::{
    Identity, RedeemClient, RedeemOutcome, RedeemRequest, UnverifiedIdentity, read,
};
use crate::service_error::ServiceError;
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
    #[error(
        "`{0}` is not the address of a license service: http or https, and nothing after the host"
    )]
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
    /// The registry at `service`, whose licenses are believed by `trust`, and where a call may take
    /// `timeout`. The system's certificate authorities are trusted, and `ca_pem`, where one is
    /// given. Proxies are those of the environment.
    pub fn new(
        service: &str,
        ca_pem: Option<&[u8]>,
        trust: Trust,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let service = service.trim().trim_end_matches('/').to_owned();
        let host = service
            .strip_prefix("https://")
            .or_else(|| service.strip_prefix("http://"))
            .unwrap_or_default();
        if !is_host(host) {
            // What stands before or after the host may be a secret.
            let shown = host.rsplit('@').next().unwrap_or_default();
            let shown = shown.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
            return Err(ClientError::Address(shown));
        }
        // Fails where the process has chosen one already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        // A redirect is trouble to be told, not to be followed with a code in hand. A connection
        // for each call: they are few, and one that is kept may be closed just when it is used
        // again.
        let mut http = reqwest::Client::builder()
            .redirect(Policy::none())
            .pool_max_idle_per_host(0)
            .timeout(timeout)
            .connect_timeout(timeout / 3);
        if let Some(pem) = ca_pem {
            let certificates = reqwest::Certificate::from_pem_bundle(pem);
            let certificates =
                certificates.map_err(|error| ClientError::Authority(error.to_string()))?;
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

    /// By how many seconds the service's clock was ahead of this machine's when it last answered:
    /// negative where it was behind; `None` where both agree to a minute, or it has not answered
    /// yet.
    #[must_use]
    pub fn clock_skew(&self) -> Option<i64> {
        let skew = self.skew.load(Ordering::Relaxed);
        (skew.unsigned_abs() > AGREE).then_some(skew)
    }

    /// Whether the service answers, and what is in the way where it does not.
    pub async fn probe(&self) -> Result<(), ServiceError> {
        let answer = self.get(&format!("{}{JWKS}", self.service)).await?;
        match answer.text().and_then(|text| TrustedKeys::from_jwks(text).ok()) {
            Some(_) if answer.status == 200 => Ok(()),
            _ => Err(answer.service_error()),
        }
    }

    async fn post(&self, url: &str, key: &str, body: &Value) -> Result<HttpResponse, ServiceError> {
        let sent = self
            .http
            .post(url)
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", key);
        self.take(sent.body(body.to_string())).await
    }

    async fn get(&self, url: &str) -> Result<HttpResponse, ServiceError> {
        self.take(self.http.get(url)).await
    }

    async fn take(&self, request: reqwest::RequestBuilder) -> Result<HttpResponse, ServiceError> {
        let answer = request.send().await.map_err(|error| service_error(&error))?;
        let status = answer.status().as_u16();
        let headers = answer.headers();
        self.note_time(header(headers, DATE));
        let retry_after = header(headers, RETRY_AFTER).and_then(|it| self.seconds(it.trim()));
        let location = header(headers, LOCATION).map(str::to_owned);
        let body = whole(answer).await.map_err(|error| service_error(&error))?;
        Ok(HttpResponse { status, retry_after, location, body })
    }

    /// Every answer says when it was made (RFC 9110 §6.6.1).
    fn note_time(&self, date: Option<&str>) {
        let Some(there) = date.and_then(unix) else { return };
        self.skew.store(
            there.cast_signed().wrapping_sub(self.clock.now().cast_signed()),
            Ordering::Relaxed,
        );
    }

    /// `Retry-After` is a number of seconds, or a date by the service's clock (RFC 9110 §10.2.3).
    fn seconds(&self, retry_after: &str) -> Option<u64> {
        let there = self.clock.now().saturating_add_signed(self.skew.load(Ordering::Relaxed));
        retry_after.parse().ok().or_else(|| unix(retry_after).map(|at| at.saturating_sub(there)))
    }

    /// Believes a license by the keys that were given or pinned, else by newer ones of the service.
    /// A license that does not hold is found out now, and not when the product looks at it.
    async fn believe_license(&self, tenant: Uuid, license: &str) -> Result<License, ServiceError> {
        let now = self.clock.now();
        let judged =
            |keys: TrustedKeys| judge(keys, &self.trust.issuer, tenant, license, now).into_result();
        let known = self.trust.keys().map_err(|problem| ServiceError::Keys { problem })?;
        match known.map(judged) {
            Some(Ok(Some(license))) => return Ok(license),
            Some(Err(service_error)) => return Err(service_error),
            Some(Ok(None)) if self.trust.given.is_some() => return Err(unknown_key()),
            Some(Ok(None)) | None => {}
        }
        let (keys, text) = self.fetch_keys().await?;
        let believed = judged(keys)?.ok_or_else(unknown_key)?;
        self.trust.pin(&text).map_err(|problem| ServiceError::Keys { problem })?;
        Ok(believed)
    }

    /// The service's keys as they are now. A set that has nothing in common with the one that is
    /// pinned is not taken: keys are published before they sign, and for long after.
    async fn fetch_keys(&self) -> Result<(TrustedKeys, String), ServiceError> {
        let problem = |problem: String| ServiceError::Keys { problem };
        if !is_private(&self.service) {
            return Err(problem(
                "they are not fetched over plain HTTP: use https, or name them with --keys"
                    .to_owned(),
            ));
        }
        let answer = self.get(&format!("{}{JWKS}", self.service)).await?;
        let text =
            answer.text().filter(|_| answer.status == 200).ok_or_else(|| answer.service_error())?;
        let keys = TrustedKeys::from_jwks(text)
            .map_err(|error| problem(format!("the service's: {error}")))?;
        let known = self.trust.keys().map_err(problem)?;
        if known.is_some_and(|known| !known.overlaps(&keys)) {
            let pinned = self.trust.pinned.display();
            return Err(problem(format!(
                "the service's are all other ones than those in {pinned}. Where the vendor says that they were exchanged, \
                 name them with --keys"
            )));
        }
        Ok((keys, text.to_owned()))
    }

    /// Pins the service's keys as they are now, so that the next license is believed also where
    /// they turn meanwhile. Where that fails, those that were pinned stay, and a license by a newer
    /// key asks again.
    async fn refresh_keys(&self, license_state: &LicenseState, license: &str) {
        let now = self.clock.now();
        if let (None, Ok((keys, text))) = (&self.trust.given, self.fetch_keys().await)
            && judge(keys, &self.trust.issuer, license_state.tenant_id, license, now)
                != Verdict::UnknownKey
        {
            self.trust.pin(&text).ok();
        }
    }
}

fn unknown_key() -> ServiceError {
    ServiceError::Untrusted { reason: "no key that is trusted here signed it".to_owned() }
}

/// Whether it is a host, and a port where there is one.
fn is_host(text: &str) -> bool {
    let name = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => {
            if port.parse::<u16>().is_err() {
                return false;
            }
            name
        }
        _ => text,
    };
    !name.is_empty() && !name.contains(['/', '?', '#', '@', ' '])
}

/// Whether nobody on the way reads along.
fn is_private(service: &str) -> bool {
    let Some(rest) = service.strip_prefix("http://") else { return true };
    let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
    host == "localhost"
        || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// A date of HTTP in Unix seconds.
fn unix(date: &str) -> Option<u64> {
    let at = httpdate::parse_http_date(date).ok()?;
    Some(at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs())
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
impl RedeemClient for Client {
    async fn redeem(&self, request: &RedeemRequest) -> RedeemOutcome {
        let body =
            json!({ "claim_code": request.code.expose(), "appliance_id": request.appliance_id });
        let url = format!("{}/register", self.service);
        match self.post(&url, &request.idempotency_key, &body).await {
            Ok(answer) => read(&answer, &self.trust.free_edition),
            Err(service_error) => RedeemOutcome::ServiceError(service_error),
        }
    }

    async fn believe(&self, claimed: &UnverifiedIdentity) -> Result<Identity, ServiceError> {
        let Some(paid) = &claimed.paid else { return Ok(claimed.believed(None)) };
        if self.service.starts_with("https://") && !paid.check_in_url.starts_with("https://") {
            let reason = format!("it is to be renewed over plain HTTP, at {}", paid.check_in_url);
            return Err(ServiceError::Untrusted { reason });
        }
        let license = self.believe_license(claimed.tenant_id, paid.license.expose()).await?;
        self.trust.adopt().map_err(|problem| ServiceError::Keys { problem })?;
        Ok(claimed.believed(Some(license)))
    }
}

#[async_trait]
impl CheckInClient for Client {
    async fn check_in(&self, license_state: &LicenseState) -> CheckInOutcome {
        let licensed = &license_state.licensed;
        let body = json!({
            "appliance_credential": licensed.credential.expose(), "current_license_sub": licensed.sub,
        });
        let answer = match self
            .post(&licensed.check_in_url, &license_state.idempotency_key(), &body)
            .await
        {
            Ok(answer) => read_check_in(&answer),
            Err(service_error) => return CheckInOutcome::ServiceError(service_error),
        };
        match answer {
            CheckedIn::New { license, asked } => {
                match self.believe_license(license_state.tenant_id, license.expose()).await {
                    Err(service_error) => CheckInOutcome::ServiceError(service_error),
                    Ok(believed) => {
                        self.refresh_keys(license_state, license.expose()).await;
                        let License { sub, expires_at, .. } = believed;
                        CheckInOutcome::Renewed { license, sub, expires_at, asked }
                    }
                }
            }
            CheckedIn::CheckInOutcome(outcome) => {
                if outcome.is_the_registrys() {
                    self.refresh_keys(license_state, licensed.license.expose()).await;
                }
                outcome
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_perhaps_a_port() {
        for good in
            ["registry.example", "registry.example:8443", "127.0.0.1:80", "[::1]", "[::1]:8080"]
        {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", ":80", "h:99999", "h:", "h:a", "h/path", "user:pw@h", "h?x", "h h"] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn keys_are_fetched_only_where_nobody_reads_along() {
        for (service, expected) in [
            ("https://registry.example", true),
            ("http://127.0.0.1:8080", true),
            ("http://localhost:8080", true),
            ("http://localhost", true),
            ("http://[::1]:8080", true),
            ("http://registry.example", false),
            ("http://192.0.2.1:8080", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(is_private(service), expected, "{service}");
        }
    }
}
