//! What commands print: a readable table, or JSON.

use std::io::Write as _;

use anyhow::Context as _;
use serde_json::Value;

/// How to print.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Prints named values under each other, or as one JSON object.
    pub(crate) fn fields(self, fields: &[(&str, Value)]) -> anyhow::Result<()> {
        if self.json {
            let object: serde_json::Map<_, _> =
                fields.iter().map(|(name, it)| ((*name).to_owned(), it.clone())).collect();
            return print(&Value::Object(object).to_string());
        }
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let lines: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name:width$}  {}", plain(value))).collect();
        print(&lines.join("\n"))
    }

    /// Prints rows under their headings, or as one JSON object with `items` and the rest.
    pub(crate) fn table(
        self,
        headings: &[&str],
        rows: &[Vec<Value>],
        rest: &[(&str, Value)],
    ) -> anyhow::Result<()> {
        if self.json {
            let name = |values: &Vec<Value>| -> Value {
                headings
                    .iter()
                    .zip(values)
                    .map(|(name, it)| ((*name).to_owned(), it.clone()))
                    .collect()
            };
            let mut object = serde_json::Map::new();
            object.insert("items".to_owned(), rows.iter().map(name).collect());
            object.extend(rest.iter().map(|(name, it)| ((*name).to_owned(), it.clone())));
            return print(&Value::Object(object).to_string());
        }
        let cells: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(plain).collect()).collect();
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
        let rest = rest.iter().filter(|(_, value)| !value.is_null());
        lines.extend(rest.map(|(name, value)| format!("\n{name}: {}", plain(value))));
        print(&lines.join("\n"))
    }
}

/// A line on standard output; a pipe that nobody reads any more, or a full disk, is an error and no
/// panic.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}")
        .and_then(|()| output.flush())
        .context("standard output cannot be written")
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
