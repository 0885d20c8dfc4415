//! How things are shown on both sides of the door.

use registry_core::appliance::Appliance;
use registry_core::clock::Timestamp;
use registry_core::entitlement;
use registry_core::store::TenantRecord;

use super::language::{Catalogue, Language};
use super::pages::WebPages;

fn by(texts: &Catalogue, name: &str, form: &str, at: Timestamp) -> String {
    at.format(texts.get(name).map_or(form, String::as_str)).to_string()
}

/// A day in the reader's form.
pub(super) fn day(texts: &Catalogue, at: Timestamp) -> String {
    by(texts, "date", "%Y-%m-%d", at)
}

/// A moment in the reader's form, to the minute, in UTC.
pub(super) fn minute(texts: &Catalogue, at: Timestamp) -> String {
    by(texts, "minute", "%Y-%m-%d %H:%M UTC", at)
}

/// A tenant's edition, and whether its entitlement was revoked.
pub(super) fn edition(texts: &Catalogue, record: &TenantRecord) -> String {
    let edition = &record.tenant.edition;
    match (entitlement::current(&record.entitlements), texts.get("revoked")) {
        (Some(entitlement), Some(revoked)) if !entitlement.is_active() => {
            format!("{edition} ({revoked})")
        }
        _ => edition.to_string(),
    }
}

/// When an appliance checked in last.
pub(super) fn last_check_in(web: &WebPages, language: Language, appliance: &Appliance) -> String {
    let at = appliance.last_check_in_at.map(|at| minute(web.texts(language), at));
    at.unwrap_or_else(|| web.text(language, "never", &[]))
}

/// Until when an appliance's license holds.
pub(super) fn license_until(web: &WebPages, language: Language, appliance: &Appliance) -> String {
    match (&appliance.license, appliance.revoked_at) {
        (_, Some(_)) => web.text(language, "revoked", &[]),
        (Some(license), None) => minute(web.texts(language), license.expires_at),
        (None, None) => "–".to_owned(),
    }
}

/// How many appliances there are beyond the `shown` ones, where there are.
pub(super) fn more_appliances(
    web: &WebPages,
    language: Language,
    all: usize,
    shown: usize,
) -> Option<String> {
    let more = all.checked_sub(shown).filter(|more| *more > 0)?;
    Some(web.text(language, "more_appliances", &[("more", &more.to_string())]))
}

/// What a letter weighs in a page, in bytes: those of HTML's own are written out.
fn weight(letter: char) -> usize {
    if matches!(letter, '&' | '<' | '>' | '"' | '\'' | '/') { 6 } else { letter.len_utf8() }
}

/// So much of a text as a page has room for, in bytes as it is written.
pub(super) fn truncate(text: &str, heaviest: usize) -> String {
    let mut total = 0;
    let too_much = text.char_indices().find(|(_, letter)| {
        total += weight(*letter);
        total > heaviest
    });
    match too_much {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::language::catalogues;

    #[test]
    fn moments_are_in_the_readers_form() {
        let all = catalogues().unwrap();
        let at = Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
        for (language, shown_day, shown_minute) in [
            (Language::English, "15 January 2027", "15 Jan 2027, 08:00 UTC"),
            (Language::German, "15.01.2027", "15.01.2027, 08:00 UTC"),
        ] {
            assert_eq!(
                (day(&all[&language], at), minute(&all[&language], at)),
                (shown_day.into(), shown_minute.into())
            );
        }
    }

    #[test]
    fn a_long_text_is_cut_between_letters() {
        for (text, longest, shown) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "abc…"),
            ("äöü€", 4, "äö…"),
            ("a'b", 7, "a'…"),
            ("a'b", 6, "a…"),
            ("", 0, ""),
        ] {
            assert_eq!(truncate(text, longest), shown);
        }
    }
}
