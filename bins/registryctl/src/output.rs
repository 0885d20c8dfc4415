//! Output of the commands: a readable table, or JSON.

use std::io::Write as _;

use anyhow::Context as _;
use serde_json::{Map, Value};

/// Format of the output.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Prints named values, one per line, or as one JSON object.
    pub(crate) fn fields(self, fields: &[(&str, Value)]) -> anyhow::Result<()> {
        if self.json {
            let object: Map<_, _> =
                fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            return print(&Value::Object(object).to_string());
        }
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let lines: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name:width$}  {}", plain_text(value)))
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
            return print(&Value::Object(object).to_string());
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

/// Prints a line on standard output. A closed pipe or a full disk is an error, not a panic.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}")
        .and_then(|()| output.flush())
        .context("standard output cannot be written")
}

fn plain_text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
