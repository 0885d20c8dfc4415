//! The configuration's own description, derived from its types.
//!
//! [`section!`](crate::config::schema::section) declares a section once: its fields, their defaults
//! and their documentation. Everything else comes from that declaration: the TOML keys, the
//! environment variables, `docs/configuration.md`, and the output of `registryd check`. A field can
//! therefore lack none of them.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use registry_core::edition::Edition;

use super::{Algorithm, LogFormat, SecretText, Span, TlsMode};

/// One line of the description: a section, or a key in it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key in TOML, such as `codes.length`.
    pub path: String,
    /// The documentation of the field.
    pub doc: String,
    /// The value, unless the entry is a section.
    pub value: Option<Value>,
}

/// The value of a key.
#[derive(Clone, Debug)]
pub struct Value {
    /// The type, in words.
    pub type_name: &'static str,
    /// True if the environment variable contains plain text. False if it contains a TOML value.
    pub is_text: bool,
    /// The value as TOML, `None` if it is not set. A secret is never in it.
    pub shown: Option<String>,
}

impl Entry {
    /// The environment variable of the key: `codes.length` is `REGISTRY_CODES_LENGTH`.
    #[must_use]
    pub fn variable(&self) -> String {
        variable(&self.path)
    }
}

/// The environment variable of a key.
pub(super) fn variable(path: &str) -> String {
    format!("REGISTRY_{}", path.to_uppercase().replace('.', "_"))
}

/// A section, or a value of a section.
pub(super) trait Describe {
    /// Adds the entries of this value, which is at `path`.
    fn describe(&self, path: &str, doc: &str, entries: &mut Vec<Entry>);
}

/// A type that a key can have.
pub(super) trait ConfigValue {
    const TYPE: &str;
    const IS_TEXT: bool;

    /// The value as TOML.
    fn shown(&self) -> String;
}

fn entry<T: ConfigValue>(path: &str, doc: &str, shown: Option<String>) -> Entry {
    let value = Value { type_name: T::TYPE, is_text: T::IS_TEXT, shown };
    Entry { path: path.to_owned(), doc: doc.to_owned(), value: Some(value) }
}

impl<T: ConfigValue> Describe for T {
    fn describe(&self, path: &str, doc: &str, entries: &mut Vec<Entry>) {
        entries.push(entry::<T>(path, doc, Some(self.shown())));
    }
}

impl<T: ConfigValue> Describe for Option<T> {
    fn describe(&self, path: &str, doc: &str, entries: &mut Vec<Entry>) {
        entries.push(entry::<T>(path, doc, self.as_ref().map(ConfigValue::shown)));
    }
}

macro_rules! config_values {
    ($($type:ty: $name:literal, text $is_text:literal, $shown:expr;)+) => {
        $(impl ConfigValue for $type {
            const TYPE: &str = $name;
            const IS_TEXT: bool = $is_text;

            fn shown(&self) -> String {
                let shown: fn(&Self) -> String = $shown;
                shown(self)
            }
        })+
    };
}

config_values! {
    bool: "true or false", text false, ToString::to_string;
    u16: "number", text false, ToString::to_string;
    u32: "number", text false, ToString::to_string;
    usize: "number", text false, ToString::to_string;
    String: "text", text true, |text| quoted(text);
    PathBuf: "path", text true, |path| quoted(&path.display().to_string());
    SocketAddr: "address and port", text true, |address| quoted(&address.to_string());
    SecretText: "secret text", text true, |_| "(secret)".to_owned();
    Span: "duration", text true, |span| quoted(&span.to_string());
    Algorithm: "`\"EdDSA\"` or `\"ES256\"`", text true, |it| quoted(match it {
        Algorithm::EdDsa => "EdDSA",
        Algorithm::Es256 => "ES256",
    });
    TlsMode: "`\"starttls\"`, `\"implicit\"` or `\"none\"`", text true, |it| quoted(match it {
        TlsMode::StartTls => "starttls",
        TlsMode::Implicit => "implicit",
        TlsMode::None => "none",
    });
    LogFormat: "`\"human\"` or `\"json\"`", text true, |it| quoted(match it {
        LogFormat::Human => "human",
        LogFormat::Json => "json",
    });
    Vec<String>: "list of text", text false, |list| listed(list);
    Vec<IpNet>: "list of networks", text false, |list| listed(list);
    Vec<Edition>: "list of tables", text false, |editions| {
        let editions: Vec<_> = editions.iter().map(edition).collect();
        format!("[{}]", editions.join(", "))
    };
}

/// The edition as an inline table.
fn edition(edition: &Edition) -> String {
    let Edition { name, tier, label, aliases } = edition;
    let aliases = (!aliases.is_empty()).then(|| format!("aliases = {}", listed(aliases)));
    let pairs = [
        Some(format!("name = {}", quoted(&name.to_string()))),
        tier.as_ref().map(|tier| format!("tier = {}", quoted(tier))),
        label.as_ref().map(|label| format!("label = {}", quoted(label))),
        aliases,
    ];
    format!("{{ {} }}", pairs.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// The text as TOML: a basic string has the escapes of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn listed<T: ToString>(list: &[T]) -> String {
    let items: Vec<_> = list.iter().map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

/// Declares a section: its fields, each with documentation and a default.
macro_rules! section {
    (
        $(#[doc = $doc:literal])* $name:ident {
            $($(#[doc = $field_doc:literal])* $field:ident: $type:ty = $default:expr),+ $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $field_doc])* pub $field: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),+ }
            }
        }

        impl Describe for $name {
            fn describe(&self, path: &str, _doc: &str, entries: &mut Vec<Entry>) {
                entries.push(Entry {
                    path: path.to_owned(),
                    doc: concat!($($doc, "\n"),*).to_owned(),
                    value: None,
                });
                $(self.$field.describe(
                    &$crate::config::schema::join(path, stringify!($field)),
                    concat!($($field_doc, "\n"),*),
                    entries,
                );)+
            }
        }

        impl Describe for Option<$name> {
            fn describe(&self, path: &str, doc: &str, entries: &mut Vec<Entry>) {
                let first = entries.len();
                self.clone().unwrap_or_default().describe(path, doc, entries);
                if self.is_none() {
                    $crate::config::schema::clear_empty_defaults(&mut entries[first..]);
                }
            }
        }
    };
}
pub(super) use section;

/// The path of a field below a section.
pub(super) fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// Clears the empty defaults of a section that is not set: an empty required text means "not set".
pub(super) fn clear_empty_defaults(entries: &mut [Entry]) {
    for value in entries.iter_mut().filter_map(|entry| entry.value.as_mut()) {
        value.shown = value.shown.take().filter(|shown| shown != "\"\"");
    }
}
