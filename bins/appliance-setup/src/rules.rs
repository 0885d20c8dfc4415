//! Validation of the installer's entries: the administrator's password and email address, and other
//! texts.

/// Minimum length of a password, in characters.
const MIN_PASSWORD_LENGTH: usize = 12;
/// Maximum length of a password, in characters: hashing more only costs time.
const MAX_PASSWORD_LENGTH: usize = 1_000;

/// Returns what is wrong with a password, if anything. `related` are texts that make it easy to
/// guess, such as the company's name.
pub(crate) fn password_problem(password: &str, related: &[&str]) -> Option<String> {
    if password.chars().any(char::is_control) {
        return Some("The password contains invisible characters.".to_owned());
    }
    let length = password.chars().count();
    if length < MIN_PASSWORD_LENGTH {
        return Some(format!("The password must have at least {MIN_PASSWORD_LENGTH} characters."));
    }
    if length > MAX_PASSWORD_LENGTH {
        return Some(format!("The password must have at most {MAX_PASSWORD_LENGTH} characters."));
    }
    // Estimating a long text takes long and changes nothing.
    let start: String = password.chars().take(100).collect();
    let estimate = zxcvbn::zxcvbn(&start, related);
    if estimate.score() >= zxcvbn::Score::Three {
        return None;
    }
    let warning = estimate.feedback().and_then(zxcvbn::feedback::Feedback::warning);
    let reason = warning.map(|warning| format!(" {warning}")).unwrap_or_default();
    Some(format!("The password is too easy to guess.{reason} Add one or two unrelated words."))
}

/// True if a text has the form of a license (a compact JWS). The product verifies the license.
pub(crate) fn is_compact_jws(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.split('.').count() == 3 && text.split('.').all(is_part)
}

/// Maximum length of a field's text, in characters.
const MAX_TEXT_LENGTH: usize = 200;

/// Returns what is wrong with a field's text, if anything.
pub(crate) fn text_problem(text: &str) -> Option<String> {
    if text.chars().count() > MAX_TEXT_LENGTH {
        return Some(format!("Use at most {MAX_TEXT_LENGTH} characters."));
    }
    // The product reads the text from its environment, which cannot contain every character.
    text.chars()
        .any(char::is_control)
        .then(|| "This text contains invisible characters.".to_owned())
}

/// True if a text could be an email address. Only a mail that arrives proves that it is one.
pub(crate) fn is_email(text: &str) -> bool {
    let parts = text.rsplit_once('@');
    let is_complete = parts.is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty());
    is_complete
        && !text.chars().any(|it| it.is_whitespace() || it.is_control() || "<>,;:\"".contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn email_addresses_are_checked() {
        for good in
            ["ada@example.com", "ada@localhost", "\u{e4}da@b\u{fc}cher.example", "a@b@c.example"]
        {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "",
            "ada",
            "ada@",
            "@example.com",
            "ada lovelace@example.com",
            "<ada@example.com>",
            "a@b,c@d",
        ] {
            assert!(!is_email(bad), "{bad}");
        }
    }

    #[test]
    fn weak_passwords_are_refused() {
        let long = "ü".repeat(1_001);
        for (password, expected) in [
            ("correct horse battery staple", None),
            ("Zug!Lampe7Kaktus", None),
            ("short", Some("at least 12 characters")),
            ("correct horse\u{0} battery staple", Some("invisible characters")),
            ("password1234", Some("too easy to guess")),
            ("aaaaaaaaaaaaaaaa", Some("too easy to guess")),
            ("Acme Industries", Some("too easy to guess")),
            (long.as_str(), Some("at most 1000 characters")),
        ] {
            let found = password_problem(password, &["Acme Industries", "ada@example.com"]);
            match expected {
                None => assert_eq!(found, None, "{password}"),
                Some(part) => assert!(
                    found.as_deref().is_some_and(|it| it.contains(part)),
                    "{password}: {found:?}"
                ),
            }
        }
    }
}
