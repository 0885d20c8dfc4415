//! The site that a browser sends a request from.

use axum::http::HeaderMap;

/// True if a request was sent from one of our pages, or by a program. Browsers name the sending site
/// in `Sec-Fetch-Site` (W3C Fetch Metadata), over plain http in `Origin` (RFC 6454). Programs send
/// neither header.
pub(crate) fn is_same_origin(headers: &HeaderMap, public_url: &str) -> bool {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = header("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = header("origin") else { return true };
    let authority = |url: &str| {
        let (_, rest) = url.split_once("://")?;
        rest.split('/').next().map(str::to_ascii_lowercase)
    };
    let sender = authority(origin);
    sender.is_some()
        && (sender == header("host").map(str::to_ascii_lowercase)
            || sender == authority(public_url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_other_sites_are_recognized() {
        for (site, origin, expected) in [
            ("", "", true),
            ("same-origin", "", true),
            ("none", "", true),
            ("same-site", "", false),
            ("cross-site", "", false),
            ("same-origin", "null", true),
            ("", "http://registry.internal:8080", true),
            ("", "https://Registry.example", true),
            ("", "https://other.registry.example", false),
            ("", "https://registry.example.evil.example", false),
            ("", "null", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("host", "registry.internal:8080".parse().unwrap());
            for (name, value) in [("sec-fetch-site", site), ("origin", origin)] {
                if !value.is_empty() {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            let public_url = "https://registry.example/";
            assert_eq!(is_same_origin(&headers, public_url), expected, "{site} {origin}");
        }
    }
}
