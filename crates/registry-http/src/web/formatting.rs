//! Formats values for the pages of customers and operators.

use registry_core::appliance::Appliance;
use registry_core::clock::Timestamp;
use registry_core::entitlement;
use registry_core::store::TenantRecord;

use super::language::{Catalogue, Language};
use super::pages::{Audience, WebPages};

fn format_time(texts: &Catalogue, key: &str, default_format: &str, at: Timestamp) -> String {
    at.format(texts.get(key).map_or(default_format, String::as_str)).to_string()
}

/// A date in the reader's format.
pub(super) fn date(texts: &Catalogue, at: Timestamp) -> String {
    format_time(texts, "date", "%Y-%m-%d", at)
}

/// A date and time in the reader's format, to the minute, in UTC.
pub(super) fn date_time(texts: &Catalogue, at: Timestamp) -> String {
    format_time(texts, "date_time", "%Y-%m-%d %H:%M UTC", at)
}

/// A number of minutes, such as `10 minutes`.
pub(super) fn minutes(web: &WebPages, language: Language, count: i64) -> String {
    if count == 1 {
        web.text(language, "minutes_one", &[])
    } else {
        web.text(language, "minutes", &[("count", &count.to_string())])
    }
}

/// A tenant's edition, marked if its entitlement is revoked. Customers read that the subscription
/// ended.
pub(super) fn edition(
    web: &WebPages,
    (language, audience): (Language, Audience),
    record: &TenantRecord,
) -> String {
    let edition = web.settings.editions.label(&record.tenant.edition);
    let is_revoked =
        entitlement::current(&record.entitlements).is_some_and(|current| !current.is_active());
    if is_revoked {
        let key = audience.pick("edition_ended", "edition_revoked");
        web.text(language, key, &[("edition", edition)])
    } else {
        edition.to_owned()
    }
}

/// Time of an appliance's last check-in.
pub(super) fn last_check_in(web: &WebPages, language: Language, appliance: &Appliance) -> String {
    let at = appliance.last_check_in_at.map(|at| date_time(web.texts(language), at));
    at.unwrap_or_else(|| web.text(language, "never", &[]))
}

/// Time of the last check-in for operators, with the time at which two machines were seen.
pub(super) fn seen(web: &WebPages, language: Language, appliance: &Appliance) -> String {
    let last = last_check_in(web, language, appliance);
    let Some(at) = appliance.duplicate_seen_at else { return last };
    let at = date_time(web.texts(language), at);
    format!("{last} ({})", web.text(language, "duplicate_seen", &[("at", &at)]))
}

/// End of an appliance's license, or that the appliance is revoked.
pub(super) fn license_until(web: &WebPages, language: Language, appliance: &Appliance) -> String {
    match (&appliance.license, appliance.revoked_at) {
        (_, Some(_)) => web.text(language, "revoked", &[]),
        (Some(license), None) => date_time(web.texts(language), license.expires_at),
        (None, None) => "–".to_owned(),
    }
}

/// A note about the appliances beyond the first `shown`, if there are more.
pub(super) fn more_appliances(
    web: &WebPages,
    language: Language,
    all: usize,
    shown: usize,
) -> Option<String> {
    let more = all.checked_sub(shown).filter(|more| *more > 0)?;
    Some(web.text(language, "more_appliances", &[("more", &more.to_string())]))
}

/// Size of a letter in a page, in bytes, with HTML's own letters escaped.
fn escaped_len(letter: char) -> usize {
    if matches!(letter, '&' | '<' | '>' | '"' | '\'' | '/') { 6 } else { letter.len_utf8() }
}

/// Cuts a text to at most `limit` bytes as they are written to the page.
pub(super) fn truncate(text: &str, limit: usize) -> String {
    let mut total = 0;
    let first_beyond = text.char_indices().find(|(_, letter)| {
        total += escaped_len(*letter);
        total > limit
    });
    match first_beyond {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::language::catalogues;

    #[test]
    fn times_have_the_readers_format() {
        let all = catalogues().unwrap();
        let at = Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
        for (language, expected_date, expected_time) in [
            (Language::English, "15 January 2027", "15 Jan 2027, 08:00 UTC"),
            (Language::German, "15.01.2027", "15.01.2027, 08:00 UTC"),
        ] {
            assert_eq!(
                (date(&all[&language], at), date_time(&all[&language], at)),
                (expected_date.into(), expected_time.into())
            );
        }
    }

    #[test]
    fn long_text_is_cut_between_letters() {
        for (text, limit, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "abc…"),
            ("äöü€", 4, "äö…"),
            ("a'b", 7, "a'…"),
            ("a'b", 6, "a…"),
            ("", 0, ""),
        ] {
            assert_eq!(truncate(text, limit), expected);
        }
    }
}
