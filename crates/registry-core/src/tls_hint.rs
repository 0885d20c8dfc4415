//! Texts of TLS errors that tell an operator what to do.

/// Parts of TLS errors, and the remedy for each. The parts are those of rustls.
const REMEDIES: [(&str, &str); 4] = [
    (
        "CaUsedAsEndEntity",
        "the server's certificate is an authority itself: give the server a certificate that an \
         authority has issued, and trust that authority",
    ),
    (
        "UnknownIssuer",
        "no trusted authority has issued the server's certificate: set the file with the authority \
         that has",
    ),
    ("NotValidForName", "the certificate does not name the host of the URL"),
    ("Expired", "the certificate has expired, or this machine's clock is wrong"),
];

/// Returns the text of an error, with the remedy if it is a known error of TLS.
#[must_use]
pub fn explained(text: &str) -> String {
    match REMEDIES.iter().find(|(part, _)| text.contains(part)) {
        Some((_, remedy)) => format!("{text} ({remedy})"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::explained;

    #[test]
    fn remedy_follows_the_error() {
        let text = explained("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))");
        assert!(text.starts_with("invalid peer certificate"), "{text}");
        assert!(text.contains("an authority itself"), "{text}");
        assert_eq!(explained("connection refused"), "connection refused");
    }
}
