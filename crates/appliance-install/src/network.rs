//! What kind of network trouble an error is: each has its own advice.

use std::error::Error as StdError;
use std::io::ErrorKind;

use crate::trouble::Trouble;

pub(crate) fn trouble(error: &reqwest::Error) -> Trouble {
    if error.is_timeout() {
        return Trouble::TimedOut;
    }
    if error.is_dns() {
        return Trouble::Dns;
    }
    if error.is_body() || error.is_decode() {
        return Trouble::CutShort;
    }
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(here) = cause {
        if here.downcast_ref().is_some_and(hyper::Error::is_parse) {
            return Trouble::NotHttp;
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

/// What TLS has against the connection: inside of an error of reading and writing, perhaps of one
/// inside of that.
fn tls_error(io: &std::io::Error) -> Option<&rustls::Error> {
    let inner = io.get_ref()?;
    match inner.downcast_ref::<std::io::Error>() {
        Some(deeper) => tls_error(deeper),
        None => inner.downcast_ref(),
    }
}
