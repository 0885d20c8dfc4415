//! Domains whose addresses are not registered.

/// The domains, as they are compared.
pub(super) struct Blocked(Vec<String>);

/// A domain in ASCII, by IDNA (UTS #46), in lower case.
fn compared(domain: &str) -> Option<String> {
    let ascii = idna::domain_to_ascii_strict(domain.trim_end_matches('.')).ok()?;
    Some(ascii).filter(|ascii| !ascii.is_empty())
}

/// An address's domain. Names that IDNA has no form for are in the DNS all the same: they are compared as they are.
fn domain(email: &str) -> String {
    let domain = email.trim().rsplit('@').next().unwrap_or_default();
    compared(domain).unwrap_or_else(|| domain.trim_end_matches('.').to_lowercase())
}

impl Blocked {
    /// Reads the domains; the first that is none is the error.
    pub(super) fn new(domains: &[String]) -> Result<Self, String> {
        domains.iter().map(|domain| compared(domain).ok_or_else(|| domain.clone())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an address is in one of them, or in a domain below it.
    pub(super) fn has(&self, email: &str) -> bool {
        let domain = domain(email);
        let is_in = |blocked: &String| match domain.strip_suffix(blocked.as_str()) {
            Some(below) => below.is_empty() || below.ends_with('.'),
            None => false,
        };
        self.0.iter().any(is_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_domain_is_known_however_it_is_written() {
        for (blocked, email, expected) in [
            ("Spam.example", "a@spam.example", true),
            ("spam.example", "a@mail.SPAM.example ", true),
            ("spam.example", "a@nospam.example", false),
            ("spam.example", "a@spam.example.org", false),
            ("bücher.example", "a@BÜCHER.example", true),
            ("bücher.example", "a@xn--bcher-kva.example", true),
            ("xn--bcher-kva.example", "a@shop.bücher.example", true),
            ("spam.example", "a@ｓｐａｍ．example", true),
            ("spam.example", "a@spam.example.", true),
            ("spam.example", "a@r3---sn.SPAM.example", true),
            ("spam.example", "a@xn--a.spam.example", true),
            ("spam.example", "a@aא.spam.example", true),
            ("spam.example", "", false),
        ] {
            assert_eq!(Blocked::new(&[blocked.to_owned()]).unwrap().has(email), expected, "{blocked} {email}");
        }
        for no_domain in ["", "spam example", "."] {
            assert_eq!(Blocked::new(&[no_domain.to_owned()]).err().as_deref(), Some(no_domain));
        }
    }
}
