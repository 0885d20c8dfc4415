//! Strict parsing of JSON objects.

use serde::de::DeserializeOwned;

/// Parses a JSON object; `None` if the text has another form. A struct can be parsed from an array
/// of its values too, which no registry sends.
pub(crate) fn object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    if !json.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    serde_json::from_slice(json).ok()
}
