//! What customers may register by themselves, and which mistakes they can make: all of them are
//! told at once.

use crate::string_enum::string_enum;
use crate::text::{CompanyName, EmailAddress, PersonName};

/// What a vendor lets customers register by themselves.
#[derive(Clone, Debug)]
pub struct SelfService {
    /// The editions to choose from; nothing is chosen where there is one.
    pub editions: Vec<String>,
    /// The products to choose from, likewise.
    pub products: Vec<String>,
    /// Domains whose addresses are not registered.
    pub blocked: BlockedDomains,
}

/// What a customer typed.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Typed<'a> {
    pub company_name: &'a str,
    pub contact_name: &'a str,
    pub contact_email: &'a str,
    pub edition: &'a str,
    pub product_code: &'a str,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// It is needed, and there is nothing in it.
    Empty,
    /// It is no e-mail address.
    Email,
    /// It is too long, or has characters that no name has.
    Text,
    /// It is a link or an address, or turns its text around (Unicode's bidirectional controls):
    /// anybody may have anybody mailed. What else looks like a link is made harmless where the mail
    /// is written.
    Link,
    /// Addresses of its domain are not registered.
    Blocked,
    /// It is none of those to choose from.
    Choice,
}

string_enum!(Mistake {
    Empty = "empty",
    Email = "email",
    Text = "text",
    Link = "link",
    Blocked = "blocked",
    Choice = "choice",
});

impl SelfService {
    /// Every mistake, with the name of its field.
    #[must_use]
    pub fn mistakes(&self, typed: &Typed<'_>) -> Vec<(&'static str, Mistake)> {
        let name = |text: &str, is_needed: bool, is_name: bool| {
            if text.trim().is_empty() {
                is_needed.then_some(Mistake::Empty)
            } else if is_link(text) {
                Some(Mistake::Link)
            } else {
                (!is_name).then_some(Mistake::Text)
            }
        };
        let email = |text: &str| match EmailAddress::parse(text) {
            _ if text.trim().is_empty() => Some(Mistake::Empty),
            Ok(address) => self.blocked.has(&address).then_some(Mistake::Blocked),
            Err(_) => Some(Mistake::Email),
        };
        let choice = |chosen: &str, options: &[String]| {
            (options.len() > 1 && !options.iter().any(|it| it == chosen)).then_some(Mistake::Choice)
        };
        let found = [
            (
                "company_name",
                name(typed.company_name, true, CompanyName::parse(typed.company_name).is_ok()),
            ),
            (
                "contact_name",
                name(typed.contact_name, false, PersonName::parse(typed.contact_name).is_ok()),
            ),
            ("contact_email", email(typed.contact_email)),
            ("edition", choice(typed.edition, &self.editions)),
            ("product_code", choice(typed.product_code, &self.products)),
        ];
        found.into_iter().filter_map(|(field, mistake)| Some((field, mistake?))).collect()
    }
}

/// What is chosen: where there is one, nobody was asked.
#[must_use]
pub fn chosen<'a>(options: &'a [String], typed: &'a str) -> &'a str {
    match options {
        [only] => only,
        _ => typed,
    }
}

fn is_link(name: &str) -> bool {
    let turns = |letter| matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let lower = name.to_ascii_lowercase();
    let goes_on = |(_, rest): (&str, &str)| rest.starts_with(|next: char| !next.is_whitespace());
    let is_address =
        ["://", "www.", "@"].iter().any(|mark| lower.split_once(mark).is_some_and(goes_on));
    is_address || name.contains(turns)
}

/// Domains, as they are compared: in ASCII, by IDNA (UTS #46), in lower case.
#[derive(Clone, Debug, Default)]
pub struct BlockedDomains(Vec<String>);

fn compared(domain: &str) -> Option<String> {
    let ascii = idna::domain_to_ascii(domain.trim_end_matches('.')).ok()?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    Some(ascii).filter(|ascii| !ascii.is_empty() && ascii.chars().all(is_name))
}

impl BlockedDomains {
    /// Reads the domains; the first that is none is the error.
    pub fn new(domains: &[String]) -> Result<Self, String> {
        domains
            .iter()
            .map(|domain| compared(domain).ok_or_else(|| domain.clone()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether an address is in one of them, or in a domain below it.
    #[must_use]
    pub fn has(&self, address: &EmailAddress) -> bool {
        // Where mail to it goes. Names that IDNA has no form for are in the DNS all the same.
        let folded = address.folded();
        let domain = folded.rsplit('@').next().unwrap_or_default().trim_end_matches('.');
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

    fn fine() -> Typed<'static> {
        Typed {
            company_name: "Acme",
            contact_email: "ada@acme.example",
            edition: "pro",
            ..Typed::default()
        }
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let blocked = BlockedDomains::new(&["spam.example".to_owned()]).unwrap();
        let several = vec!["essentials".to_owned(), "pro".to_owned()];
        let one = vec!["gate".to_owned()];
        let service = SelfService { editions: several.clone(), products: one, blocked };
        let long = "x".repeat(201);
        for (typed, mistakes) in [
            (fine(), vec![]),
            (Typed { contact_name: " ", ..fine() }, vec![]),
            (
                Typed::default(),
                vec![
                    ("company_name", Mistake::Empty),
                    ("contact_email", Mistake::Empty),
                    ("edition", Mistake::Choice),
                ],
            ),
            (Typed { company_name: &long, ..fine() }, vec![("company_name", Mistake::Text)]),
            (Typed { contact_name: "two\nlines", ..fine() }, vec![("contact_name", Mistake::Text)]),
            (
                Typed { company_name: "at https://evil.example", ..fine() },
                vec![("company_name", Mistake::Link)],
            ),
            (
                Typed { contact_name: "Acme \u{202e}elpmaxe", ..fine() },
                vec![("contact_name", Mistake::Link)],
            ),
            (
                Typed { company_name: "WWW.evil.example/pay", ..fine() },
                vec![("company_name", Mistake::Link)],
            ),
            (
                Typed { contact_name: "eve@evil.example", ..fine() },
                vec![("contact_name", Mistake::Link)],
            ),
            (Typed { company_name: "Acme www. Ltd", ..fine() }, vec![]),
            (Typed { company_name: "Ada @ Acme", ..fine() }, vec![]),
            (Typed { company_name: "Booking.com B.V.", ..fine() }, vec![]),
            (Typed { contact_email: "ada@", ..fine() }, vec![("contact_email", Mistake::Email)]),
            (
                Typed { contact_email: "a@x.SPAM.example", ..fine() },
                vec![("contact_email", Mistake::Blocked)],
            ),
            (
                Typed { edition: "gold", product_code: "other", ..fine() },
                vec![("edition", Mistake::Choice)],
            ),
        ] {
            assert_eq!(service.mistakes(&typed), mistakes, "{typed:?}");
        }
        assert_eq!(
            (chosen(&several, "pro"), chosen(&several[..1], "pro"), chosen(&[], "pro")),
            ("pro", "essentials", "pro")
        );
    }

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
            ("spam.example", "a@r3---sn.ｓｐａｍ.example", true),
            ("bücher.example", "a@r3---sn.bücher.example", true),
            ("r3---sn.spam.example", "a@r3---sn.spam.example", true),
            ("spam.example", "a@xn--a.spam.example", true),
            ("spam.example", "a@aא.spam.example", true),
            ("spam.example", "", false),
        ] {
            let address = EmailAddress::from_stored(email.trim().to_owned());
            assert_eq!(
                BlockedDomains::new(&[blocked.to_owned()]).unwrap().has(&address),
                expected,
                "{blocked} {email}"
            );
        }
        for no_domain in ["", "spam example", "."] {
            assert_eq!(
                BlockedDomains::new(&[no_domain.to_owned()]).err().as_deref(),
                Some(no_domain)
            );
        }
    }
}
