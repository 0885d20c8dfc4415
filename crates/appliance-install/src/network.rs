//! Classifies network errors. Each kind has its own advice for the installer.

use std::error::Error as StdError;
use std::io::ErrorKind;

use crate::service_error::ServiceError;

pub(crate) fn classify(error: &reqwest::Error) -> ServiceError {
    if error.is_timeout() {
        return ServiceError::TimedOut;
    }
    if error.is_dns() {
        return ServiceError::Dns;
    }
    if error.is_body() || error.is_decode() {
        return ServiceError::Truncated;
    }
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.downcast_ref().is_some_and(hyper::Error::is_parse) {
            return ServiceError::NotHttp;
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            if let Some(tls) = tls_error(io) {
                return ServiceError::Tls { detail: tls.to_string() };
            }
            match io.kind() {
                ErrorKind::ConnectionRefused => return ServiceError::Refused,
                ErrorKind::TimedOut => return ServiceError::TimedOut,
                _ => {}
            }
        }
        next = cause.source();
    }
    ServiceError::Disconnected
}

/// Returns the TLS error inside an I/O error. I/O errors may be nested.
fn tls_error(io: &std::io::Error) -> Option<&rustls::Error> {
    let inner = io.get_ref()?;
    match inner.downcast_ref::<std::io::Error>() {
        Some(nested) => tls_error(nested),
        None => inner.downcast_ref(),
    }
}
