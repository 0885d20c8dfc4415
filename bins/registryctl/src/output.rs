//! What commands print: a readable table, or JSON.

use serde_json::Value;

/// How to print.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Prints named values under each other, or as one JSON object.
    pub(crate) fn fields(self, fields: &[(&str, Value)]) {
        if self.json {
            let object: serde_json::Map<_, _> =
                fields.iter().map(|(name, it)| ((*name).to_owned(), it.clone())).collect();
            println!("{}", Value::Object(object));
            return;
        }
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, value) in fields {
            println!("{name:width$}  {}", plain(value));
        }
    }

    /// Prints rows under their headings, or as one JSON object with `items` and the rest.
    pub(crate) fn table(self, headings: &[&str], rows: &[Vec<Value>], rest: &[(&str, Value)]) {
        if self.json {
            let name = |values: &Vec<Value>| -> Value {
                headings.iter().zip(values).map(|(name, it)| ((*name).to_owned(), it.clone())).collect()
            };
            let mut object = serde_json::Map::new();
            object.insert("items".to_owned(), rows.iter().map(name).collect());
            object.extend(rest.iter().map(|(name, it)| ((*name).to_owned(), it.clone())));
            println!("{}", Value::Object(object));
            return;
        }
        let cells: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(plain).collect()).collect();
        let head: Vec<String> = headings.iter().map(|name| name.replace('_', " ").to_uppercase()).collect();
        let all: Vec<&Vec<String>> = [&head].into_iter().chain(&cells).collect();
        let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..headings.len()).map(width).collect();
        for row in all {
            let line: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
            println!("{}", line.join("  ").trim_end());
        }
        for (name, value) in rest.iter().filter(|(_, value)| !value.is_null()) {
            println!("\n{name}: {}", plain(value));
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
