//! Lookups: the rows that a decision's facts are made of, joined to the keys of the requests.
//!
//! PostgreSQL gets the keys of all requests of a batch as arrays, and each join is `LATERAL`, so
//! that its plan stays nested index scans whatever the statistics say. SQLite gets one key at a
//! time.

use crate::statement::{Dialect, Record, Statement};
use crate::table::TableInfo;
use crate::value::{Value, ValueType};

/// Joins of tables to keys.
#[derive(Debug)]
pub struct Lookup {
    /// Names and types of the key's parts: the columns of `k`.
    pub keys: &'static [(&'static str, ValueType)],
    /// The joins, in order. Each condition can refer to `k` and to the joins before it.
    pub joins: &'static [Join],
}

/// A join of a table.
#[derive(Debug)]
pub struct Join {
    /// Name of the table.
    pub table: &'static str,
    /// Name of the table within the lookup.
    pub alias: &'static str,
    /// The condition.
    pub on: &'static str,
    /// Number of rows that are joined.
    pub rows: Rows,
}

/// Number of rows that a join adds.
#[derive(Clone, Copy, Debug)]
pub enum Rows {
    /// Exactly one; without it, the key has no result.
    One,
    /// One or none.
    Optional,
    /// The first ones in this order.
    First(u32, &'static str),
    /// Any number.
    All,
}

/// A row that a lookup locked: the number of its key, and its id.
pub type Locked = (i64, Option<uuid::Uuid>);

impl Lookup {
    /// Returns the statement that selects `columns`. The number of a key is `k.n`, from 1 on. For
    /// SQLite there must be one key.
    #[must_use]
    pub fn load<R: Record>(
        &self,
        dialect: Dialect,
        keys: &[Vec<Value>],
        columns: &str,
    ) -> Statement<R> {
        let statement = Statement::new(format!("SELECT {columns} FROM "));
        match dialect {
            Dialect::Postgres => {
                let statement = self.append_keys(statement, keys);
                self.joins.iter().fold(statement, |statement, join| statement.sql(join.postgres()))
            }
            Dialect::Sqlite => {
                let values = keys.first().map_or(&[][..], Vec::as_slice);
                let statement = self.append_key(statement, values);
                let joins = self.joins.iter().map(Join::sqlite).collect::<String>();
                let first = self.joins.iter().find_map(|join| match join.rows {
                    Rows::First(number, order) => Some(format!(" ORDER BY {order} LIMIT {number}")),
                    Rows::One | Rows::Optional | Rows::All => None,
                });
                statement.sql(joins + &first.unwrap_or_default())
            }
        }
    }

    /// Returns the statement that locks the rows of a join, in PostgreSQL. `id` is the column that
    /// identifies them. With `skip_locked`, it passes over rows that other transactions hold.
    #[must_use]
    pub fn lock(
        &self,
        alias: &str,
        id: &str,
        skip_locked: bool,
        keys: &[Vec<Value>],
    ) -> Statement<Locked> {
        let mut statement = self.append_keys(Statement::new("SELECT k.n, locked.id FROM "), keys);
        for join in self.joins {
            if join.alias == alias {
                let skip = if skip_locked { " SKIP LOCKED" } else { "" };
                return statement.sql(format!(
                    " CROSS JOIN LATERAL (SELECT {id} AS id FROM {} AS {alias} WHERE {}{} \
                     FOR NO KEY UPDATE{skip}) AS locked",
                    join.table,
                    join.on,
                    join.rows.postgres_limit(),
                ));
            }
            statement = statement.sql(join.postgres());
        }
        statement
    }

    /// Returns the statement that updates the rows of a table and selects `columns`, in PostgreSQL.
    /// It passes over rows that other transactions hold, and over those that changed since the
    /// statement began: the other tables are read as they were then.
    #[must_use]
    pub fn update<R: Record>(
        &self,
        table: &TableInfo,
        set: &str,
        keys: &[Vec<Value>],
        columns: &str,
    ) -> Statement<R> {
        let name = table.name;
        let mut statement =
            self.append_keys(Statement::new(format!("UPDATE {name} SET {set} FROM ")), keys);
        for join in self.joins {
            statement = statement.sql(if join.alias == name {
                format!(
                    " CROSS JOIN LATERAL (SELECT * FROM {name} WHERE {on}) AS seen \
                     CROSS JOIN LATERAL (SELECT * FROM {name} WHERE {on} \
                     FOR NO KEY UPDATE SKIP LOCKED) AS locked",
                    on = join.on,
                )
            } else {
                join.postgres()
            });
        }
        let is_locked = table.key.iter().map(|column| format!("{name}.{column} = locked.{column}"));
        let is_locked = is_locked.collect::<Vec<_>>().join(" AND ");
        statement.sql(format!(
            " WHERE {is_locked} AND seen IS NOT DISTINCT FROM locked RETURNING {columns}"
        ))
    }

    /// Appends the keys as `k`: a single one as plain values, which are faster than arrays.
    fn append_keys<R>(&self, mut statement: Statement<R>, keys: &[Vec<Value>]) -> Statement<R> {
        if let [key] = keys {
            return self.append_key(statement, key);
        }
        let mut names = String::new();
        for (position, (name, value_type)) in self.keys.iter().enumerate() {
            let mut column = value_type.column();
            for key in keys {
                column.push(key.get(position).cloned().unwrap_or(Value::Id(None)));
            }
            let start = if position == 0 { "unnest(" } else { ", " };
            statement = statement.sql(start).bind_column(column);
            names = names + name + ", ";
        }
        statement.sql(format!(") WITH ORDINALITY AS k ({names}n)"))
    }

    fn append_key<R>(&self, statement: Statement<R>, key: &[Value]) -> Statement<R> {
        let mut statement = statement.sql("(SELECT CAST(1 AS bigint) AS n");
        for (value, (name, _)) in key.iter().zip(self.keys) {
            statement = statement.sql(", ").bind(value.clone()).sql(format!(" AS {name}"));
        }
        statement.sql(") AS k")
    }
}

impl Rows {
    fn postgres_limit(self) -> String {
        match self {
            Self::One | Self::Optional => " LIMIT 1".to_owned(),
            Self::First(number, order) => format!(" ORDER BY {order} LIMIT {number}"),
            Self::All => String::new(),
        }
    }
}

impl Join {
    /// Joins rows of a table under its own name.
    pub(crate) const fn new(table: &'static str, on: &'static str, rows: Rows) -> Self {
        Self { table, alias: table, on, rows }
    }

    /// Joins exactly one row.
    pub(crate) const fn one(table: &'static str, on: &'static str) -> Self {
        Self::new(table, on, Rows::One)
    }

    /// Joins one row or none.
    pub(crate) const fn optional(table: &'static str, on: &'static str) -> Self {
        Self::new(table, on, Rows::Optional)
    }

    /// Joins any number of rows.
    pub(crate) const fn all(table: &'static str, on: &'static str) -> Self {
        Self::new(table, on, Rows::All)
    }

    /// Returns the join with another name for its table.
    pub(crate) const fn named(self, alias: &'static str) -> Self {
        Self { alias, ..self }
    }

    fn postgres(&self) -> String {
        let (start, end) = match self.rows {
            Rows::Optional => ("LEFT", " ON true"),
            Rows::One | Rows::First(..) | Rows::All => ("CROSS", ""),
        };
        format!(
            " {start} JOIN LATERAL (SELECT * FROM {} AS {alias} WHERE {}{}) AS {alias}{end}",
            self.table,
            self.on,
            self.rows.postgres_limit(),
            alias = self.alias,
        )
    }

    fn sqlite(&self) -> String {
        let start = match self.rows {
            Rows::Optional => "LEFT JOIN",
            Rows::One | Rows::First(..) | Rows::All => "JOIN",
        };
        format!(" {start} {} AS {} ON {}", self.table, self.alias, self.on)
    }
}
