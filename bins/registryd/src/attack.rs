//! Warnings about settings that strangers profit from, and about attacks.

use std::sync::Arc;
use std::time::Duration;

use registry_core::Registry;
use registry_core::rate_limit::Figures;
use registry_wiring::Config;

/// Length of a code below which guessing is worth a try.
const SAFE_LENGTH: usize = 10;

/// Interval at which what the rate limits counted is compared.
const INTERVAL: Duration = Duration::from_secs(30);

/// Number of events in the interval that is reported. People mistype a few codes an hour.
const REPORTED: u64 = 15;

/// Warns about settings at the start.
pub(crate) fn warn(config: &Config, public_url: &str) {
    let shortest = config.codes.length.min(config.codes.activation_length());
    if shortest < SAFE_LENGTH {
        tracing::warn!(
            "codes of {shortest} characters can be guessed (docs/security.md): set `codes.length` \
             and `codes.activation_length` to at least {SAFE_LENGTH}"
        );
    }
    if public_url.starts_with("https://") && config.http.trusted_proxies.is_empty() {
        tracing::warn!(
            "`public_url` is https, and `http.trusted_proxies` is empty: all clients count as one \
             source for rate limits"
        );
    }
    if is_plain(public_url) {
        tracing::warn!(
            "`public_url` is http: codes and credentials cross the network in plain text, and \
             appliances refuse it. Serve the registry behind a proxy with TLS"
        );
    }
}

/// True for a URL without TLS that leads to another machine.
fn is_plain(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_own = |address: std::net::IpAddr| address.is_loopback() || address.is_unspecified();
    host != "localhost" && !host.parse().is_ok_and(is_own)
}

/// Logs a warning whenever a rate limit counted many events, until the process ends.
pub(crate) async fn watch(registry: Arc<Registry>) {
    let mut before = registry.rate_limit_figures();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = registry.rate_limit_figures();
        for ((limit, now), (_, before)) in now.iter().zip(&before) {
            let events = sum(*now).saturating_sub(sum(*before));
            let refused = now.refused + now.overloaded - before.refused - before.overloaded;
            if events < REPORTED && refused == 0 {
                continue;
            }
            let states = registry.rate_limits();
            let state = states.iter().find(|state| state.name == *limit);
            let networks = state.map(|state| state.networks.iter().take(5)).into_iter().flatten();
            let networks: Vec<&str> = networks.map(|it| it.network.as_str()).collect();
            tracing::warn!(
                limit,
                events,
                refused,
                networks = networks.join(" "),
                "many events in {} s, as in an attack (docs/security.md)",
                INTERVAL.as_secs()
            );
        }
        before = now;
    }
}

fn sum(figures: Figures) -> u64 {
    figures.counted + figures.refused + figures.overloaded
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn plain_url_to_another_machine_is_found() {
        for (url, expected) in [
            ("http://registry.vendor.example", true),
            ("http://192.0.2.1:8080/", true),
            ("http://[2001:db8::1]:8080", true),
            ("https://registry.vendor.example", false),
            ("http://127.0.0.1:8080", false),
            ("http://[::1]", false),
            ("http://localhost:8080", false),
            ("http://0.0.0.0:8080", false),
        ] {
            assert_eq!(is_plain(url), expected, "{url}");
        }
    }
}
