//! An answer over HTTP, before anybody knows whose it is.

use crate::service_error::ServiceError;

/// What came back.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    /// In seconds.
    pub(crate) retry_after: Option<u64>,
    pub(crate) location: Option<String>,
    /// `None` where it is larger than any of a registry's.
    pub(crate) body: Option<Vec<u8>>,
}

impl HttpResponse {
    pub(crate) fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.body.as_deref()?).ok()
    }

    /// What is in the way, where the answer is not one that was hoped for.
    pub(crate) fn service_error(&self) -> ServiceError {
        let Self { status, retry_after, .. } = *self;
        match status {
            300..400 => {
                // What follows the path may be a secret of whoever sends us there.
                let to = self
                    .location
                    .as_deref()
                    .unwrap_or("nowhere")
                    .split(['?', '#'])
                    .next()
                    .unwrap_or_default();
                let to = to.chars().take(200).collect();
                ServiceError::Redirected { to }
            }
            // Its time was over before the request arrived.
            408 => ServiceError::TimedOut,
            429 => ServiceError::Throttled { retry_after },
            503 => ServiceError::Busy { retry_after },
            500.. => ServiceError::Failing { status },
            _ => ServiceError::NotTheService { status },
        }
    }
}
