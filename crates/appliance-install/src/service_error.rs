//! Errors of the network or the service. The installer's entries are not the cause, and a retry may
//! succeed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An error of the network or the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ServiceError {
    /// The host name of the service does not resolve.
    #[error(
        "its name was not found. Check this machine's DNS settings and the address of the service."
    )]
    Dns,
    /// No program listens at the address.
    #[error(
        "it refused the connection. Check the address of the service and any firewall in between."
    )]
    Refused,
    /// The service did not respond in time.
    #[error(
        "it did not respond in time. Check this machine's network and any firewall in between."
    )]
    TimedOut,
    /// The proxy that this machine uses did not let the request through.
    #[error(
        "the proxy {proxy} did not let the request through: {problem}. Check the proxy settings of \
         this machine (HTTPS_PROXY, HTTP_PROXY, NO_PROXY)."
    )]
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// What the proxy did.
        problem: String,
    },
    /// The connection ended before a response.
    #[serde(alias = "broke_off")]
    #[error(
        "the connection was closed before a response arrived. Check this machine's network and \
         any proxy in between."
    )]
    Disconnected,
    /// The connection ended within the response.
    #[serde(alias = "cut_short")]
    #[error(
        "the connection was closed in the middle of the response. Check this machine's network \
         and any proxy in between."
    )]
    Truncated,
    /// The server at the address does not speak HTTP.
    #[error(
        "the server at this address does not speak HTTP. Check the address and the port of the \
         service."
    )]
    NotHttp,
    /// The certificate is not trusted.
    #[error(
        "its certificate is not trusted ({detail}). Check this machine's clock and any proxy that \
         intercepts TLS."
    )]
    Tls {
        /// The TLS library's reason.
        detail: String,
    },
    /// The server redirects. A login page of the network often does.
    #[error(
        "it redirects to {to}. Check the address of the service, and whether this network requires \
         a login."
    )]
    Redirected {
        /// Target of the redirect, without query and fragment.
        to: String,
    },
    /// The response does not have the form of the service's responses.
    #[error(
        "the response is not from the license service (status {status}). Check the address of the \
         service and any proxy in between."
    )]
    NotTheService {
        /// The HTTP status.
        status: u16,
    },
    /// The service failed.
    #[serde(alias = "failing")]
    #[error("it failed (status {status}). Nothing is lost. Contact your vendor if this persists.")]
    ServerError {
        /// The HTTP status.
        status: u16,
    },
    /// The license in the response cannot be trusted.
    #[error(
        "the license that it sent is not valid: {reason}. Nothing is lost. Contact your vendor."
    )]
    Untrusted {
        /// Reason why the license is not valid.
        reason: String,
    },
    /// The keys for verifying licenses are missing or damaged on this machine.
    #[error(
        "it responded, but the keys for verifying licenses cannot be used: {problem}. Nothing is \
         lost."
    )]
    Keys {
        /// Reason why the keys cannot be used.
        problem: String,
    },
    /// The license is not valid at the time of this machine's clock.
    #[error(
        "it responded, but by this machine's clock the license {problem}. Set the clock. Nothing \
         is lost."
    )]
    Clock {
        /// Predicate of the sentence in the message.
        problem: String,
    },
    /// Too many wrong codes came from this network.
    #[serde(alias = "throttled")]
    #[error("too many wrong codes were sent from this network. Wait before the next attempt.")]
    RateLimited {
        /// Seconds until the next attempt.
        retry_after: Option<u64>,
    },
    /// The service is overloaded.
    #[error("it is busy and asks to try again later.")]
    Busy {
        /// Seconds until the next attempt.
        retry_after: Option<u64>,
    },
}

impl ServiceError {
    /// Returns the text for the installer.
    #[must_use]
    pub fn message(&self, service: &str) -> String {
        if self.is_unreachable() {
            format!("Could not reach the license service at {service}: {self}")
        } else {
            format!("The license service at {service} could not be used: {self}")
        }
    }

    /// Returns true if no complete response of the license service arrived.
    fn is_unreachable(&self) -> bool {
        match self {
            Self::Dns
            | Self::Refused
            | Self::TimedOut
            | Self::Proxy { .. }
            | Self::Disconnected
            | Self::Truncated
            | Self::NotHttp
            | Self::Tls { .. }
            | Self::Redirected { .. }
            | Self::NotTheService { .. } => true,
            Self::ServerError { .. }
            | Self::Untrusted { .. }
            | Self::Keys { .. }
            | Self::Clock { .. }
            | Self::RateLimited { .. }
            | Self::Busy { .. } => false,
        }
    }

    /// Returns the pause that the service requests, in seconds.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Busy { retry_after } | Self::RateLimited { retry_after } => *retry_after,
            Self::Dns
            | Self::Refused
            | Self::TimedOut
            | Self::Proxy { .. }
            | Self::Disconnected
            | Self::Truncated
            | Self::NotHttp
            | Self::Tls { .. }
            | Self::Redirected { .. }
            | Self::NotTheService { .. }
            | Self::ServerError { .. }
            | Self::Untrusted { .. }
            | Self::Keys { .. }
            | Self::Clock { .. } => None,
        }
    }

    /// Returns the pause after this number of failed attempts: the service's `Retry-After` (an hour
    /// at most), else two seconds, doubled with each attempt up to five minutes. `jitter` adds up
    /// to a quarter, so a fleet does not return all at once after an outage.
    #[must_use]
    pub fn pause(&self, attempts: u32, jitter: u8) -> Duration {
        let requested = self.retry_after().map(|seconds| Duration::from_secs(seconds.min(3_600)));
        let backoff =
            Duration::from_secs(2).saturating_mul(1 << attempts.saturating_sub(1).min(16));
        let pause = requested.unwrap_or(backoff.min(Duration::from_mins(5)));
        pause + pause.mul_f64(f64::from(jitter) / 1020.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-messages-2.
    #[test]
    fn pauses_double_up_to_five_minutes() {
        let busy = |retry_after| ServiceError::Busy { retry_after };
        for (service_error, attempts, jitter, seconds) in [
            (ServiceError::Dns, 1, 0, 2.0),
            (ServiceError::Dns, 1, 255, 2.5),
            (ServiceError::Refused, 3, 0, 8.0),
            (ServiceError::TimedOut, 60, 0, 300.0),
            (busy(None), 2, 0, 4.0),
            (busy(Some(30)), 9, 0, 30.0),
            (busy(Some(30)), 9, 255, 37.5),
            (busy(Some(1_000_000)), 1, 0, 3_600.0),
        ] {
            let expected = Duration::from_secs_f64(seconds);
            assert_eq!(
                service_error.pause(attempts, jitter),
                expected,
                "{service_error:?} after {attempts}"
            );
        }
    }
}
