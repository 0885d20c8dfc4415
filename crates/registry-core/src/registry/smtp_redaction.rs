//! Redaction of a mail server's response: one short printable line without any part of the mail.
//!
//! A server may quote the mail that it refuses, in any spelling. Its response is stored only if
//! nothing in it looks like the code or the link, however broken, spaced, encoded or cut. Otherwise
//! only the kind of the error is stored.

use crate::mail::{MailError, Message, OutgoingMail};

/// Number of characters of a response that are stored.
const LENGTH: usize = 300;

/// Number of consecutive characters of a code that count as a quote: one group of the code.
const CODE_PIECE: usize = 4;

/// Number of consecutive characters of a link's secret part that count as a quote.
const LINK_PIECE: usize = 8;

/// Length from which a word of mixed letters and digits may be an encoded code or link.
const ENCODED: usize = 16;

/// Returns the error in a form that may be logged, stored and shown.
pub(super) fn redact(error: MailError, mail: &OutgoingMail) -> MailError {
    let (code, link) = match &mail.message {
        Message::InstallCode(message) => (
            message.code.expose(),
            message.download.as_ref().map(|download| download.link.expose()),
        ),
        Message::PortalLink(message) => ("", Some(message.link.expose())),
    };
    let secret_part = link.and_then(|link| link.rsplit(['/', '=']).next()).unwrap_or_default();
    error.map(|text| {
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if quotes(&text, code, secret_part) {
            let kind = text
                .split(':')
                .next()
                .filter(|kind| kind.len() < 40 && !quotes(kind, code, secret_part));
            return format!(
                "{}: the response is not stored, since it may quote the mail",
                kind.unwrap_or("refused")
            );
        }
        text.chars().take(LENGTH).collect()
    })
}

/// Returns true if anything in the text looks like a piece of the code or of the link.
fn quotes(text: &str, code: &str, secret_part: &str) -> bool {
    let letters: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let folded = letters.to_ascii_uppercase();
    has_piece(&folded, code, CODE_PIECE)
        || has_piece(&letters, &secret_part.replace(['-', '_'], ""), LINK_PIECE)
        || text.split(|c: char| c.is_whitespace() || "()<>[]\"',;:".contains(c)).any(looks_encoded)
}

/// Returns true if the text contains `length` consecutive characters of the secret.
fn has_piece(text: &str, secret: &str, length: usize) -> bool {
    secret.is_ascii()
        && secret.len() >= length
        && (0..=secret.len() - length).any(|at| text.contains(&secret[at..at + length]))
}

/// Returns true if a word may be encoded, for example in base64: it has digits and letters of both
/// cases, and no dot or `@` as host names and addresses have.
fn looks_encoded(word: &str) -> bool {
    let has = |kind: fn(&char) -> bool| word.chars().any(|c| kind(&c));
    word.len() >= ENCODED
        && !word.contains(['.', '@'])
        && has(char::is_ascii_digit)
        && has(char::is_ascii_lowercase)
        && has(char::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::id::{MailId, TenantId};
    use crate::install_code::PlainCode;
    use crate::mail::InstallCodeMessage;
    use crate::text::{CompanyName, EmailAddress};

    const TOKEN: &str = "AaITsuzGfwOywNE5lcDAu4rSmQtsVfb2CsLAS9TWlwg";

    fn redacted(response: &str) -> String {
        let mail = OutgoingMail {
            id: MailId(uuid::Uuid::nil()),
            to: EmailAddress::from_stored("a@example.com".into()),
            queued_at: Timestamp::default(),
            message: Message::InstallCode(Box::new(InstallCodeMessage {
                tenant_id: TenantId(uuid::Uuid::nil()),
                company_name: CompanyName::from_stored("Acme".into()),
                contact_name: None,
                edition: "pro".to_owned(),
                code: PlainCode::new("K7QPM2RX9TDV".into()),
                code_expires_at: Timestamp::default(),
                download: None,
                reissued: false,
            })),
        };
        redact(MailError::Permanent(response.to_owned()), &mail).to_string()
    }

    #[test]
    fn response_is_one_short_line() {
        for response in [
            "permanent error (550): 5.1.1 no such user",
            "transient error (451): 4.7.1 Greylisted, see https://postgrey.example/help/a-b.html",
            "connection error: Connection refused (os error 111)",
            "permanent error (552): 5.2.2 Mailbox full 20261125T174300",
        ] {
            assert_eq!(redacted(response), response);
        }
        assert_eq!(redacted(&"x".repeat(1_000)).chars().count(), LENGTH);
        assert_eq!(redacted("a\u{0}b\u{1b}[31mc\nd"), "a b [31mc d");
    }

    #[test]
    fn code_in_any_spelling_is_redacted() {
        let padding = "y".repeat(LENGTH - 5);
        for quoted in [
            "K7QP-M2RX-9TDV",
            "k7qp-m2rx-9tdv",
            "K7QPM2RX9TDV",
            "K7QP-M2 RX-9TDV",
            "K7QP=2DM2RX=2D9TDV",
            "K7QP&#45;M2RX&#45;9TDV",
            "K 7 Q P M 2 R X",
            "K7QP-M2RX",
            "SzdRUC1NMlJYLTlURFY=",
            &format!("{padding}K7QP-M2RX-9TDV"),
        ] {
            let text = redacted(&format!("permanent error (550): {quoted}"));
            assert_eq!(
                text,
                "permanent error (550): the response is not stored, since it may quote the mail",
                "{quoted}"
            );
        }
    }

    #[test]
    fn piece_of_a_link_is_redacted() {
        for quoted in [TOKEN, &TOKEN[..40], &format!("{}=\r\n{}", &TOKEN[..20], &TOKEN[20..])] {
            assert!(quotes(quoted, "K7QPM2RX9TDV", TOKEN), "{quoted}");
        }
        assert!(!quotes("550 5.1.1 no such user", "", ""));
    }
}
