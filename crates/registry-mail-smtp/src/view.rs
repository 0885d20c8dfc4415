//! What the templates see of a mail, in words.

use chrono::TimeDelta;
use registry_core::clock::Timestamp;
use registry_core::mail::{
    Download, InstallCodeMessage, PortalLinkMessage, RegistrationLinkMessage,
};
use registry_core::release::size_in_words;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::brand::Brand;

#[derive(Serialize)]
pub(crate) struct InstallCodeView<'a> {
    brand: &'a Brand,
    company: String,
    contact: Option<String>,
    tenant_id: String,
    edition: &'a str,
    code: &'a str,
    code_ends: String,
    reissued: bool,
    download: Option<DownloadView<'a>>,
}

#[derive(Serialize)]
struct DownloadView<'a> {
    link: &'a str,
    ends: String,
    after: String,
    file_name: &'a str,
    version: &'a str,
    size: String,
    sha256: &'a str,
}

#[derive(Serialize)]
pub(crate) struct RegistrationLinkView<'a> {
    brand: &'a Brand,
    company: String,
    contact: Option<String>,
    link: &'a str,
    ends: String,
}

#[derive(Serialize)]
pub(crate) struct PortalLinkView<'a> {
    brand: &'a Brand,
    link: &'a str,
    ends: String,
}

/// A name that no mail program makes a link of: anybody may have anybody mailed, and choose the
/// names. Where an address would go on, it is interrupted by a word joiner (U+2060), which nobody
/// sees.
fn unlinked(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        plain.push(letter);
        let goes_on = letters.peek().is_some_and(|next| !next.is_whitespace());
        if goes_on && matches!(letter, '.' | ':' | '/' | '@' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}')
        {
            plain.push('\u{2060}');
        }
    }
    plain
}

impl<'a> InstallCodeView<'a> {
    pub(crate) fn of(
        brand: &'a Brand,
        message: &'a InstallCodeMessage,
        code: &'a Zeroizing<String>,
    ) -> Self {
        Self {
            brand,
            company: unlinked(message.company_name.as_str()),
            contact: message.contact_name.as_ref().map(|name| unlinked(name.as_str())),
            tenant_id: message.tenant_id.to_string(),
            edition: message.edition.as_str(),
            code,
            code_ends: in_words(message.code_expires_at),
            reissued: message.reissued,
            download: message.download.as_ref().map(DownloadView::of),
        }
    }
}

impl<'a> DownloadView<'a> {
    fn of(download: &'a Download) -> Self {
        Self {
            link: download.link.expose(),
            ends: in_words(download.expires_at),
            after: span_in_words(download.after_redemption),
            file_name: &download.release.file_name,
            version: download.release.version.as_str(),
            size: size_in_words(download.release.size),
            sha256: &download.release.sha256,
        }
    }
}

impl<'a> RegistrationLinkView<'a> {
    pub(crate) fn of(brand: &'a Brand, message: &'a RegistrationLinkMessage) -> Self {
        Self {
            brand,
            company: unlinked(message.company_name.as_str()),
            contact: message.contact_name.as_ref().map(|name| unlinked(name.as_str())),
            link: message.link.expose(),
            ends: in_words(message.expires_at),
        }
    }
}

impl<'a> PortalLinkView<'a> {
    pub(crate) fn of(brand: &'a Brand, message: &'a PortalLinkMessage) -> Self {
        Self { brand, link: message.link.expose(), ends: in_words(message.expires_at) }
    }
}

/// `22 January 2027, 08:00 UTC`.
fn in_words(moment: Timestamp) -> String {
    moment.format("%-d %B %Y, %H:%M UTC").to_string()
}

/// `7 days`: in the largest unit that says it exactly.
fn span_in_words(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let fits = units.into_iter().find(|(unit, _)| seconds >= *unit && seconds % unit == 0);
    let (unit, name) = fits.unwrap_or((1, "second"));
    let count = seconds / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_they_are_and_are_no_links() {
        for (name, shown) in [
            ("Acme Inc.", "Acme Inc."),
            ("Ada & Söhne", "Ada & Söhne"),
            ("evil.example/x", "evil.\u{2060}example/\u{2060}x"),
            ("at https://evil.example", "at https:\u{2060}/\u{2060}/\u{2060}evil.\u{2060}example"),
            ("mailto:eve@evil。example", "mailto:\u{2060}eve@\u{2060}evil。\u{2060}example"),
        ] {
            assert_eq!(unlinked(name), shown);
            assert_eq!(shown.replace('\u{2060}', ""), name);
        }
    }

    #[test]
    fn spans_are_in_the_largest_unit_that_says_them() {
        for (seconds, words) in [
            (7 * 86_400, "7 days"),
            (86_400, "1 day"),
            (36 * 3_600, "36 hours"),
            (5_400, "90 minutes"),
            (61, "61 seconds"),
            (0, "0 seconds"),
        ] {
            assert_eq!(span_in_words(TimeDelta::seconds(seconds)), words);
        }
    }
}
