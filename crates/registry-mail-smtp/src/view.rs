//! The values of the mail templates. Vendors' templates use them, too, so their names are stable.

use chrono::TimeDelta;
use registry_core::clock::Timestamp;
use registry_core::mail::{Download, InstallCodeMessage, PortalLinkMessage};
use registry_core::release::format_size;
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
pub(crate) struct PortalLinkView<'a> {
    brand: &'a Brand,
    link: &'a str,
    ends: String,
}

/// Characters in addresses, with the full stops that IDNA accepts, and characters that look like
/// one of them or that programs convert into one.
const SEPARATORS: [char; 15] = [
    '.', ':', '/', '@', '\u{3002}', '\u{ff0e}', '\u{ff61}', '／', '：', '＠', '⁄', '∕', '﹒', '﹫',
    '﹕',
];

/// Returns a name that mail programs do not turn into a link. Anybody can register somebody else's
/// address and choose the names, so a name could be an advertisement. An invisible word joiner
/// (U+2060) is put behind each separator inside a word.
fn unlinked(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        plain.push(letter);
        let is_last = letters.peek().is_none_or(|next| next.is_whitespace());
        if !is_last && SEPARATORS.contains(&letter) {
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
            edition: &message.edition,
            code,
            code_ends: date_time(message.code_expires_at),
            reissued: message.reissued,
            download: message.download.as_ref().map(DownloadView::of),
        }
    }
}

impl<'a> DownloadView<'a> {
    fn of(download: &'a Download) -> Self {
        Self {
            link: download.link.expose(),
            ends: date_time(download.expires_at),
            after: duration(download.after_redemption),
            file_name: &download.release.file_name,
            version: download.release.version.as_str(),
            size: format_size(download.release.size),
            sha256: &download.release.sha256,
        }
    }
}

impl<'a> PortalLinkView<'a> {
    pub(crate) fn of(brand: &'a Brand, message: &'a PortalLinkMessage) -> Self {
        Self { brand, link: message.link.expose(), ends: date_time(message.expires_at) }
    }
}

/// `22 January 2027, 08:00 UTC`.
fn date_time(moment: Timestamp) -> String {
    moment.format("%-d %B %Y, %H:%M UTC").to_string()
}

/// A duration in the largest unit without a remainder, such as `7 days`.
fn duration(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let largest = units.into_iter().find(|(unit, _)| seconds >= *unit && seconds % unit == 0);
    let (unit, name) = largest.unwrap_or((1, "second"));
    let count = seconds / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_not_links() {
        for (name, expected) in [
            ("Acme Inc.", "Acme Inc."),
            ("Ada & Söhne", "Ada & Söhne"),
            ("evil.example/x", "evil.\u{2060}example/\u{2060}x"),
            ("at https://evil.example", "at https:\u{2060}/\u{2060}/\u{2060}evil.\u{2060}example"),
            ("mailto:eve@evil。example", "mailto:\u{2060}eve@\u{2060}evil。\u{2060}example"),
            ("evil：／x", "evil：\u{2060}／\u{2060}x"),
            ("eve＠evil﹒example", "eve＠\u{2060}evil﹒\u{2060}example"),
            ("eve﹫evil﹕1⁄2∕3", "eve﹫\u{2060}evil﹕\u{2060}1⁄\u{2060}2∕\u{2060}3"),
            ("Ada ＠ Acme", "Ada ＠ Acme"),
        ] {
            assert_eq!(unlinked(name), expected);
            assert_eq!(expected.replace('\u{2060}', ""), name);
        }
    }

    #[test]
    fn durations_have_the_largest_exact_unit() {
        for (seconds, expected) in [
            (7 * 86_400, "7 days"),
            (86_400, "1 day"),
            (36 * 3_600, "36 hours"),
            (5_400, "90 minutes"),
            (61, "61 seconds"),
            (0, "0 seconds"),
        ] {
            assert_eq!(duration(TimeDelta::seconds(seconds)), expected);
        }
    }
}
