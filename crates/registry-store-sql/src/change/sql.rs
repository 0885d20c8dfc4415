//! The SQL of shapes: for PostgreSQL with the values as arrays, for SQLite with the values of one
//! change.

use std::sync::OnceLock;

use crate::statement::Statement;
use crate::table::TableInfo;
use crate::value::{Value, ValueType};

/// A statement without its values.
#[derive(Debug)]
pub struct Shape {
    pub(super) table: &'static TableInfo,
    pub(super) kind: ShapeKind,
    pub(super) text: Text,
}

/// The text of a shape, which is made once.
pub(super) type Text = OnceLock<Template>;

#[derive(Debug)]
pub(super) enum ShapeKind {
    /// Inserts a row, and fails if its key exists.
    Insert,
    /// Inserts a row, or replaces the columns that are not listed.
    Upsert { kept: &'static [&'static str] },
    /// Inserts a row, with this end after `ON CONFLICT`.
    InsertOr { end: &'static str },
    /// Replaces all columns of the row with the same key.
    Replace,
    /// Sets columns of the selected rows.
    Update { set: &'static str, filter: &'static str },
    /// Deletes the selected rows.
    Delete { filter: &'static str },
}

/// A text with the values that it needs.
#[derive(Debug)]
pub(super) struct Template {
    /// Names and types of the values' columns.
    columns: Vec<(&'static str, ValueType)>,
    /// Positions of the values that identify the changed rows.
    keys: Vec<usize>,
    /// For PostgreSQL, the texts before and after the arrays. `unnest` makes rows of them, with one
    /// column for each array.
    postgres: (String, String),
    /// For one change, with the name of a column in braces for each value.
    one: String,
}

impl Shape {
    /// Returns whether the change inserts a row.
    pub(super) fn is_insert(&self) -> bool {
        matches!(self.kind, ShapeKind::Insert)
    }

    fn template(&self) -> &Template {
        self.text.get_or_init(|| {
            let table = self.table;
            let is_key = |name: &&str| table.key.contains(name);
            let equals = |name: &str| format!("{name} = {{{name}}}");
            let update = |set: &str| format!("UPDATE {} SET {set}", table.name);
            let all = join(table.names(), |it| format!("{{{it}}}"));
            match &self.kind {
                ShapeKind::Insert => Template::of_insert(table, &all, ""),
                ShapeKind::Upsert { kept } => {
                    let replaced = table.names().filter(|it| !is_key(it) && !kept.contains(it));
                    let set = join(replaced, |it| format!("{it} = excluded.{it}"));
                    let key = table.key.join(", ");
                    let end = format!(" ON CONFLICT ({key}) DO UPDATE SET {set}");
                    Template::of_insert(table, &all, &end)
                }
                ShapeKind::InsertOr { end } => {
                    Template::of_insert(table, &all, &format!(" ON CONFLICT {end}"))
                }
                ShapeKind::Replace => {
                    let set = join(table.names().filter(|it| !is_key(it)), equals);
                    let filter: Vec<_> = table.key.iter().map(|it| equals(it)).collect();
                    let filter = filter.join(" AND ");
                    Template::of_filtered(table, &all, update(&set) + " ", "FROM", &filter)
                }
                ShapeKind::Update { set, filter } => {
                    let values = format!("{set} {filter}");
                    Template::of_filtered(table, &values, update(set) + " ", "FROM", filter)
                }
                ShapeKind::Delete { filter } => {
                    let start = format!("DELETE FROM {} ", table.name);
                    Template::of_filtered(table, filter, start, "USING", filter)
                }
            }
        })
    }

    /// Appends the statement that makes many changes, in PostgreSQL. Rows are written in the order of
    /// their keys, so that two transactions with the same keys do not wait for each other.
    pub(super) fn many(
        &'static self,
        statement: Statement,
        mut rows: Vec<Vec<Value>>,
    ) -> Statement {
        let template = self.template();
        rows.sort_by_cached_key(|row| {
            template.keys.iter().map(|position| row.get(*position).cloned()).collect::<Vec<_>>()
        });
        let mut columns: Vec<_> = template.columns.iter().map(|(_, it)| it.column()).collect();
        for row in rows {
            for (column, value) in columns.iter_mut().zip(row) {
                column.push(value);
            }
        }
        let mut statement = statement.sql(template.postgres.0.as_str()).sql("unnest(");
        for (position, column) in columns.into_iter().enumerate() {
            statement = statement.sql(if position == 0 { "" } else { ", " }).bind_column(column);
        }
        statement.sql(template.postgres.1.as_str())
    }

    /// Appends the statement that makes one change, in either database.
    pub(super) fn one(&'static self, mut statement: Statement, values: &[Value]) -> Statement {
        let template = self.template();
        let mut parts = template.one.split(['{', '}']);
        statement = statement.sql(parts.next().unwrap_or_default());
        while let (Some(name), Some(text)) = (parts.next(), parts.next()) {
            let position = template.columns.iter().position(|(column, _)| *column == name);
            if let Some(value) = position.and_then(|position| values.get(position)) {
                statement = statement.bind(value.clone());
            }
            statement = statement.sql(text);
        }
        statement
    }
}

impl Template {
    /// `values` names the values, in their order.
    fn of_insert(table: &TableInfo, values: &str, end: &str) -> Self {
        let insert = format!("INSERT INTO {} ({})", table.name, join(table.names(), str::to_owned));
        let columns = columns(table, values);
        Self {
            keys: (0..columns.len()).filter(|at| table.key.contains(&columns[*at].0)).collect(),
            columns,
            postgres: (format!("{insert} SELECT * FROM "), format!("){end}")),
            one: format!("{insert} VALUES ({values}){end}"),
        }
    }

    fn of_filtered(
        table: &TableInfo,
        values: &str,
        start: String,
        from: &str,
        filter: &str,
    ) -> Self {
        let columns = columns(table, values);
        let one = format!("{start}WHERE {filter}");
        let (mut start, mut condition) = (start, filter.to_owned());
        for (position, (name, _)) in columns.iter().enumerate() {
            let (value, array) = (format!("{{{name}}}"), format!("v.v{position}"));
            start = start.replace(&value, &array);
            condition = condition.replace(&value, &array);
        }
        let is_filtered = |at: &usize| filter.contains(&format!("{{{}}}", columns[*at].0));
        let keys = (0..columns.len()).filter(is_filtered).collect();
        let names = join(0..columns.len(), |position| format!("v{position}"));
        let postgres = (format!("{start}{from} "), format!(") AS v ({names}) WHERE {condition}"));
        Self { columns, keys, postgres, one }
    }
}

/// Returns the columns whose values a text needs, each once, in the order in which it names them.
fn columns(table: &TableInfo, text: &str) -> Vec<(&'static str, ValueType)> {
    let mut columns = Vec::new();
    for name in text.split(['{', '}']).skip(1).step_by(2) {
        let column = table.columns.iter().find(|column| column.name == name);
        if let Some(column) = column.map(|it| (it.name, it.value_type))
            && !columns.contains(&column)
        {
            columns.push(column);
        }
    }
    columns
}

fn join<T>(items: impl Iterator<Item = T>, text: impl FnMut(T) -> String) -> String {
    items.map(text).collect::<Vec<_>>().join(", ")
}
