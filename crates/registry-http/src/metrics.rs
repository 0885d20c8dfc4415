//! Metrics for monitoring, as `OpenMetrics` text.

use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry as Catalogue, Unit};
use registry_core::mail::MailCounts;
use registry_core::rate_limit::Figures;
use registry_core::registry::readiness::{Part, PartState};

/// The content type of `OpenMetrics` 1.0.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the duration histogram's buckets, in seconds.
const BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// The labels of a response. `path` is the route's pattern: there are few patterns, and none
/// contains a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResponseLabels {
    method: String,
    path: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabel {
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabel {
    part: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MailLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
    outcome: &'static str,
}

/// All metrics since the process started.
pub(crate) struct Metrics {
    catalogue: Catalogue,
    requests: Family<ResponseLabels, Counter>,
    durations: Family<PathLabel, Histogram>,
    in_flight: Gauge,
    parts: Family<PartLabel, Gauge>,
    mails: Family<MailLabel, Gauge>,
    limits: Family<LimitLabels, Counter>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut catalogue = Catalogue::with_prefix("registry");
        let requests = Family::<ResponseLabels, Counter>::default();
        let durations =
            Family::<PathLabel, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let (in_flight, parts) = (Gauge::default(), Family::<PartLabel, Gauge>::default());
        catalogue.register("http_requests", "Responses sent", requests.clone());
        let help = "Duration of requests";
        catalogue.register_with_unit(
            "http_request_duration",
            help,
            Unit::Seconds,
            durations.clone(),
        );
        catalogue.register("http_requests_in_flight", "Requests being handled", in_flight.clone());
        let help = "1 if the part works, 0 if it does not; the parts of /readyz";
        catalogue.register("part_up", help, parts.clone());
        let mails = Family::<MailLabel, Gauge>::default();
        let help = "Mails that wait, those that have waited for more than an hour, and those that \
                    were given up";
        catalogue.register("mails", help, mails.clone());
        let limits = Family::<LimitLabels, Counter>::default();
        let help = "Events that rate limits counted, those refused because of their source, and those \
                    refused because all sources together had too many";
        catalogue.register("rate_limit_events", help, limits.clone());
        Self { catalogue, requests, durations, in_flight, parts, mails, limits }
    }

    /// Counts a request as in flight until the guard is dropped.
    pub(crate) fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts a response and its duration.
    pub(crate) fn record(&self, method: &str, path: &str, status: u16, took: Duration) {
        let (method, path) = (method.to_owned(), path.to_owned());
        self.durations.get_or_create(&PathLabel { path: path.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&ResponseLabels { method, path, status }).inc();
    }

    /// Returns all metrics as text, with the current state of the parts, what the rate limits have
    /// counted and, if they are known, the numbers of mails.
    pub(crate) fn text(
        &self,
        parts: &[Part],
        limits: &[(&'static str, Figures)],
        mails: Option<MailCounts>,
    ) -> Result<String, std::fmt::Error> {
        for (limit, Figures { counted, refused, overloaded }) in limits {
            for (outcome, count) in
                [("counted", counted), ("refused", refused), ("overloaded", overloaded)]
            {
                let counter = self.limits.get_or_create(&LimitLabels { limit, outcome });
                counter.inner().store(*count, Ordering::Relaxed);
            }
        }
        if let Some(MailCounts { queued, delayed, dead }) = mails {
            for (state, count) in [("queued", queued), ("delayed", delayed), ("given_up", dead)] {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                self.mails.get_or_create(&MailLabel { state }).set(count);
            }
        }
        for part in parts {
            let up = i64::from(part.state == PartState::Ok);
            self.parts.get_or_create(&PartLabel { part: part.name }).set(up);
        }
        let mut text = String::new();
        text::encode(&mut text, &self.catalogue)?;
        Ok(text)
    }
}

/// Guard of a request in flight. It is dropped, too, if the client disconnects.
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_counted_by_status() {
        let metrics = Metrics::new();
        let in_flight = metrics.begin();
        for status in [200, 200, 404] {
            metrics.record("POST", "/register", status, Duration::from_millis(3));
        }
        let parts = [
            Part { name: "database", required: true, state: PartState::Ok },
            Part { name: "mail", required: false, state: PartState::Down("full".to_owned()) },
        ];
        let mails = MailCounts { queued: 5, delayed: 2, dead: 1 };
        let figures = Figures { counted: 30, refused: 4, overloaded: 0 };
        let text = metrics.text(&parts, &[("code_guesses", figures)], Some(mails)).unwrap();
        for line in [
            r#"registry_http_requests_total{method="POST",path="/register",status="200"} 2"#,
            r#"registry_http_requests_total{method="POST",path="/register",status="404"} 1"#,
            r#"registry_http_request_duration_seconds_count{path="/register"} 3"#,
            r#"registry_http_request_duration_seconds_bucket{le="0.0025",path="/register"} 0"#,
            r#"registry_http_request_duration_seconds_bucket{le="0.005",path="/register"} 3"#,
            "registry_http_requests_in_flight 1",
            r#"registry_rate_limit_events_total{limit="code_guesses",outcome="counted"} 30"#,
            r#"registry_rate_limit_events_total{limit="code_guesses",outcome="refused"} 4"#,
            r#"registry_part_up{part="database"} 1"#,
            r#"registry_part_up{part="mail"} 0"#,
            r#"registry_mails{state="queued"} 5"#,
            r#"registry_mails{state="delayed"} 2"#,
            r#"registry_mails{state="given_up"} 1"#,
            "# EOF",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
        drop(in_flight);
        assert!(metrics.text(&[], &[], None).unwrap().contains("in_flight 0"));
    }
}
