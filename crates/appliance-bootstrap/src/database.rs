//! The product's database. The URL selects PostgreSQL or SQLite.

use std::os::unix::fs::OpenOptionsExt as _;

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use chrono::NaiveDateTime;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as SqlError};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;

use crate::environment::{EditionChoice, Environment};
use crate::plan::{ExistingData, GeneratedValues, NewTenant, Refusal, plan};
use crate::tier::LicenseRow;

diesel::table! {
    tenants (tenant_id) {
        tenant_id -> Text,
        company_name -> Text,
        created_at -> Timestamp,
    }
}

diesel::table! {
    users (user_id) {
        user_id -> Text,
        tenant_id -> Text,
        first_name -> Text,
        last_name -> Text,
        email -> Text,
        password_hash -> Text,
        role -> Text,
        created_at -> Timestamp,
    }
}

diesel::table! {
    license_state (id) {
        id -> SmallInt,
        edition_choice -> Text,
        license_token -> Nullable<Text>,
        appliance_id -> Nullable<Text>,
        check_in_url -> Nullable<Text>,
        appliance_credential -> Nullable<Text>,
        trial_started_at -> Nullable<Timestamp>,
    }
}

/// Error of a bootstrap. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The bootstrap is not allowed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The URL has an unknown form.
    #[error("the URL of the product's database must be `postgres://…` or `sqlite:FILE`")]
    Url,
    /// The database cannot be reached.
    #[error("the product's database cannot be opened: {0}")]
    Connection(#[from] diesel::ConnectionError),
    /// The tables cannot be created.
    #[error("the tables of the product's database cannot be created: {0}")]
    Tables(SqlError),
    /// The database rejects a statement.
    #[error("the product's database reports an error: {0}")]
    Sql(#[from] SqlError),
    /// The SQLite file cannot be opened.
    #[error("the product's database cannot be opened: {0}")]
    File(std::io::Error),
    /// The password cannot be hashed.
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
}

/// Contents of the database after a bootstrap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapOutcome {
    /// The tenant; `None` if neither the database nor the Secrets name one.
    pub tenant_id: Option<String>,
    /// True if this run created the tenant and its administrator.
    pub tenant_is_new: bool,
    /// The row of `license_state`; `None` if neither the database nor the Secrets have one.
    pub license: Option<LicenseRow>,
    /// True if this run created the row.
    pub license_is_new: bool,
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = license_state)]
struct LicenseRecord {
    id: i16,
    edition_choice: String,
    license_token: Option<String>,
    appliance_id: Option<String>,
    check_in_url: Option<String>,
    appliance_credential: Option<String>,
    trial_started_at: Option<NaiveDateTime>,
}

impl From<&LicenseRow> for LicenseRecord {
    fn from(row: &LicenseRow) -> Self {
        let edition_choice = match row.edition_choice {
            EditionChoice::Ee => "ee",
            EditionChoice::Ce => "ce",
        };
        let row = row.clone();
        Self {
            id: 1,
            edition_choice: edition_choice.to_owned(),
            license_token: row.license_token,
            appliance_id: row.appliance_id,
            check_in_url: row.check_in_url,
            appliance_credential: row.appliance_credential,
            trial_started_at: row.trial_started_at,
        }
    }
}

impl From<LicenseRecord> for LicenseRow {
    fn from(record: LicenseRecord) -> Self {
        // The table's CHECK constraint allows `ee` and `ce` only.
        let edition_choice =
            if record.edition_choice == "ce" { EditionChoice::Ce } else { EditionChoice::Ee };
        Self {
            edition_choice,
            license_token: record.license_token,
            appliance_id: record.appliance_id,
            check_in_url: record.check_in_url,
            appliance_credential: record.appliance_credential,
            trial_started_at: record.trial_started_at,
        }
    }
}

type Postgres = AsyncConnectionWrapper<AsyncPgConnection>;

enum Database {
    Postgres(Box<Postgres>),
    Sqlite(SqliteConnection),
}

impl Database {
    fn open(url: &str) -> Result<Self, BootstrapError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(Box::new(Postgres::establish(url)?)));
        }
        let path = url
            .strip_prefix("sqlite:")
            .filter(|path| !path.is_empty())
            .ok_or(BootstrapError::Url)?;
        let path = path.strip_prefix("//").unwrap_or(path);
        // Mode 0600: the file holds a credential and the hash of a password.
        std::fs::File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(BootstrapError::File)?;
        let mut connection = SqliteConnection::establish(path)?;
        connection.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON;")?;
        Ok(Self::Sqlite(connection))
    }
}

/// Maximum number of attempts if several bootstraps run at the same time.
const MAX_ATTEMPTS: u32 = 5;

/// Writes what is missing, in one transaction. The function blocks: never call it inside an
/// asynchronous runtime.
pub fn bootstrap(
    url: &str,
    environment: &Environment,
    generated: &GeneratedValues,
) -> Result<BootstrapOutcome, BootstrapError> {
    let password_hash = match &environment.admin_password {
        Some(password) => hash_password(password, &generated.salt)?,
        None => String::new(),
    };
    let mut database = Database::open(url)?;
    let mut attempt = || match &mut database {
        Database::Postgres(connection) => connection.transaction(|connection| {
            postgres::write(connection, environment, generated, &password_hash)
        }),
        Database::Sqlite(connection) => connection.immediate_transaction(|connection| {
            sqlite::write(connection, environment, generated, &password_hash)
        }),
    };
    let mut result = attempt();
    for _ in 1..MAX_ATTEMPTS {
        // If another run created the tables or rows first, the next attempt finds them.
        if !result.as_ref().is_err_and(may_be_race) {
            break;
        }
        result = attempt();
    }
    result
}

/// Returns true if the error may come from another run at the same time.
///
/// Diesel does not report the SQLSTATE, only a kind that it derives from it. There is a kind for
/// 23505 (`unique_violation`), but none for 42P07 (`duplicate_table`) and 42710
/// (`duplicate_object`), which also occur if two runs create the same table. So each error of an
/// unknown kind counts if it occurs while the tables are created: another attempt is harmless.
fn may_be_race(error: &BootstrapError) -> bool {
    match error {
        BootstrapError::Tables(SqlError::DatabaseError(kind, _)) => {
            matches!(kind, DatabaseErrorKind::UniqueViolation | DatabaseErrorKind::Unknown)
        }
        BootstrapError::Sql(SqlError::DatabaseError(kind, _)) => {
            matches!(kind, DatabaseErrorKind::UniqueViolation)
        }
        BootstrapError::Tables(_)
        | BootstrapError::Sql(_)
        | BootstrapError::Refused(_)
        | BootstrapError::Url
        | BootstrapError::Connection(_)
        | BootstrapError::File(_)
        | BootstrapError::Hash(_) => false,
    }
}

/// Reads the row of `license_state`.
pub fn license_row(url: &str) -> Result<Option<LicenseRow>, BootstrapError> {
    let record = match &mut Database::open(url)? {
        Database::Postgres(connection) => postgres::license(connection)?,
        Database::Sqlite(connection) => sqlite::license(connection)?,
    };
    Ok(record.map(LicenseRow::from))
}

/// Hashes with Argon2id and the library's default parameters (OWASP's: 19 MiB, two passes).
fn hash_password(password: &str, salt: &[u8; 16]) -> Result<String, BootstrapError> {
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), salt);
    Ok(hash.map_err(|error| BootstrapError::Hash(error.to_string()))?.to_string())
}

/// Generates the statements for one type of connection: diesel's types differ between the
/// databases, the statements do not.
macro_rules! statements {
    ($module:ident, $connection:ty) => {
        mod $module {
            use super::*;

            pub(super) fn write(
                connection: &mut $connection,
                environment: &Environment,
                generated: &GeneratedValues,
                password_hash: &str,
            ) -> Result<BootstrapOutcome, BootstrapError> {
                connection
                    .batch_execute(include_str!("schema.sql"))
                    .map_err(BootstrapError::Tables)?;
                let tenant_id = tenants::table
                    .select(tenants::tenant_id)
                    .first::<String>(connection)
                    .optional()?;
                let license = license(connection)?;
                let existing = ExistingData { tenant_id, has_license_state: license.is_some() };
                let plan = plan(environment, &existing, generated)?;
                if let Some(tenant) = &plan.tenant {
                    insert_tenant(connection, tenant, generated, password_hash)?;
                }
                if let Some(row) = &plan.license_state {
                    diesel::insert_into(license_state::table)
                        .values(LicenseRecord::from(row))
                        .execute(connection)?;
                }
                Ok(BootstrapOutcome {
                    tenant_is_new: plan.tenant.is_some(),
                    tenant_id: plan
                        .tenant
                        .map(|tenant| tenant.tenant_id.to_string())
                        .or(existing.tenant_id),
                    license_is_new: plan.license_state.is_some(),
                    license: plan.license_state.or(license.map(LicenseRow::from)),
                })
            }

            pub(super) fn license(
                connection: &mut $connection,
            ) -> QueryResult<Option<LicenseRecord>> {
                license_state::table.select(LicenseRecord::as_select()).first(connection).optional()
            }

            fn insert_tenant(
                connection: &mut $connection,
                tenant: &NewTenant,
                generated: &GeneratedValues,
                password_hash: &str,
            ) -> QueryResult<()> {
                let id = tenant.tenant_id.to_string();
                let row = (
                    tenants::tenant_id.eq(&id),
                    tenants::company_name.eq(&tenant.company_name),
                    tenants::created_at.eq(generated.now),
                );
                diesel::insert_into(tenants::table).values(row).execute(connection)?;
                let row = (
                    users::user_id.eq(generated.user_id.to_string()),
                    users::tenant_id.eq(&id),
                    users::first_name.eq(&tenant.first_name),
                    users::last_name.eq(&tenant.last_name),
                    users::email.eq(&tenant.email),
                    users::password_hash.eq(password_hash),
                    users::role.eq("admin"),
                    users::created_at.eq(generated.now),
                );
                diesel::insert_into(users::table).values(row).execute(connection).map(drop)
            }
        }
    };
}

statements!(postgres, Postgres);
statements!(sqlite, SqliteConnection);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_of_error_decides_on_retry() {
        // The language of a server's messages is configurable.
        let error = |kind| SqlError::DatabaseError(kind, Box::new("existiert bereits".to_owned()));
        for (error, expected) in [
            (BootstrapError::Tables(error(DatabaseErrorKind::UniqueViolation)), true),
            (BootstrapError::Tables(error(DatabaseErrorKind::Unknown)), true),
            (BootstrapError::Tables(error(DatabaseErrorKind::UnableToSendCommand)), false),
            (BootstrapError::Sql(error(DatabaseErrorKind::UniqueViolation)), true),
            (BootstrapError::Sql(error(DatabaseErrorKind::Unknown)), false),
            (BootstrapError::Sql(SqlError::NotFound), false),
            (BootstrapError::Url, false),
        ] {
            assert_eq!(may_be_race(&error), expected, "{error:?}");
        }
    }
}
