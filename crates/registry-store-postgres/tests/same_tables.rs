//! The migrations of both databases lead to the same tables, nullability and unique constraints.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "common/database.rs"]
mod database;

use std::collections::BTreeSet;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::Text;
use registry_store_sqlite::SqliteStore;
use throwaway_postgres::sql;

/// Facts about the tables, as text: a column, or a unique constraint.
type Facts = BTreeSet<String>;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

fn sqlite() -> Facts {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    drop(SqliteStore::open(&path).unwrap());
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA query_only = ON").unwrap();
    let columns = "SELECT t.name || '.' || c.name || \
                   CASE c.\"notnull\" WHEN 1 THEN ' NOT NULL' ELSE '' END AS line \
                   FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'";
    let uniques = "SELECT t.name || ' UNIQUE (' || group_concat(i.name, ', ') || ')' || \
                   CASE x.partial WHEN 1 THEN ' partial' ELSE '' END AS line FROM sqlite_master t \
                   JOIN pragma_index_list(t.name) x JOIN pragma_index_info(x.name) i \
                   WHERE t.type = 'table' AND x.\"unique\" = 1 GROUP BY t.name, x.name";
    // SQLite has no separate index for an integer primary key.
    let integer_keys = "SELECT t.name || ' UNIQUE (' || c.name || ')' AS line FROM sqlite_master t \
                        JOIN pragma_table_info(t.name) c \
                        WHERE t.type = 'table' AND c.pk = 1 AND c.type = 'INTEGER'";
    let mut facts = Facts::new();
    for query in [columns, uniques, integer_keys] {
        let lines: Vec<Line> = diesel::sql_query(query).load(&mut connection).unwrap();
        facts.extend(lines.into_iter().map(|line| line.line));
    }
    facts
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
    [columns, uniques]
        .iter()
        .flat_map(|query| sql(url, query).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// True for facts that must be the same. The tables of the migration tools differ.
fn is_compared(fact: &str) -> bool {
    let differing = ["__diesel_schema_migrations", "sqlite_"];
    !differing.iter().any(|prefix| fact.starts_with(prefix))
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_and_postgres_have_same_tables() {
    let postgres: Facts =
        postgres(&database::create().await).into_iter().filter(|fact| is_compared(fact)).collect();
    let sqlite: Facts = sqlite().into_iter().filter(|fact| is_compared(fact)).collect();
    assert!(sqlite.len() > 100, "too few facts to compare: {sqlite:?}");
    let only = |left: &Facts, right: &Facts| left.difference(right).cloned().collect::<Vec<_>>();
    assert_eq!(only(&postgres, &sqlite), [""; 0], "only PostgreSQL has this");
    assert_eq!(only(&sqlite, &postgres), [""; 0], "only SQLite has this");
}
