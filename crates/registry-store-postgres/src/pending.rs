//! The migrations, and those of them that a database still needs.

use std::collections::BTreeSet;

use diesel::migration::{Migration, MigrationSource as _};
use diesel::pg::Pg;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use registry_core::store::StoreError;
use registry_store_sql::script::{Script, Session};
use registry_store_sql::statement::Statement;

pub(crate) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

/// Lists the names of the migrations that have not run.
pub(crate) struct Pending;

impl Script for Pending {
    type Output = Vec<String>;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Vec<String>, StoreError> {
        let exists = "SELECT count(*) FROM pg_class \
                      WHERE oid = to_regclass('__diesel_schema_migrations')";
        let versions = "SELECT version::text FROM __diesel_schema_migrations";
        let run = if session.load::<i64>(Statement::new(exists)).await? == [1] {
            session.load::<Option<String>>(Statement::new(versions)).await?
        } else {
            Vec::new()
        };
        let run: BTreeSet<String> = run.into_iter().flatten().collect();
        let all: Vec<Box<dyn Migration<Pg>>> = MIGRATIONS.migrations().map_err(|error| {
            StoreError::Corrupt(format!("the migrations are unreadable: {error}"))
        })?;
        let not_run = all.iter().filter(|it| !run.contains(&it.name().version().to_string()));
        Ok(not_run.map(|it| it.name().to_string()).collect())
    }
}
