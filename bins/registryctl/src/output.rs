//! Output of the commands: a readable table, or JSON. Customers and appliances choose some of the
//! texts, so every text is printed without its control characters.

use std::io::Write as _;

use anyhow::Context as _;
use serde_json::{Map, Value};
use terminal_text::{printable, printable_json, printable_lines};

/// Format of the output.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Prints named values, one per line, or as one JSON object. Each item of a list has a line of
    /// its own.
    pub(crate) fn fields(self, fields: &[(&str, Value)]) -> anyhow::Result<()> {
        if self.json {
            let object: Map<_, _> =
                fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            return print_json(&Value::Object(object).to_string());
        }
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let separator = format!("\n{}", " ".repeat(width + 2));
        let lines: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name:width$}  {}", plain_items(value).join(&separator)))
            .collect();
        print(&lines.join("\n"))
    }

    /// Returns rows as JSON objects.
    pub(crate) fn items(headings: &[&str], rows: &[Vec<Value>]) -> Value {
        let item = |values: &Vec<Value>| -> Value {
            let named = headings.iter().zip(values);
            named.map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        rows.iter().map(item).collect()
    }

    /// Prints rows below their headings, then the `extra` values that are not null. As JSON, prints
    /// one object with the rows in `items`.
    pub(crate) fn table(
        self,
        headings: &[&str],
        rows: &[Vec<Value>],
        extra: &[(&str, Value)],
    ) -> anyhow::Result<()> {
        if self.json {
            let mut object = Map::new();
            object.insert("items".to_owned(), Self::items(headings, rows));
            object.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            return print_json(&Value::Object(object).to_string());
        }
        let cells: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(plain_text).collect()).collect();
        let head: Vec<String> =
            headings.iter().map(|name| name.replace('_', " ").to_uppercase()).collect();
        let all: Vec<&Vec<String>> = [&head].into_iter().chain(&cells).collect();
        let width = |column: usize| {
            all.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..headings.len()).map(width).collect();
        let mut lines: Vec<String> = Vec::new();
        for row in all {
            let line: Vec<String> =
                row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
            lines.push(line.join("  ").trim_end().to_owned());
        }
        let extra = extra.iter().filter(|(_, value)| !value.is_null());
        lines.extend(extra.map(|(name, value)| format!("\n{name}: {}", plain_text(value))));
        print(&lines.join("\n"))
    }
}

/// Prints lines of text on standard output.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    write_line(&printable_lines(text))
}

/// Prints JSON on standard output.
pub(crate) fn print_json(json: &str) -> anyhow::Result<()> {
    write_line(&printable_json(json))
}

/// Clears the screen (ECMA-48: cursor home, erase display).
pub(crate) fn clear_screen() -> anyhow::Result<()> {
    write_line("\u{1b}[H\u{1b}[2J")
}

/// Writes a line to standard output. A closed pipe or a full disk is an error, not a panic.
fn write_line(text: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}")
        .and_then(|()| output.flush())
        .context("standard output cannot be written")
}

/// Returns the texts of a list's items, or the text of a single value.
fn plain_items(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) if !items.is_empty() => items.iter().map(plain_text).collect(),
        single => vec![plain_text(single)],
    }
}

/// Returns a value as text of one line.
fn plain_text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::String(text) => printable(text).into_owned(),
        other => printable(&other.to_string()).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn value_is_text_of_one_line() {
        for (value, expected) in [
            (Value::Null, "-"),
            (json!(""), "-"),
            (json!([]), "-"),
            (json!(7), "7"),
            (json!("Acme"), "Acme"),
            (json!("Acme\n\u{1b}[2Jstate  licensed"), "Acme\\u{a}\\u{1b}[2Jstate  licensed"),
            (json!({ "kid": "\u{9b}31m" }), r#"{"kid":"\u{9b}31m"}"#),
            (json!(["a", "b"]), r#"["a","b"]"#),
        ] {
            assert_eq!(plain_text(&value), expected, "{value}");
        }
    }

    #[test]
    fn each_item_of_a_list_is_one_line() {
        for (value, expected) in [
            (json!([]), &["-"][..]),
            (json!(["a", "b\nc"]), &["a", "b\\u{a}c"]),
            (json!("a\nb"), &["a\\u{a}b"]),
        ] {
            assert_eq!(plain_items(&value), expected, "{value}");
        }
    }
}
