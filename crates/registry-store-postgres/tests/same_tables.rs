//! The migrations of both databases lead to the same tables, nullability and unique constraints,
//! which are those of the schema.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "common/database.rs"]
mod database;

use std::collections::BTreeSet;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::Text;
use registry_store_sql::table::ColumnInfo;
use registry_store_sql::tables::TABLES;
use registry_store_sqlite::SqliteStore;
use throwaway_postgres::sql;

/// Facts about the tables, as text: a column, a key, or a unique constraint.
type Facts = BTreeSet<String>;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// Lists the columns in SQLite, whose types are not those of the schema.
const SQLITE_COLUMNS: &str = "SELECT t.name || '.' || c.name || \
    CASE c.\"notnull\" WHEN 1 THEN ' NOT NULL' ELSE '' END AS line \
    FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'";

/// Runs queries in a new database of SQLite. The facts are their lines.
fn sqlite_facts(queries: &[&str]) -> Facts {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    drop(SqliteStore::open(&path).unwrap());
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA query_only = ON").unwrap();
    let mut facts = Facts::new();
    for query in queries {
        let lines: Vec<Line> = diesel::sql_query(*query).load(&mut connection).unwrap();
        facts.extend(lines.into_iter().map(|line| line.line));
    }
    facts
}

fn sqlite() -> Facts {
    let uniques = "SELECT t.name || ' UNIQUE (' || group_concat(i.name, ', ') || ')' || \
                   CASE x.partial WHEN 1 THEN ' partial' ELSE '' END AS line FROM sqlite_master t \
                   JOIN pragma_index_list(t.name) x JOIN pragma_index_info(x.name) i \
                   WHERE t.type = 'table' AND x.\"unique\" = 1 GROUP BY t.name, x.name";
    // SQLite has no separate index for an integer primary key.
    let integer_keys = "SELECT t.name || ' UNIQUE (' || c.name || ')' AS line FROM sqlite_master t \
                        JOIN pragma_table_info(t.name) c \
                        WHERE t.type = 'table' AND c.pk = 1 AND c.type = 'INTEGER'";
    sqlite_facts(&[SQLITE_COLUMNS, uniques, integer_keys])
}

/// Runs queries in a database of PostgreSQL. The facts are their lines.
fn postgres_facts(url: &str, queries: &[&str]) -> Facts {
    let lines = |query: &&str| -> Vec<String> {
        sql(url, query).unwrap().lines().map(str::to_owned).collect()
    };
    queries.iter().flat_map(lines).collect()
}

fn postgres(url: &str) -> Facts {
    let columns = "SELECT table_name || '.' || column_name || \
                   CASE is_nullable WHEN 'NO' THEN ' NOT NULL' ELSE '' END \
                   FROM information_schema.columns WHERE table_schema = 'public'";
    let uniques = "SELECT x.indrelid::regclass || ' UNIQUE (' || \
                   string_agg(a.attname, ', ' ORDER BY k.position) || ')' || \
                   CASE WHEN x.indpred IS NULL THEN '' ELSE ' partial' END FROM pg_index x \
                   CROSS JOIN LATERAL unnest(x.indkey) WITH ORDINALITY k (number, position) \
                   JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.number \
                   JOIN pg_class c ON c.oid = x.indrelid \
                   JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE x.indisunique AND n.nspname = 'public' \
                   GROUP BY x.indexrelid, x.indrelid, x.indpred";
    postgres_facts(url, &[columns, uniques])
}

/// True for facts that must be the same. The tables of the migration tools differ.
fn is_compared(fact: &str) -> bool {
    let differing = ["__diesel_schema_migrations", "sqlite_"];
    !differing.iter().any(|prefix| fact.starts_with(prefix))
}

/// Panics unless both have the same facts.
fn assert_same((left_name, left): (&str, Facts), (right_name, right): (&str, Facts)) {
    let compared =
        |facts: Facts| -> Facts { facts.into_iter().filter(|fact| is_compared(fact)).collect() };
    let (left, right) = (compared(left), compared(right));
    assert!(left.len() > 100, "too few facts to compare: {left:?}");
    let only = |left: &Facts, right: &Facts| left.difference(right).cloned().collect::<Vec<_>>();
    assert_eq!(only(&left, &right), [""; 0], "only {left_name} has this");
    assert_eq!(only(&right, &left), [""; 0], "only {right_name} has this");
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_and_postgres_have_same_tables() {
    let url = database::create().await;
    assert_same(("PostgreSQL", postgres(&url)), ("SQLite", sqlite()));
}

/// Returns the columns and keys of the schema.
fn schema(value_type: impl Fn(&ColumnInfo) -> String) -> Facts {
    let mut facts = Facts::new();
    for table in TABLES {
        for column in table.columns {
            let not_null = if column.is_nullable { "" } else { " NOT NULL" };
            let column_type = value_type(column);
            facts.insert(format!("{}.{}{column_type}{not_null}", table.name, column.name));
        }
        facts.insert(format!("{} KEY ({})", table.name, table.key.join(", ")));
    }
    facts
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_matches_migrations() {
    let columns = "SELECT table_name || '.' || column_name || ' ' || data_type || \
                   CASE is_nullable WHEN 'NO' THEN ' NOT NULL' ELSE '' END \
                   FROM information_schema.columns WHERE table_schema = 'public'";
    let keys = "SELECT x.indrelid::regclass || ' KEY (' || \
                string_agg(a.attname, ', ' ORDER BY k.position) || ')' FROM pg_index x \
                CROSS JOIN LATERAL unnest(x.indkey) WITH ORDINALITY k (number, position) \
                JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.number \
                JOIN pg_class c ON c.oid = x.indrelid \
                JOIN pg_namespace n ON n.oid = c.relnamespace \
                WHERE x.indisprimary AND n.nspname = 'public' GROUP BY x.indexrelid, x.indrelid";
    let postgres = postgres_facts(&database::create().await, &[columns, keys]);
    let typed = schema(|column| format!(" {}", column.value_type.postgres_name()));
    assert_same(("PostgreSQL", postgres), ("the schema", typed));

    let keys = "SELECT t.name || ' KEY (' || group_concat(c.name, ', ' ORDER BY c.pk) || ')' \
                AS line FROM sqlite_master t JOIN pragma_table_info(t.name) c \
                WHERE t.type = 'table' AND c.pk > 0 GROUP BY t.name";
    let sqlite = sqlite_facts(&[SQLITE_COLUMNS, keys]);
    assert_same(("SQLite", sqlite), ("the schema", schema(|_| String::new())));
}
