//! Addresses of the registry, and whether requests to them are confidential.

use std::net::IpAddr;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use crate::proxy::Proxy;

/// Returns true for a host with an optional port.
pub(crate) fn is_host(text: &str) -> bool {
    let name = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => {
            if port.parse::<u16>().is_err() {
                return false;
            }
            name
        }
        _ => text,
    };
    !name.is_empty() && !name.contains(['/', '?', '#', '@', ' '])
}

/// Returns true if nobody on the network can read or change requests to this URL: with TLS, or on
/// this machine and without a proxy.
pub(crate) fn is_confidential(url: &str) -> bool {
    is_confidential_with(&Matcher::from_env(), url)
}

fn is_confidential_with(proxies: &Matcher, url: &str) -> bool {
    // The parser is the one of the requests: two parsers may find two hosts in one text.
    let Ok(url) = Url::parse(url) else { return false };
    match url.scheme() {
        "https" => true,
        "http" => {
            url.host_str().is_some_and(is_loopback)
                && Proxy::matching(proxies, url.as_str()).is_none()
        }
        _ => false,
    }
}

fn is_loopback(host: &str) -> bool {
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_host_and_optional_port() {
        for good in
            ["registry.example", "registry.example:8443", "127.0.0.1:80", "[::1]", "[::1]:8080"]
        {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", ":80", "h:99999", "h:", "h:a", "h/path", "user:pw@h", "h?x", "h h"] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn plain_http_is_confidential_only_locally() {
        let no_proxies = Matcher::builder().build();
        for (url, expected) in [
            ("https://registry.example", true),
            ("https://registry.example/check-in", true),
            ("http://127.0.0.1:8080", true),
            ("http://localhost:8080", true),
            ("http://localhost", true),
            ("http://localhost/check-in", true),
            ("http://[::1]/check-in", true),
            ("http://[::1]:8080", true),
            ("http://registry.example", false),
            ("HTTP://registry.example", false),
            ("http://192.0.2.1:8080", false),
            ("http://localhost.example", false),
            ("http://localhost@registry.example/check-in", false),
            ("http://registry.example/http://localhost", false),
            ("ftp://localhost", false),
            ("localhost", false),
            ("", false),
        ] {
            assert_eq!(is_confidential_with(&no_proxies, url), expected, "{url}");
        }
    }

    #[test]
    fn proxy_can_read_plain_http() {
        let proxy = "http://proxy.example:3128";
        let proxies = Matcher::builder().all(proxy).no("127.0.0.2,localhost").build();
        for (url, expected) in [
            ("http://127.0.0.1:8080", false),
            ("http://[::1]:8080/check-in", false),
            ("http://127.0.0.2:8080", true),
            ("http://localhost/check-in", true),
            ("https://registry.example", true),
        ] {
            assert_eq!(is_confidential_with(&proxies, url), expected, "{url}");
        }
    }
}
