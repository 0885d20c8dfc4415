//! The client of the registry, over HTTPS.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use appliance_license::{License, TrustedKeys};
use async_trait::async_trait;
use reqwest::header::{DATE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::address::{is_confidential, is_host};
use crate::check_in::{CheckInClient, UnverifiedCheckIn, read_check_in};
use crate::check_in_outcome::CheckInOutcome;
use crate::clock::{Clock, MAX_SKEW, SystemClock};
use crate::http_response::HttpResponse;
use crate::license_state::LicenseState;
use crate::network::classify;
use crate::proxy::Proxy;
use crate::redemption::{
    Identity, RedeemClient, RedeemOutcome, RedeemRequest, UnverifiedIdentity, read_redemption,
};
use crate::service_error::ServiceError;
use crate::trust::{LicenseCheck, PublishedKeys, Trust, check_license};

/// Maximum size of a response, in bytes. The registry's responses have a few thousand.
const MAX_BODY: usize = 256 * 1024;

/// Path of the registry's public keys.
const JWKS: &str = "/.well-known/jwks.json";

/// Error when creating a client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address has the wrong form.
    #[error(
        "`{0}` is not the address of a license service. Use `https://HOST` or `http://HOST`, with \
         a port if needed, and nothing after it."
    )]
    Address(String),
    /// The certificate authority cannot be used.
    #[error("the certificate authority cannot be used: {0}")]
    Authority(String),
    /// TLS cannot be set up on this machine.
    #[error("TLS cannot be used: {0}")]
    Tls(String),
    /// Others on the network can read the requests, and respond to them.
    #[error(
        "Requests to {service} are not encrypted{route}: others on the network could read the \
         install code or the credential, and respond in place of the service. Use https, or pass \
         --insecure-http in a trusted network.",
        route = route(.proxy.as_deref())
    )]
    NotConfidential {
        /// Address of the registry.
        service: String,
        /// Host and port of the proxy that the requests go through.
        proxy: Option<String>,
    },
}

fn route(proxy: Option<&str>) -> String {
    proxy.map(|proxy| format!(", and go through the proxy {proxy}")).unwrap_or_default()
}

/// Name of this program in its requests. Firewalls for web services refuse requests without one.
const USER_AGENT: &str = concat!("appliance-setup/", env!("CARGO_PKG_VERSION"));

/// A client of one registry.
pub struct Client {
    http: reqwest::Client,
    service: String,
    trust: Trust,
    clock: Arc<dyn Clock>,
    skew: AtomicI64,
    proxy: Option<Proxy>,
    allows_plain_http: bool,
}

impl Client {
    /// Creates a client of the registry at the address `service`. `trust` verifies its licenses,
    /// and `timeout` limits each request. The client trusts the certificate authorities of the
    /// system and, if given, those in `ca_pem`. It uses the proxies of the environment.
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
            // The parts before and after the host may contain a secret.
            let shown = host.rsplit('@').next().unwrap_or_default();
            let shown = shown.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
            return Err(ClientError::Address(shown));
        }
        // Fails if the process has a default provider already, which is fine.
        drop(rustls::crypto::ring::default_provider().install_default());
        // A redirect is an error for the installer: the code must not go to another server. Each
        // request opens a new connection: requests are rare, and the server may close an idle
        // connection at the moment of reuse.
        let mut http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
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
        let (clock, skew, proxy) = (Arc::new(SystemClock), AtomicI64::new(0), Proxy::of(&service));
        Ok(Self { http, service, trust, clock, skew, proxy, allows_plain_http: false })
    }

    /// Allows plain HTTP to other machines, in a trusted network. Keys for verifying licenses are
    /// never fetched that way.
    #[must_use]
    pub fn with_plain_http(mut self, is_allowed: bool) -> Self {
        self.allows_plain_http = is_allowed;
        self
    }

    /// Checks that nobody on the network can read the requests or respond to them, unless plain
    /// HTTP is allowed. Call it before a code is redeemed.
    pub fn check_confidential(&self) -> Result<(), ClientError> {
        if self.allows_plain_http || is_confidential(&self.service) {
            return Ok(());
        }
        let proxy = self.proxy.as_ref().map(|proxy| proxy.address().to_owned());
        Err(ClientError::NotConfidential { service: self.service.clone(), proxy })
    }

    /// Returns the address of the registry.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Sets the clock for checking licenses and the service's clock. Tests set it.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the seconds by which the service's clock was ahead of this machine's clock at the
    /// last response; negative if it was behind. Returns `None` if they differ by a minute at most,
    /// or before the first response.
    #[must_use]
    pub fn clock_skew(&self) -> Option<i64> {
        let skew = self.skew.load(Ordering::Relaxed);
        (skew.unsigned_abs() > MAX_SKEW).then_some(skew)
    }

    /// Checks that the service responds. Fetches its keys and stores nothing.
    pub async fn probe(&self) -> Result<(), ServiceError> {
        let response = self.get(&format!("{}{JWKS}", self.service)).await?;
        match response.text().and_then(|text| TrustedKeys::from_jwks(text).ok()) {
            Some(_) if response.status == 200 => Ok(()),
            _ => Err(response.service_error()),
        }
    }

    async fn post(&self, url: &str, key: &str, body: &Value) -> Result<HttpResponse, ServiceError> {
        let request = self
            .http
            .post(url)
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", key);
        self.send(request.body(body.to_string())).await
    }

    async fn get(&self, url: &str) -> Result<HttpResponse, ServiceError> {
        self.send(self.http.get(url)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<HttpResponse, ServiceError> {
        let failed = |error: reqwest::Error| match &self.proxy {
            Some(proxy) => proxy.explain(classify(&error), &error),
            None => classify(&error),
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let headers = response.headers();
        self.record_skew(header(headers, DATE));
        let retry_after =
            header(headers, RETRY_AFTER).and_then(|value| self.retry_after(value.trim()));
        let location = header(headers, LOCATION).map(str::to_owned);
        let body = read_body(response).await.map_err(failed)?;
        let response = HttpResponse { status, retry_after, location, body };
        match &self.proxy {
            Some(proxy) => proxy.check(&response).map(|()| response),
            None => Ok(response),
        }
    }

    /// Compares the clocks. Every response has a `Date` (RFC 9110 §6.6.1).
    fn record_skew(&self, date: Option<&str>) {
        let Some(service_time) = date.and_then(unix_seconds) else { return };
        self.skew.store(
            service_time.cast_signed().wrapping_sub(self.clock.now().cast_signed()),
            Ordering::Relaxed,
        );
    }

    /// Parses `Retry-After`: a number of seconds, or a date by the service's clock (RFC 9110
    /// §10.2.3).
    fn retry_after(&self, value: &str) -> Option<u64> {
        let skew = self.skew.load(Ordering::Relaxed);
        let service_time = self.clock.now().saturating_add_signed(skew);
        let until = |date: u64| date.saturating_sub(service_time);
        value.parse().ok().or_else(|| unix_seconds(value).map(until))
    }

    /// Verifies a license with the configured or pinned keys, or else with newer keys of the
    /// service. An invalid license is an error now, before the product receives it.
    async fn verify_license(
        &self,
        tenant_id: Uuid,
        license: &str,
    ) -> Result<License, ServiceError> {
        let now = self.clock.now();
        let check = |keys: TrustedKeys| {
            check_license(keys, &self.trust.issuer, tenant_id, license, now).into_result()
        };
        let known = self.trust.keys().map_err(|problem| ServiceError::Keys { problem })?;
        match known.map(check) {
            Some(Ok(Some(license))) => return Ok(license),
            Some(Err(service_error)) => return Err(service_error),
            Some(Ok(None)) if self.trust.configured.is_some() => return Err(unknown_key()),
            Some(Ok(None)) | None => {}
        }
        let PublishedKeys { keys, jwks, .. } = self.fetch_keys().await?;
        let license = check(keys)?.ok_or_else(unknown_key)?;
        self.trust.pin(&jwks).map_err(|problem| ServiceError::Keys { problem })?;
        Ok(license)
    }

    /// Fetches the service's keys. They are rejected if keys are pinned and none of them signed the
    /// new ones.
    async fn fetch_keys(&self) -> Result<PublishedKeys, ServiceError> {
        let error = |problem: String| ServiceError::Keys { problem };
        if !is_confidential(&self.service) {
            return Err(error(
                "they are not fetched over plain HTTP. Use https, or pass the keys with --keys"
                    .to_owned(),
            ));
        }
        let response = self.get(&format!("{}{JWKS}", self.service)).await?;
        let text = response
            .text()
            .filter(|_| response.status == 200)
            .ok_or_else(|| response.service_error())?;
        self.trust.accept(text, self.clock.now()).map_err(error)
    }

    /// Pins the service's current keys, so the next license can be verified even if the service
    /// rotates its keys before. After an error the pinned keys stay, and the first license with a
    /// newer key fetches them again.
    async fn refresh_keys(&self, license_state: &LicenseState, license: &str) {
        if self.trust.configured.is_some() {
            return;
        }
        let Ok(PublishedKeys { keys, jwks, is_signed }) = self.fetch_keys().await else { return };
        let (now, issuer, tenant_id) =
            (self.clock.now(), &self.trust.issuer, license_state.tenant_id);
        // A signed set may lack the key of the license: the key may have been revoked.
        if is_signed
            || check_license(keys, issuer, tenant_id, license, now) != LicenseCheck::UnknownKey
        {
            self.trust.pin(&jwks).ok();
        }
    }
}

fn unknown_key() -> ServiceError {
    ServiceError::Untrusted { reason: "it is not signed with a trusted key".to_owned() }
}

/// Parses an HTTP date.
fn unix_seconds(date: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(date).ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs())
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Reads the body; `None` if it is larger than [`MAX_BODY`].
async fn read_body(mut response: reqwest::Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY {
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
            Ok(response) => read_redemption(&response, &self.trust.free_edition),
            Err(service_error) => RedeemOutcome::ServiceError(service_error),
        }
    }

    async fn verify(&self, unverified: &UnverifiedIdentity) -> Result<Identity, ServiceError> {
        let Some(paid) = &unverified.paid else { return Ok(unverified.to_identity(None)) };
        let url = &paid.check_in_url;
        let is_weaker = self.service.starts_with("https://") && !url.starts_with("https://");
        if !self.allows_plain_http && (is_weaker || !is_confidential(url)) {
            let reason =
                format!("its check-in URL {url} is not https, and --insecure-http is not set");
            return Err(ServiceError::Untrusted { reason });
        }
        let license = self.verify_license(unverified.tenant_id, paid.license.expose()).await?;
        self.trust.pin_configured().map_err(|problem| ServiceError::Keys { problem })?;
        Ok(unverified.to_identity(Some(license)))
    }
}

#[async_trait]
impl CheckInClient for Client {
    async fn check_in(&self, license_state: &LicenseState) -> CheckInOutcome {
        let licensed = &license_state.licensed;
        let body = json!({
            "appliance_credential": licensed.credential.expose(),
            "current_license_sub": licensed.sub,
            "sequence": license_state.sequence,
        });
        let key = license_state.check_in_key.as_deref().unwrap_or_default();
        let check_in = match self.post(&licensed.check_in_url, key, &body).await {
            Ok(response) => read_check_in(&response),
            Err(service_error) => return CheckInOutcome::ServiceError(service_error),
        };
        match check_in {
            UnverifiedCheckIn::NewLicense { license, next_check_in } => {
                match self.verify_license(license_state.tenant_id, license.expose()).await {
                    Err(service_error) => CheckInOutcome::ServiceError(service_error),
                    Ok(verified) => {
                        // A later check-in may run without `--keys`.
                        self.trust.pin_configured().ok();
                        self.refresh_keys(license_state, license.expose()).await;
                        let License { sub, expires_at, .. } = verified;
                        CheckInOutcome::Renewed { license, sub, expires_at, next_check_in }
                    }
                }
            }
            UnverifiedCheckIn::Outcome(outcome) => {
                if outcome.is_from_registry() {
                    self.refresh_keys(license_state, licensed.license.expose()).await;
                }
                outcome
            }
        }
    }
}
