//! An HTTP response that may come from the registry, or from a proxy or login page in between.

use crate::service_error::ServiceError;

/// The parts of a response that matter here.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    /// In seconds.
    pub(crate) retry_after: Option<u64>,
    pub(crate) location: Option<String>,
    /// `None` if the body is larger than any response of a registry.
    pub(crate) body: Option<Vec<u8>>,
}

impl HttpResponse {
    pub(crate) fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.body.as_deref()?).ok()
    }

    /// Returns the error that an unexpected response stands for.
    pub(crate) fn service_error(&self) -> ServiceError {
        let Self { status, retry_after, .. } = *self;
        match status {
            300..400 => {
                // The query and the fragment may hold secrets of the redirecting server.
                let to = self
                    .location
                    .as_deref()
                    .unwrap_or("an unknown address")
                    .split(['?', '#'])
                    .next()
                    .unwrap_or_default();
                let to = to.chars().take(200).collect();
                ServiceError::Redirected { to }
            }
            // The request did not arrive within the server's time limit.
            408 => ServiceError::TimedOut,
            429 => ServiceError::RateLimited { retry_after },
            503 => ServiceError::Busy { retry_after },
            500.. => ServiceError::ServerError { status },
            _ => ServiceError::NotTheService { status },
        }
    }
}
