//! Texts that people type, parsed once at the edge of the system.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Refusal;

/// Trims `text` and refuses an empty text, more than `max` characters, control characters (also
/// U+0000, which PostgreSQL cannot store), line and paragraph separators, and bidirectional
/// controls.
pub(crate) fn parse(field: &'static str, text: &str, max: usize) -> Result<String, Refusal> {
    let text = text.trim();
    let problem = if text.chars().all(is_invisible) {
        "must not be empty".to_owned()
    } else if text.chars().count() > max {
        format!("must be at most {max} characters long")
    } else if text.chars().any(|c| c.is_control() || is_line_end(c) || is_bidi_control(c)) {
        "must not contain control characters, line separators or bidirectional controls".to_owned()
    } else {
        return Ok(text.to_owned());
    };
    Err(Refusal::Invalid { field, problem })
}

/// True for Unicode's line and paragraph separators.
fn is_line_end(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

/// True for characters that change the direction of the text around them: a name with one makes
/// other text on the page, in the mail or in the terminal look different.
pub(crate) fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// True for characters that are invisible on a screen and that copying leaves behind.
pub(crate) fn is_ignorable(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{2069}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
    )
}

/// True for characters of a mail domain (RFC 5321's sub-domains, plus letters of every language,
/// RFC 6531).
fn is_in_domains(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.') || !c.is_ascii()
}

/// True for white space and invisible characters.
fn is_invisible(c: char) -> bool {
    c.is_whitespace() || is_ignorable(c)
}

/// Folds text for search and comparison. Databases differ in what "any case" means, so core folds
/// for all of them.
#[must_use]
pub fn fold(text: &str) -> String {
    text.trim().to_lowercase()
}

/// Merges a field that a request may send under two names, and checks its value with `parse`. Each
/// name comes with its value. A refusal names the field that the caller sent.
///
/// Refuses a request that has both names with different values: either choice could bind the wrong
/// subscription.
pub fn same_field<T>(
    (new_name, new): (&'static str, Option<String>),
    (old_name, old): (&'static str, Option<String>),
    parse: impl Fn(&str) -> Result<T, Refusal>,
) -> Result<Option<String>, Refusal> {
    let given = |value: Option<String>| value.filter(|value| !value.trim().is_empty());
    let (name, value) = match (given(new), given(old)) {
        (None, None) => return Ok(None),
        (Some(new), Some(old)) if new.trim() != old.trim() => {
            let problem = format!("differs from `{old_name}`, which is in the request, too");
            return Err(Refusal::Invalid { field: new_name, problem });
        }
        (Some(new), _) => (new_name, new),
        (None, Some(old)) => (old_name, old),
    };
    match parse(&value) {
        Ok(_) => Ok(Some(value)),
        Err(Refusal::Invalid { problem, .. }) => Err(Refusal::Invalid { field: name, problem }),
        Err(other) => Err(other),
    }
}

macro_rules! text_type {
    ($($(#[$doc:meta])* $name:ident($field:literal, $max:literal)),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            #[doc = concat!("Parses a `", $field, "`: trimmed, 1 to ", $max, " characters, ")]
            #[doc = "no control characters, line separators or bidirectional controls."]
            pub fn parse(text: &str) -> Result<Self, Refusal> {
                parse($field, text, $max).map(Self)
            }

            /// Wraps a text that was parsed before it was stored.
            #[must_use]
            pub fn from_stored(text: String) -> Self {
                Self(text)
            }

            /// The text as a string.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

text_type!(
    /// Name of the company that a tenant is registered for.
    CompanyName("company_name", 200),
    /// Name of a person.
    PersonName("contact_name", 200),
    /// Code of the product that a tenant runs, from the configured catalogue.
    ProductCode("product_code", 64),
    /// A region, in the vendor's naming.
    Region("region", 64),
    /// Id of a subscription in the vendor's billing system: any opaque text.
    SubscriptionId("stripe_sub_id", 255),
    /// Id of a customer in the vendor's billing system: any opaque text.
    BillingCustomerId("stripe_customer_id", 255),
    /// An appliance's own name for itself. Not unique across tenants: the identity of an appliance
    /// is (tenant, appliance id).
    ApplianceId("appliance_id", 255),
    /// Version of the appliance image.
    Version("version", 64),
    /// Name of a release channel.
    Channel("channel", 32),
);

/// Email address of a tenant's contact. Stored as typed, compared [folded](Self::folded).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Parses an address: RFC 5321's lengths, no display name, no control characters.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let text = parse("contact_email", text, 254)?;
        let options =
            email_address::Options::default().without_display_text().without_domain_literal();
        match email_address::EmailAddress::parse_with_options(&text, options) {
            // A quoted local part may contain anything, and hardly any mail server accepts one.
            Ok(_)
                if text
                    .rsplit('@')
                    .next()
                    .is_some_and(|domain| !domain.chars().all(is_in_domains)) =>
            {
                let problem =
                    "must have letters, digits, `-` and `.` only in its domain".to_owned();
                Err(Refusal::Invalid { field: "contact_email", problem })
            }
            Ok(_) if text.contains('"') => Err(Refusal::Invalid {
                field: "contact_email",
                problem: "must not contain quotes".to_owned(),
            }),
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(Refusal::Invalid {
                field: "contact_email",
                problem: format!(
                    "is not an email address: {}",
                    error.to_string().trim_end_matches('.')
                ),
            }),
        }
    }

    /// Wraps an address that was parsed before it was stored.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The address as typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address in the form used for comparison. ASCII letters compare in any case, and a domain
    /// in any spelling (IDNA, UTS #46), since mail to each goes to the same host. Other letters
    /// before the `@` compare as they are: a letter that Unicode folds to an ASCII one (U+212A, the
    /// Kelvin sign) may belong to somebody else's inbox.
    #[must_use]
    pub fn folded(&self) -> String {
        self.deliverable().to_ascii_lowercase()
    }

    /// The inbox that the address leads to, in the form for comparisons: many providers deliver
    /// `ada+any@example.com` to `ada@example.com`. Only for counting, since not all do.
    #[must_use]
    pub fn inbox(&self) -> String {
        let folded = self.folded();
        let Some((local, domain)) = folded.rsplit_once('@') else { return folded };
        match local.split_once('+') {
            Some((name, _)) if !name.is_empty() => format!("{name}@{domain}"),
            _ => folded,
        }
    }

    /// The address in the form for mail servers. An international domain is in its ASCII form (RFC
    /// 5891), which needs no SMTPUTF8. A domain that IDNA cannot convert is unchanged.
    #[must_use]
    pub fn deliverable(&self) -> String {
        let Some((local, domain)) = self.0.rsplit_once('@') else { return self.0.clone() };
        match idna::domain_to_ascii(domain) {
            Ok(ascii) if !domain.is_ascii() && !ascii.is_empty() => format!("{local}@{ascii}"),
            _ => self.0.clone(),
        }
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R-register-tenant-14.
    #[test]
    fn field_has_two_names_and_one_value() {
        let text = |text: &str| Some(text.to_owned());
        let long = "x".repeat(256);
        for (new, old, expected) in [
            (None, None, Ok(None)),
            (text("a"), None, Ok(text("a"))),
            (None, text("a"), Ok(text("a"))),
            (text("a"), text("a"), Ok(text("a"))),
            (text("a"), text(" a "), Ok(text("a"))),
            (text(""), text("a"), Ok(text("a"))),
            (text("a"), text("b"), Err("new")),
            (text(&long), None, Err("new")),
            (None, text(&long), Err("old")),
        ] {
            let merged = same_field(("new", new), ("old", old), SubscriptionId::parse);
            let merged = merged.map_err(|refusal| match refusal {
                Refusal::Invalid { field, .. } => field,
                other => panic!("{other}"),
            });
            assert_eq!(merged, expected);
        }
    }

    #[test]
    fn address_needs_local_part_and_domain() {
        for (text, is_valid) in [
            ("ada@example.com", true),
            (" Ada.Lovelace+x@Example.COM ", true),
            ("root@localhost", true),
            ("jörg@bücher.example", true),
            ("ada.example.com", false),
            ("@example.com", false),
            ("ada@", false),
            ("ada@@example.com", false),
            ("Ada <ada@example.com>", false),
            ("ada@example.com\r\nBcc: eve@example.com", false),
            ("ada\u{0}@example.com", false),
            ("ada@[127.0.0.1]", false),
            ("ada@b/c.example", false),
            ("ada@b%c.example", false),
            ("ada@b_c.example", false),
            ("\"a b\"@example.com", false),
            ("", false),
        ] {
            assert_eq!(EmailAddress::parse(text).is_ok(), is_valid, "{text:?}");
        }
    }

    #[test]
    fn domain_spellings_are_one_inbox() {
        for (address, deliverable, folded) in [
            ("Ada@Example.COM", "Ada@Example.COM", "ada@example.com"),
            ("Ada@Bücher.example", "Ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
            ("ada@BÜCHER.example", "ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
            ("ada@ｃorp.example", "ada@corp.example", "ada@corp.example"),
            ("jörg@bücher.example", "jörg@xn--bcher-kva.example", "jörg@xn--bcher-kva.example"),
            (
                "vi\u{212a}tor@acme.example",
                "vi\u{212a}tor@acme.example",
                "vi\u{212a}tor@acme.example",
            ),
            ("a@r3---sn.ｓｐａｍ.example", "a@r3---sn.spam.example", "a@r3---sn.spam.example"),
        ] {
            let address = EmailAddress::parse(address).unwrap();
            assert_eq!(
                (address.deliverable().as_str(), address.folded().as_str()),
                (deliverable, folded)
            );
        }
    }

    /// R-general-6.
    #[test]
    fn company_name_is_trimmed_and_bounded() {
        assert_eq!(
            CompanyName::parse("  Ünïcode & Söhne 🚀 ").unwrap().as_str(),
            "Ünïcode & Söhne 🚀"
        );
        for text in [
            "",
            "   ",
            "\u{200b}\u{feff}",
            "\u{202e}",
            "a\u{0}b",
            "two\nlines",
            "two\u{2028}lines",
            "two\u{2029}lines",
            "Acme \u{202e}elpmaxe",
            "\u{202a}Acme\u{202c}",
            "\u{2066}Acme\u{2069}",
            "a\u{9b}31mb",
            &"x".repeat(201),
        ] {
            assert!(CompanyName::parse(text).is_err(), "{text:?}");
        }
        // Persian and emoji need the joiners U+200C and U+200D.
        for text in ["ü".repeat(200).as_str(), "می\u{200c}خواهم", "👩\u{200d}💻 GmbH", "שלום"]
        {
            assert!(CompanyName::parse(text).is_ok(), "{text:?}");
        }
        assert!(ApplianceId::parse("a\u{202e}b").is_err());
    }
}
