//! What is asked of the first administrator's password and e-mail address.

/// The fewest characters.
const SHORTEST: usize = 12;
/// The most: hashing more would only cost time.
const LONGEST: usize = 1_000;

/// What is wrong with a password, where something is. What `others` say, the company's name for
/// one, is easily guessed.
pub(crate) fn weakness(password: &str, others: &[&str]) -> Option<String> {
    if password.chars().any(char::is_control) {
        return Some("The password has characters in it that cannot be seen.".to_owned());
    }
    let length = password.chars().count();
    if length < SHORTEST {
        return Some(format!("The password must have {SHORTEST} characters at least."));
    }
    if length > LONGEST {
        return Some(format!("The password must have {LONGEST} characters at most."));
    }
    // Its estimate of a long text takes long, and adds nothing.
    let start: String = password.chars().take(100).collect();
    let estimate = zxcvbn::zxcvbn(&start, others);
    if estimate.score() >= zxcvbn::Score::Three {
        return None;
    }
    let warning = estimate.feedback().and_then(zxcvbn::feedback::Feedback::warning);
    let why = warning.map(|warning| format!(" {warning}")).unwrap_or_default();
    Some(format!(
        "The password is too easy to guess.{why} Add a word or two that have nothing to do with each other."
    ))
}

/// Whether a text has the form of a license (a compact JWS). What it is worth, the product finds
/// out.
pub(crate) fn is_token(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.split('.').count() == 3 && text.split('.').all(is_part)
}

/// The longest text of a field, in characters.
const LONGEST_TEXT: usize = 200;

/// What makes a text unfit for a field, where something does.
pub(crate) fn unfit(text: &str) -> Option<String> {
    if text.chars().count() > LONGEST_TEXT {
        return Some(format!("At most {LONGEST_TEXT} characters."));
    }
    // An environment, which the product reads it from, cannot carry all of them.
    text.chars()
        .any(char::is_control)
        .then(|| "This has characters in it that cannot be seen.".to_owned())
}

/// Whether mail could go there: whoever gets it proves the rest.
pub(crate) fn is_email(text: &str) -> bool {
    let parts = text.rsplit_once('@');
    let is_whole = parts.is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty());
    is_whole
        && !text.chars().any(|it| it.is_whitespace() || it.is_control() || "<>,;:\"".contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_that_mail_could_go_to() {
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
    fn a_password_is_long_and_hard_to_guess() {
        let long = "ü".repeat(1_001);
        for (password, expected) in [
            ("correct horse battery staple", None),
            ("Zug!Lampe7Kaktus", None),
            ("short", Some("12 characters at least")),
            ("correct horse\u{0} battery staple", Some("cannot be seen")),
            ("password1234", Some("too easy to guess")),
            ("aaaaaaaaaaaaaaaa", Some("too easy to guess")),
            ("Acme Industries", Some("too easy to guess")),
            (long.as_str(), Some("1000 characters at most")),
        ] {
            let found = weakness(password, &["Acme Industries", "ada@example.com"]);
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
