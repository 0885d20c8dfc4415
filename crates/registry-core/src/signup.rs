//! Self-service registration: the choices that a vendor offers, and the validation of a form. All
//! mistakes are reported at once.

use crate::string_enum::string_enum;
use crate::text::{CompanyName, EmailAddress, PersonName, is_bidi_control, is_ignorable};

/// The registrations that a vendor lets customers make.
#[derive(Clone, Debug)]
pub struct SelfService {
    /// The editions to choose from. If there is only one, the form has no field for it.
    pub editions: Vec<String>,
    /// The products to choose from. If there is only one, the form has no field for it.
    pub products: Vec<String>,
    /// Domains whose addresses are refused.
    pub blocked: BlockedDomains,
}

/// The fields of a registration form, as typed.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the names of the fields are clear")]
pub struct SignupEntries<'a> {
    pub company_name: &'a str,
    pub contact_name: &'a str,
    pub contact_email: &'a str,
    pub edition: &'a str,
    pub product_code: &'a str,
}

/// The kinds of mistakes in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldError {
    /// A required field is empty.
    Empty,
    /// The field is not an email address.
    Email,
    /// The text is too long, or has characters that no name has.
    Text,
    /// The text is a link or an address, or reverses its direction (Unicode's bidirectional
    /// controls). Anybody can make the registry mail a stranger, so names must not carry links.
    /// Text that merely resembles a link is defused when the mail is rendered.
    Link,
    /// Addresses of this domain are refused.
    Blocked,
    /// The value is not among the choices.
    Choice,
}

string_enum!(FieldError {
    Empty = "empty",
    Email = "email",
    Text = "text",
    Link = "link",
    Blocked = "blocked",
    Choice = "choice",
});

impl SelfService {
    /// Returns every mistake, with the name of its field.
    #[must_use]
    pub fn mistakes(&self, typed: &SignupEntries<'_>) -> Vec<(&'static str, FieldError)> {
        let name = |text: &str, is_required: bool, is_valid: bool| {
            if text.trim().is_empty() {
                is_required.then_some(FieldError::Empty)
            } else if is_link(text) {
                Some(FieldError::Link)
            } else {
                (!is_valid).then_some(FieldError::Text)
            }
        };
        let email = |text: &str| match EmailAddress::parse(text) {
            _ if text.trim().is_empty() => Some(FieldError::Empty),
            Ok(address) => self.blocked.has(&address).then_some(FieldError::Blocked),
            Err(_) => Some(FieldError::Email),
        };
        let choice = |chosen: &str, options: &[String]| {
            (options.len() > 1 && !options.iter().any(|option| option == chosen))
                .then_some(FieldError::Choice)
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

/// Returns the chosen option. A single option is chosen already, because the form does not ask for
/// it.
#[must_use]
pub fn chosen<'a>(options: &'a [String], typed: &'a str) -> &'a str {
    match options {
        [only] => only,
        _ => typed,
    }
}

fn is_link(name: &str) -> bool {
    // As a reader sees the name: without the invisible characters, and with full-width forms as the
    // ASCII characters that they resemble.
    let visible = name.chars().filter(|letter| !is_ignorable(*letter)).map(narrow);
    let visible: String = visible.map(|letter| letter.to_ascii_lowercase()).collect();
    let is_in_address = |mark: &str| {
        visible.match_indices(mark).any(|(at, _)| {
            visible[at + mark.len()..].starts_with(|next: char| !next.is_whitespace())
        })
    };
    ["://", "www.", "@"].into_iter().any(is_in_address) || name.contains(is_bidi_control)
}

/// Returns the ASCII character that a full-width form stands for, and other characters as they are.
fn narrow(letter: char) -> char {
    match letter {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(letter) - 0xfee0).unwrap_or(letter),
        other => other,
    }
}

/// Blocked domains, normalised for comparison: ASCII by IDNA (UTS #46), lower case.
#[derive(Clone, Debug, Default)]
pub struct BlockedDomains(Vec<String>);

fn normalised(domain: &str) -> Option<String> {
    let ascii = idna::domain_to_ascii(domain.trim_end_matches('.')).ok()?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    Some(ascii).filter(|ascii| !ascii.is_empty() && ascii.chars().all(is_name))
}

impl BlockedDomains {
    /// Parses domains. The error is the first text that is not a domain.
    pub fn new(domains: &[String]) -> Result<Self, String> {
        domains
            .iter()
            .map(|domain| normalised(domain).ok_or_else(|| domain.clone()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// True if an address is in one of the domains, or in a subdomain of one.
    #[must_use]
    pub fn has(&self, address: &EmailAddress) -> bool {
        // The folded address keeps a domain that IDNA cannot convert: the DNS may have it, so mail
        // may reach it.
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

    fn valid() -> SignupEntries<'static> {
        SignupEntries {
            company_name: "Acme",
            contact_email: "ada@acme.example",
            edition: "pro",
            ..SignupEntries::default()
        }
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let blocked = BlockedDomains::new(&["spam.example".to_owned()]).unwrap();
        let several = vec!["essentials".to_owned(), "pro".to_owned()];
        let one = vec!["gate".to_owned()];
        let service = SelfService { editions: several.clone(), products: one, blocked };
        let long = "x".repeat(201);
        for (typed, mistakes) in [
            (valid(), vec![]),
            (SignupEntries { contact_name: " ", ..valid() }, vec![]),
            (
                SignupEntries::default(),
                vec![
                    ("company_name", FieldError::Empty),
                    ("contact_email", FieldError::Empty),
                    ("edition", FieldError::Choice),
                ],
            ),
            (
                SignupEntries { company_name: &long, ..valid() },
                vec![("company_name", FieldError::Text)],
            ),
            (
                SignupEntries { contact_name: "two\nlines", ..valid() },
                vec![("contact_name", FieldError::Text)],
            ),
            (
                SignupEntries { company_name: "at https://evil.example", ..valid() },
                vec![("company_name", FieldError::Link)],
            ),
            (
                SignupEntries { contact_name: "Acme \u{202e}elpmaxe", ..valid() },
                vec![("contact_name", FieldError::Link)],
            ),
            (
                SignupEntries { company_name: "WWW.evil.example/pay", ..valid() },
                vec![("company_name", FieldError::Link)],
            ),
            (
                SignupEntries { contact_name: "eve@evil.example", ..valid() },
                vec![("contact_name", FieldError::Link)],
            ),
            (
                SignupEntries { company_name: "Acme www. www.evil.example", ..valid() },
                vec![("company_name", FieldError::Link)],
            ),
            (
                SignupEntries { contact_name: "Ada @ Acme, eve@evil.example", ..valid() },
                vec![("contact_name", FieldError::Link)],
            ),
            (
                SignupEntries { company_name: "ww\u{200b}w.evil.example", ..valid() },
                vec![("company_name", FieldError::Link)],
            ),
            (
                SignupEntries { company_name: "https:\u{2060}/\u{ad}/evil.example", ..valid() },
                vec![("company_name", FieldError::Link)],
            ),
            (
                SignupEntries { company_name: "https：／／evil.example", ..valid() },
                vec![("company_name", FieldError::Link)],
            ),
            (
                SignupEntries { company_name: "ＷＷｗ．evil.example", ..valid() },
                vec![("company_name", FieldError::Link)],
            ),
            (
                SignupEntries { contact_name: "eve＠evil.example", ..valid() },
                vec![("contact_name", FieldError::Link)],
            ),
            (SignupEntries { company_name: "Acme www. Ltd", ..valid() }, vec![]),
            (SignupEntries { company_name: "Ada @ Acme", ..valid() }, vec![]),
            (SignupEntries { company_name: "Ada ＠\u{200b} Acme", ..valid() }, vec![]),
            (SignupEntries { company_name: "Booking.com B.V.", ..valid() }, vec![]),
            (
                SignupEntries { contact_email: "ada@", ..valid() },
                vec![("contact_email", FieldError::Email)],
            ),
            (
                SignupEntries { contact_email: "a@x.SPAM.example", ..valid() },
                vec![("contact_email", FieldError::Blocked)],
            ),
            (
                SignupEntries { edition: "gold", product_code: "other", ..valid() },
                vec![("edition", FieldError::Choice)],
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
    fn blocked_domain_matches_any_spelling() {
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
