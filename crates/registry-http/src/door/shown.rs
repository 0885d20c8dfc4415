//! How things are shown on both sides of the door.

use registry_core::clock::Timestamp;
use registry_core::entitlement;
use registry_core::store::TenantRecord;

use super::language::Catalogue;

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
        (Some(entitlement), Some(revoked)) if !entitlement.is_active() => format!("{edition} ({revoked})"),
        _ => edition.to_string(),
    }
}

/// So much of a text as a table has room for.
pub(super) fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::language::{Language, catalogues};

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
        for (text, longest, shown) in [("abc", 3, "abc"), ("abcd", 3, "abc…"), ("äöü€", 2, "äö…"), ("", 0, "")]
        {
            assert_eq!(cut(text, longest), shown);
        }
    }
}
