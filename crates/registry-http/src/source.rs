//! The source address of a request. Of the forwarding header, only the entries that trusted proxies
//! wrote are used.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue};
use ipnet::IpNet;
use registry_core::rate_limit::Source;

use crate::app::{AppState, HttpSettings};
use crate::problem::ApiError;

/// The source of a request.
pub(crate) struct Client(pub(crate) Source);

impl FromRequestParts<AppState> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        Ok(Self(client_source(&parts.headers, &parts.extensions, &app.settings)))
    }
}

pub(crate) fn client_source(
    headers: &HeaderMap,
    extensions: &Extensions,
    settings: &HttpSettings,
) -> Source {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    // As bytes: a client may send anything to the left of what a proxy writes.
    let lines = headers.get_all(&settings.source_header).iter().map(HeaderValue::as_bytes);
    let forwarded: Vec<&[u8]> = lines.flat_map(|line| line.split(|byte| *byte == b',')).collect();
    Source::of(resolve(peer, &forwarded, &settings.trusted_proxies))
}

/// Returns the client: the last address on the way to us that is not a trusted proxy. An entry that
/// is not an address ends the search, since no trusted proxy writes one.
fn resolve(peer: IpAddr, forwarded: &[&[u8]], trusted: &[IpNet]) -> IpAddr {
    let is_trusted =
        |address: IpAddr| trusted.iter().any(|net| net.contains(&address.to_canonical()));
    let mut client = peer;
    let entries = forwarded.iter().rev().map(|entry| entry.trim_ascii());
    for entry in entries.filter(|entry| !entry.is_empty()) {
        if !is_trusted(client) {
            break;
        }
        match address(entry) {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// Parses an address as proxies write it: with or without a port, IPv6 also in brackets.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?;
    let without_port = || {
        entry
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(entry)
            .parse()
            .ok()
    };
    entry.parse::<SocketAddr>().ok().map(|address| address.ip()).or_else(without_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-guessing-4.
    #[test]
    fn only_trusted_proxies_name_the_client() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for (peer, forwarded, client) in [
            ("203.0.113.7", b"".as_slice(), "203.0.113.7"),
            ("203.0.113.7", b"198.51.100.1", "203.0.113.7"),
            ("10.0.0.1", b"198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", b"192.0.2.66, 198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", b"198.51.100.1, 10.0.0.2", "198.51.100.1"),
            ("::ffff:10.0.0.1", b"198.51.100.1", "198.51.100.1"),
            ("fd00::1", b"2001:db8::1", "2001:db8::1"),
            ("10.0.0.1", b"198.51.100.1:5000", "198.51.100.1"),
            ("10.0.0.1", b"[2001:db8::1]:5000", "2001:db8::1"),
            ("10.0.0.1", b"[2001:db8::1]", "2001:db8::1"),
            ("10.0.0.1", b"198.51.100.1,", "198.51.100.1"),
            ("10.0.0.1", b"nonsense", "10.0.0.1"),
            ("10.0.0.1", b"", "10.0.0.1"),
            ("10.0.0.1", b"\xff, 198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", b"192.0.2.66\xff, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
            ("10.0.0.1", b"198.51.100.1, \xff", "10.0.0.1"),
            ("10.0.0.1", b"198.51.100.1, \xff, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", b"198.51.\xff100.1", "10.0.0.1"),
        ] {
            let entries: Vec<&[u8]> = forwarded.split(|byte| *byte == b',').collect();
            let resolved = resolve(peer.parse().unwrap(), &entries, &trusted);
            let forwarded = forwarded.escape_ascii();
            assert_eq!(resolved, client.parse::<IpAddr>().unwrap(), "{peer} {forwarded}");
        }
    }
}
