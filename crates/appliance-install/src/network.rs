//! What kind of network trouble an error is: each has its own advice.

use std::error::Error as StdError;
use std::io::ErrorKind;

use crate::service_error::ServiceError;

pub(crate) fn service_error(error: &reqwest::Error) -> ServiceError {
    if error.is_timeout() {
        return ServiceError::TimedOut;
    }
    if error.is_dns() {
        return ServiceError::Dns;
    }
    if error.is_body() || error.is_decode() {
        return ServiceError::CutShort;
    }
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(here) = cause {
        if here.downcast_ref().is_some_and(hyper::Error::is_parse) {
            return ServiceError::NotHttp;
        }
        if let Some(io) = here.downcast_ref::<std::io::Error>() {
            if let Some(tls) = tls_error(io) {
                return ServiceError::Tls { detail: tls.to_string() };
            }
            match io.kind() {
                ErrorKind::ConnectionRefused => return ServiceError::Refused,
                ErrorKind::TimedOut => return ServiceError::TimedOut,
                _ => {}
            }
        }
        cause = here.source();
    }
    ServiceError::BrokeOff
}

/// What TLS has against the connection: inside of an error of reading and writing, perhaps of one
/// inside of that.
fn tls_error(io: &std::io::Error) -> Option<&rustls::Error> {
    let inner = io.get_ref()?;
    match inner.downcast_ref::<std::io::Error>() {
        Some(deeper) => tls_error(deeper),
        None => inner.downcast_ref(),
    }
}
