//! The proxy between this machine and the registry. What it does wrong is not the registry's fault.

use std::error::Error as StdError;

use hyper_util::client::proxy::matcher::Matcher;
use serde_json::Value;

use crate::http_response::HttpResponse;
use crate::service_error::ServiceError;

/// The proxy for the registry.
pub(crate) struct Proxy {
    /// Host and port, without user and password.
    address: String,
    /// True if the proxy sees the requests, which are not encrypted.
    reads_requests: bool,
}

impl Proxy {
    /// Returns the proxy that the environment names for this URL.
    pub(crate) fn of(url: &str) -> Option<Self> {
        Self::matching(&Matcher::from_env(), url)
    }

    /// Returns the proxy that these rules name for this URL.
    pub(crate) fn matching(proxies: &Matcher, url: &str) -> Option<Self> {
        let intercept = proxies.intercept(&url.parse().ok()?)?;
        let address = intercept.uri().authority()?.as_str().rsplit('@').next()?.to_owned();
        Some(Self { address, reads_requests: url.starts_with("http://") })
    }

    /// Returns the host and the port, without user and password.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns the error of a request that got no response through the proxy.
    pub(crate) fn explain(&self, error: ServiceError, cause: &reqwest::Error) -> ServiceError {
        let problem = match error {
            ServiceError::Dns => "its name was not found".to_owned(),
            ServiceError::Refused => "it refused the connection".to_owned(),
            ServiceError::TimedOut => "no response arrived in time".to_owned(),
            ServiceError::Disconnected => format!("it closed the connection ({})", root(cause)),
            other => return other,
        };
        self.error(problem)
    }

    /// Returns an error if the proxy itself sent this response.
    pub(crate) fn check(&self, response: &HttpResponse) -> Result<(), ServiceError> {
        let is_from_registry = || {
            let body: Option<Value> =
                response.body.as_deref().and_then(|body| serde_json::from_slice(body).ok());
            body.is_some_and(|body| body["code"].is_string())
        };
        if !self.reads_requests || is_from_registry() {
            return Ok(());
        }
        match response.status {
            407 => Err(self.error("it requires a login (status 407)".to_owned())),
            status @ (403 | 502..=504) => Err(self.error(format!("it responded with {status}"))),
            _ => Ok(()),
        }
    }

    fn error(&self, problem: String) -> ServiceError {
        ServiceError::Proxy { proxy: self.address.clone(), problem }
    }
}

/// Returns the text of an error's first cause.
fn root(error: &dyn StdError) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.last().map_or_else(|| error.to_string(), ToString::to_string)
}
