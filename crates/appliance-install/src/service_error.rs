//! Trouble with the network or the service: nothing that the operator typed is wrong, and trying
//! again helps.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ServiceError {
    /// The name of the service is not found.
    #[error(
        "its name is not found. Check this machine's DNS server and the address of the service."
    )]
    Dns,
    /// Nothing listens there.
    #[error(
        "it refused the connection. Check the address of the service, and firewalls in between."
    )]
    Refused,
    /// It does not answer.
    #[error("it did not answer in time. Check this machine's network, and firewalls in between.")]
    TimedOut,
    /// The connection broke off before an answer.
    #[error(
        "the connection broke off before an answer. Check this machine's network, and proxies in between."
    )]
    BrokeOff,
    /// It broke off within the answer.
    #[error(
        "the answer broke off in the middle. Check this machine's network, and proxies in between."
    )]
    CutShort,
    /// Something else listens there.
    #[error(
        "what answers there does not speak HTTP. Check the address of the service, and its port."
    )]
    NotHttp,
    /// The connection cannot be trusted.
    #[error(
        "its certificate is not trusted ({detail}). Check this machine's clock, and proxies that open connections."
    )]
    Tls {
        /// Why.
        detail: String,
    },
    /// Something else answers in its place.
    #[error(
        "it sends us elsewhere, to {to}. Check the address of the service, and whether a network login is needed."
    )]
    Redirected {
        /// Where.
        to: String,
    },
    /// Something answers that is not the service.
    #[error(
        "what answers there is not the service (status {status}). Check its address, and proxies in between."
    )]
    NotTheService {
        /// The HTTP status.
        status: u16,
    },
    /// It failed.
    #[error("it failed (status {status}). Its operator has to look; nothing is lost.")]
    Failing {
        /// The HTTP status.
        status: u16,
    },
    /// The license that it sent is not believed.
    #[error(
        "the license that it sent is not good: {reason}. Nothing is lost; its operator has to look."
    )]
    Untrusted {
        /// Why.
        reason: String,
    },
    /// What licenses are believed by is missing or damaged here.
    #[error(
        "it answered, but the keys that licenses are believed by cannot be used: {problem}. Nothing is lost."
    )]
    Keys {
        /// What.
        problem: String,
    },
    /// The license does not fit this machine's clock.
    #[error(
        "it answered, but by this machine's clock its license {problem}. Set the clock; nothing is lost."
    )]
    Clock {
        /// What.
        problem: String,
    },
    /// Too much was guessed from here.
    #[error(
        "too many wrong codes came from this network, and it asks to wait before the next one."
    )]
    Throttled {
        /// How long, in seconds.
        retry_after: Option<u64>,
    },
    /// It asks for patience.
    #[error("it is busy, and asks to try again later.")]
    Busy {
        /// How long, in seconds.
        retry_after: Option<u64>,
    },
}

impl ServiceError {
    /// What the operator reads.
    #[must_use]
    pub fn message(&self, service: &str) -> String {
        format!("Could not reach the license service at {service}: {self}")
    }

    /// When the service asks to come back, in seconds.
    pub(crate) fn asked(&self) -> Option<u64> {
        match self {
            Self::Busy { retry_after } | Self::Throttled { retry_after } => *retry_after,
            Self::Dns
            | Self::Refused
            | Self::TimedOut
            | Self::BrokeOff
            | Self::CutShort
            | Self::NotHttp
            | Self::Tls { .. }
            | Self::Redirected { .. }
            | Self::NotTheService { .. }
            | Self::Failing { .. }
            | Self::Untrusted { .. }
            | Self::Keys { .. }
            | Self::Clock { .. } => None,
        }
    }

    /// How long to wait after so many tries: what the service asks for, else two seconds, doubled
    /// each time, five minutes at most; and up to a quarter more by `jitter`, so that a fleet that
    /// was cut off does not come back at once.
    #[must_use]
    pub fn pause(&self, tries: u32, jitter: u8) -> Duration {
        let asked = self.asked().map(|seconds| Duration::from_secs(seconds.min(3_600)));
        let doubled = Duration::from_secs(2).saturating_mul(1 << tries.saturating_sub(1).min(16));
        let pause = asked.unwrap_or(doubled.min(Duration::from_mins(5)));
        pause + pause.mul_f64(f64::from(jitter) / 1020.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_minutes_unless_the_service_asks_otherwise() {
        let busy = |retry_after| ServiceError::Busy { retry_after };
        for (service_error, tries, jitter, seconds) in [
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
                service_error.pause(tries, jitter),
                expected,
                "{service_error:?} after {tries}"
            );
        }
    }
}
