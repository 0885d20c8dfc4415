//! Figures for monitoring, as `OpenMetrics` text.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry as Catalogue, Unit};
use registry_core::registry::readiness::{Part, PartState};

/// The content type of `OpenMetrics` 1.0.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The upper ends of the buckets of a request's duration, in seconds.
const BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Paths are patterns, so that there are few of them, and none holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: String,
    path: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabel {
    part: &'static str,
}

/// What has been counted since the process started.
pub(crate) struct Metrics {
    catalogue: Catalogue,
    requests: Family<Answered, Counter>,
    durations: Family<Asked, Histogram>,
    in_flight: Gauge,
    parts: Family<PartLabel, Gauge>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut catalogue = Catalogue::with_prefix("registry");
        let requests = Family::<Answered, Counter>::default();
        let durations =
            Family::<Asked, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let (in_flight, parts) = (Gauge::default(), Family::<PartLabel, Gauge>::default());
        catalogue.register("http_requests", "Requests that were answered", requests.clone());
        let help = "How long requests took";
        catalogue.register_with_unit(
            "http_request_duration",
            help,
            Unit::Seconds,
            durations.clone(),
        );
        catalogue.register(
            "http_requests_in_flight",
            "Requests that are being answered",
            in_flight.clone(),
        );
        catalogue.register("part_up", "1 where a part works, as at /readyz", parts.clone());
        Self { catalogue, requests, durations, in_flight, parts }
    }

    /// Counts a request as being answered, until the guard is dropped.
    pub(crate) fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    pub(crate) fn answered(&self, method: &str, path: &str, status: u16, took: Duration) {
        let (method, path) = (method.to_owned(), path.to_owned());
        self.durations.get_or_create(&Asked { path: path.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&Answered { method, path, status }).inc();
    }

    /// Everything, with how the parts are now.
    pub(crate) fn text(&self, parts: &[Part]) -> Result<String, std::fmt::Error> {
        for part in parts {
            let up = i64::from(part.state == PartState::Ok);
            self.parts.get_or_create(&PartLabel { part: part.name }).set(up);
        }
        let mut text = String::new();
        text::encode(&mut text, &self.catalogue)?;
        Ok(text)
    }
}

/// A request that is being answered. One whose client went away is dropped, and counted no more.
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
    fn requests_are_counted_by_what_they_were_answered_with() {
        let metrics = Metrics::new();
        let begun = metrics.begin();
        for status in [200, 200, 404] {
            metrics.answered("POST", "/register", status, Duration::from_millis(3));
        }
        let parts = [
            Part { name: "database", required: true, state: PartState::Ok },
            Part { name: "mail", required: false, state: PartState::Down("full".to_owned()) },
        ];
        let text = metrics.text(&parts).unwrap();
        for line in [
            r#"registry_http_requests_total{method="POST",path="/register",status="200"} 2"#,
            r#"registry_http_requests_total{method="POST",path="/register",status="404"} 1"#,
            r#"registry_http_request_duration_seconds_count{path="/register"} 3"#,
            r#"registry_http_request_duration_seconds_bucket{le="0.0025",path="/register"} 0"#,
            r#"registry_http_request_duration_seconds_bucket{le="0.005",path="/register"} 3"#,
            "registry_http_requests_in_flight 1",
            r#"registry_part_up{part="database"} 1"#,
            r#"registry_part_up{part="mail"} 0"#,
            "# EOF",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
        drop(begun);
        assert!(metrics.text(&[]).unwrap().contains("in_flight 0"));
    }
}
