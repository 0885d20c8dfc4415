//! The SQL of shapes: for PostgreSQL with the values as arrays, for SQLite with the values of one
//! change.

use super::{Filter, Shape, ShapeKind};
use crate::statement::Statement;
use crate::table::TableInfo;
use crate::value::{Value, ValueType};

impl TableInfo {
    fn names(&self) -> String {
        self.columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
    }

    fn is_key(&self, name: &str) -> bool {
        self.key.contains(&name)
    }

    /// Returns the part of an insertion that replaces a row with the same key.
    fn on_conflict(&self, kept: &[&str]) -> String {
        let columns = self.columns.iter().map(|column| column.name);
        let replaced = columns.filter(|name| !self.is_key(name) && !kept.contains(name));
        let set: Vec<_> = replaced.map(|name| format!("{name} = excluded.{name}")).collect();
        format!(" ON CONFLICT ({}) DO UPDATE SET {}", self.key.join(", "), set.join(", "))
    }
}

impl Shape {
    /// Returns the names of the columns that the values belong to.
    fn value_columns(&self) -> Vec<&'static str> {
        let filtered = |filter: &'static [Filter]| {
            filter.iter().filter_map(|it| match it {
                Filter::Column(name, _) => Some(*name),
                Filter::Sql(_) => None,
            })
        };
        match &self.kind {
            ShapeKind::Insert | ShapeKind::Upsert { .. } | ShapeKind::Replace => {
                self.table.columns.iter().map(|column| column.name).collect()
            }
            ShapeKind::Update { set, filter } => {
                set.iter().map(|(name, _)| *name).chain(filtered(filter)).collect()
            }
            ShapeKind::Delete { filter } => filtered(filter).collect(),
        }
    }

    pub(super) fn value_types(&self) -> Vec<ValueType> {
        let value_type = |name: &str| self.table.column(name).map(|column| column.value_type);
        self.value_columns().into_iter().filter_map(value_type).collect()
    }

    /// Returns the positions of the values that identify a row.
    pub(super) fn key_positions(&self) -> Vec<usize> {
        let columns = self.value_columns();
        match &self.kind {
            ShapeKind::Insert | ShapeKind::Upsert { .. } | ShapeKind::Replace => {
                let is_key = |position: &usize| self.table.is_key(columns[*position]);
                (0..columns.len()).filter(is_key).collect()
            }
            ShapeKind::Update { set, .. } => (set.len()..columns.len()).collect(),
            ShapeKind::Delete { .. } => (0..columns.len()).collect(),
        }
    }

    /// Returns what `SET` sets, with each value written by `value` from its position.
    fn set(&self, value: impl Fn(usize) -> String) -> String {
        let set: Vec<String> = match &self.kind {
            ShapeKind::Update { set, .. } => {
                let set = set.iter().enumerate();
                set.map(|(at, (name, to))| format!("{name} = {}", to.replace("{}", &value(at))))
                    .collect()
            }
            ShapeKind::Insert
            | ShapeKind::Upsert { .. }
            | ShapeKind::Replace
            | ShapeKind::Delete { .. } => {
                let columns = self.table.columns.iter().enumerate();
                let others = columns.filter(|(_, column)| !self.table.is_key(column.name));
                others.map(|(at, column)| format!("{} = {}", column.name, value(at))).collect()
            }
        };
        set.join(", ")
    }

    /// Returns the condition of an update or a deletion.
    fn condition(&self, value: impl Fn(usize) -> String) -> String {
        let (filter, mut position) = match &self.kind {
            ShapeKind::Update { set, filter } => (*filter, set.len()),
            ShapeKind::Delete { filter } => (*filter, 0),
            ShapeKind::Insert | ShapeKind::Upsert { .. } | ShapeKind::Replace => {
                let columns = self.table.columns.iter().enumerate();
                let key = columns.filter(|(_, column)| self.table.is_key(column.name));
                let key = key.map(|(at, column)| {
                    format!("{}.{} = {}", self.table.name, column.name, value(at))
                });
                return key.collect::<Vec<_>>().join(" AND ");
            }
        };
        let conditions = filter.iter().map(|it| match it {
            Filter::Sql(text) => (*text).to_owned(),
            Filter::Column(name, operator) => {
                position += 1;
                format!("{}.{name} {operator} {}", self.table.name, value(position - 1))
            }
        });
        conditions.collect::<Vec<_>>().join(" AND ")
    }

    /// Returns the SQL before and after the arrays. `unnest` makes rows of them, with one column
    /// for each array.
    pub(super) fn postgres(&self) -> (String, String) {
        let table = self.table.name;
        let value = |position: usize| format!("v.v{position}");
        let columns = || {
            let names = (0..self.value_columns().len()).map(|position| format!("v{position}"));
            names.collect::<Vec<_>>().join(", ")
        };
        let insert = || format!("INSERT INTO {table} ({}) SELECT * FROM ", self.table.names());
        match &self.kind {
            ShapeKind::Insert => (insert(), ")".to_owned()),
            ShapeKind::Upsert { kept } => (insert(), format!("){}", self.table.on_conflict(kept))),
            ShapeKind::Replace | ShapeKind::Update { .. } => (
                format!("UPDATE {table} SET {} FROM ", self.set(value)),
                format!(") AS v ({}) WHERE {}", columns(), self.condition(value)),
            ),
            ShapeKind::Delete { .. } => (
                format!("DELETE FROM {table} USING "),
                format!(") AS v ({}) WHERE {}", columns(), self.condition(value)),
            ),
        }
    }

    /// Returns the statement for SQLite.
    pub(super) fn sqlite(&self, values: &[Value]) -> Statement {
        let table = self.table.name;
        let value = |position: usize| format!("?{}", position + 1);
        let all = || (0..values.len()).map(value).collect::<Vec<_>>().join(", ");
        let insert = || format!("INSERT INTO {table} ({}) VALUES ({})", self.table.names(), all());
        let text = match &self.kind {
            ShapeKind::Insert => insert(),
            ShapeKind::Upsert { kept } => insert() + &self.table.on_conflict(kept),
            ShapeKind::Replace | ShapeKind::Update { .. } => {
                format!("UPDATE {table} SET {} WHERE {}", self.set(value), self.condition(value))
            }
            ShapeKind::Delete { .. } => {
                format!("DELETE FROM {table} WHERE {}", self.condition(value))
            }
        };
        bind_numbered(&text, values)
    }
}

/// Binds values to a text in which `?1` is the first of them.
fn bind_numbered(text: &str, values: &[Value]) -> Statement {
    let mut parts = text.split('?');
    let mut statement = Statement::new(parts.next().unwrap_or_default().to_owned());
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let value = number.parse::<usize>().ok().and_then(|number| values.get(number - 1));
        if let Some(value) = value {
            statement = statement.bind(value.clone());
        }
        statement = statement.sql(rest.to_owned());
    }
    statement
}
