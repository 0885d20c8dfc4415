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
pub type Locked = (i64, Option<crate::types::SqlId>);

impl Record for Locked {
    type Sql = (diesel::sql_types::BigInt, diesel::sql_types::Nullable<crate::types::Id>);
}

impl Lookup {
    /// Returns the statement that selects `columns`, after the number of the key, from 1 on. For
    /// SQLite there must be one key.
    #[must_use]
    pub fn load<R: Record>(
        &self,
        dialect: Dialect,
        keys: &[Vec<Value>],
        columns: &str,
    ) -> Statement<R> {
        match dialect {
            Dialect::Postgres => {
                let mut statement = self.postgres_keys(keys, columns);
                for join in self.joins {
                    statement = statement.sql(join.postgres());
                }
                statement
            }
            Dialect::Sqlite => {
                let values = keys.first().into_iter().flatten().cloned();
                let mut statement = Statement::new(format!("SELECT 1, {columns} FROM (SELECT "));
                for (position, (value, (name, _))) in values.zip(self.keys).enumerate() {
                    let start = if position == 0 { "" } else { ", " };
                    statement = statement.sql(start).bind(value).sql(format!(" AS {name}"));
                }
                statement = statement.sql(") AS k");
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
        let mut statement = self.postgres_keys(keys, "locked.id");
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
            self.append_keys(Statement::new(format!("UPDATE {name} SET {set} FROM unnest(")), keys);
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
            " WHERE {is_locked} AND seen IS NOT DISTINCT FROM locked RETURNING k.n, {columns}"
        ))
    }

    fn postgres_keys<R>(&self, keys: &[Vec<Value>], columns: &str) -> Statement<R> {
        let start = format!("SELECT k.n, {columns} FROM unnest(");
        self.append_keys(Statement::new(start), keys)
    }

    fn append_keys<R>(&self, mut statement: Statement<R>, keys: &[Vec<Value>]) -> Statement<R> {
        let mut names = String::new();
        for (position, (name, value_type)) in self.keys.iter().enumerate() {
            let mut column = value_type.column();
            for key in keys {
                column.push(key.get(position).cloned().unwrap_or(Value::Id(None)));
            }
            let start = if position == 0 { "" } else { ", " };
            statement = statement.sql(start).bind_column(column);
            names = names + name + ", ";
        }
        statement.sql(format!(") WITH ORDINALITY AS k ({names}n)"))
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

#[cfg(test)]
mod tests {
    use super::*;

    const LOOKUP: Lookup = Lookup {
        keys: &[("digest", ValueType::Bytes), ("appliance", ValueType::Text)],
        joins: &[
            Join {
                table: "install_codes",
                alias: "codes",
                on: "codes.digest = k.digest",
                rows: Rows::One,
            },
            Join {
                table: "tenants",
                alias: "tenants",
                on: "tenants.id = codes.tenant_id",
                rows: Rows::Optional,
            },
        ],
    };

    const NEWEST: Lookup = Lookup {
        keys: &[("contact", ValueType::Text)],
        joins: &[Join {
            table: "tenants",
            alias: "tenants",
            on: "tenants.contact_email_folded = k.contact",
            rows: Rows::First(2, "tenants.id DESC"),
        }],
    };

    fn keys(count: usize) -> Vec<Vec<Value>> {
        vec![vec![[1_u8; 32].into(), "a".into()]; count]
    }

    fn loaded(lookup: &Lookup, dialect: Dialect, keys: &[Vec<Value>]) -> String {
        lookup.load::<Locked>(dialect, keys, "tenants.id").text()
    }

    #[test]
    fn postgres_joins_each_key_laterally() {
        let expected = "SELECT k.n, tenants.id \
            FROM unnest(?, ?) WITH ORDINALITY AS k (digest, appliance, n) \
            CROSS JOIN LATERAL (SELECT * FROM install_codes AS codes \
            WHERE codes.digest = k.digest LIMIT 1) AS codes \
            LEFT JOIN LATERAL (SELECT * FROM tenants AS tenants \
            WHERE tenants.id = codes.tenant_id LIMIT 1) AS tenants ON true";
        for count in [1, 3] {
            assert_eq!(loaded(&LOOKUP, Dialect::Postgres, &keys(count)), expected, "{count} keys");
        }
    }

    #[test]
    fn sqlite_joins_one_key() {
        let expected = "SELECT 1, tenants.id FROM (SELECT ? AS digest, ? AS appliance) AS k \
            JOIN install_codes AS codes ON codes.digest = k.digest \
            LEFT JOIN tenants AS tenants ON tenants.id = codes.tenant_id";
        assert_eq!(loaded(&LOOKUP, Dialect::Sqlite, &keys(1)), expected);
    }

    #[test]
    fn first_rows_are_ordered_and_limited() {
        let keys: Vec<Vec<Value>> = vec![vec!["a@example.com".into()]];
        for (dialect, expected) in [
            (
                Dialect::Postgres,
                "SELECT k.n, tenants.id FROM unnest(?) WITH ORDINALITY AS k (contact, n) \
                 CROSS JOIN LATERAL (SELECT * FROM tenants AS tenants \
                 WHERE tenants.contact_email_folded = k.contact \
                 ORDER BY tenants.id DESC LIMIT 2) AS tenants",
            ),
            (
                Dialect::Sqlite,
                "SELECT 1, tenants.id FROM (SELECT ? AS contact) AS k \
                 JOIN tenants AS tenants ON tenants.contact_email_folded = k.contact \
                 ORDER BY tenants.id DESC LIMIT 2",
            ),
        ] {
            assert_eq!(loaded(&NEWEST, dialect, &keys), expected, "{dialect:?}");
        }
    }

    #[test]
    fn lock_passes_over_locked_rows_of_a_batch() {
        for (skip_locked, end) in [(true, " SKIP LOCKED"), (false, "")] {
            let expected = format!(
                "SELECT k.n, locked.id FROM unnest(?, ?) WITH ORDINALITY \
                 AS k (digest, appliance, n) \
                 CROSS JOIN LATERAL (SELECT * FROM install_codes AS codes \
                 WHERE codes.digest = k.digest LIMIT 1) AS codes \
                 CROSS JOIN LATERAL (SELECT id AS id FROM tenants AS tenants \
                 WHERE tenants.id = codes.tenant_id LIMIT 1 FOR NO KEY UPDATE{end}) AS locked"
            );
            let lock = LOOKUP.lock("tenants", "id", skip_locked, &keys(2));
            assert_eq!(lock.text(), expected);
        }
    }
}
