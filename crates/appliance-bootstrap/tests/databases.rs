//! The bootstrap on SQLite and PostgreSQL: first run, second run, concurrent runs, and another
//! tenant's database.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use appliance_bootstrap::{
    BootstrapError, BootstrapOutcome, Environment, GeneratedValues, Refusal, bootstrap, license_row,
};
use argon2::password_hash::PasswordVerifier as _;
use argon2::{Argon2, PasswordHash};
use uuid::Uuid;

const TENANT: &str = "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73";
const PASSWORD: &str = "correct horse battery staple";

/// A database for one test.
struct Database {
    url: String,
    _folder: tempfile::TempDir,
}

fn sqlite() -> Database {
    let folder = tempfile::tempdir().unwrap();
    Database {
        url: format!("sqlite:{}", folder.path().join("product.db").display()),
        _folder: folder,
    }
}

fn postgres() -> Database {
    let (cluster, name) =
        (throwaway_postgres::test_cluster(), throwaway_postgres::unique_name("product"));
    throwaway_postgres::sql(&format!("{cluster}/postgres"), &format!("CREATE DATABASE {name}"))
        .unwrap();
    Database { url: format!("{cluster}/{name}"), _folder: tempfile::tempdir().unwrap() }
}

fn environment(values: &[(&str, &str)]) -> Environment {
    let with_code = [
        ("INITIAL_TENANT_ID", TENANT),
        ("INITIAL_TENANT_NAME", "Acme & Söhne"),
        ("INITIAL_ADMIN_FIRST_NAME", "Ada"),
        ("INITIAL_ADMIN_EMAIL", "ada@example.com"),
        ("INITIAL_ADMIN_PASSWORD", PASSWORD),
        ("EDITION_CHOICE", "ee"),
        ("INSTALL_EDITION", "pro"),
        ("LICENSE_TOKEN", "a.b.c"),
        ("APPLIANCE_ID", "appliance-1"),
    ];
    let find = |name: &str| values.iter().chain(&with_code).find(|(key, _)| *key == name);
    Environment::read(|name| find(name).map(|(_, value)| (*value).into())).unwrap()
}

fn generated(number: u128) -> GeneratedValues {
    let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap().naive_utc();
    GeneratedValues {
        now,
        tenant_id: Uuid::from_u128(number),
        user_id: Uuid::from_u128(number + 1),
        salt: [3; 16],
    }
}

fn is_new(outcome: &BootstrapOutcome) -> (bool, bool) {
    (outcome.tenant_is_new, outcome.license_is_new)
}

fn second_run_changes_nothing(database: &Database) {
    let url = &database.url;
    let first = bootstrap(url, &environment(&[]), &generated(1)).unwrap();
    assert_eq!((first.tenant_id.as_deref(), is_new(&first)), (Some(TENANT), (true, true)));
    // A second run with other values overwrites nothing.
    let other =
        environment(&[("LICENSE_TOKEN", "d.e.f"), ("INITIAL_ADMIN_PASSWORD", "another password")]);
    let again = bootstrap(url, &other, &generated(10)).unwrap();
    assert_eq!((again.tenant_id.as_deref(), is_new(&again)), (Some(TENANT), (false, false)));
    assert_eq!(again.license, first.license);
    assert_eq!(license_row(url).unwrap().unwrap().license_token.as_deref(), Some("a.b.c"));
    // The Secrets of another tenant.
    let another = environment(&[("INITIAL_TENANT_ID", "019b0a51-7d1e-7c3a-9b52-000000000000")]);
    let refused = bootstrap(url, &another, &generated(20));
    assert!(
        matches!(refused, Err(BootstrapError::Refused(Refusal::AnotherTenant { .. }))),
        "{refused:?}"
    );
    assert!(!refused.unwrap_err().to_string().contains(PASSWORD));
}

fn concurrent_runs_create_one_tenant(database: &Database) {
    let url = &database.url;
    // Without a tenant id each run would generate another one.
    let without_id = [
        ("INITIAL_TENANT_ID", ""),
        ("INSTALL_EDITION", ""),
        ("LICENSE_TOKEN", ""),
        ("APPLIANCE_ID", ""),
    ];
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8_u128)
            .map(|number| {
                scope.spawn(move || {
                    bootstrap(url, &environment(&without_id), &generated(100 * (number + 1)))
                        .unwrap()
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|it| it.tenant_is_new).count(), 1);
    assert!(outcomes.iter().all(|it| it.tenant_id == outcomes[0].tenant_id), "{outcomes:?}");
}

#[test]
fn refused_bootstrap_leaves_database_empty() {
    use std::os::unix::fs::PermissionsExt as _;
    let database = sqlite();
    let without_tenant = environment(&[("INITIAL_TENANT_ID", "")]);
    let refused = bootstrap(&database.url, &without_tenant, &generated(1));
    assert!(matches!(refused, Err(BootstrapError::Refused(Refusal::NoTenant))), "{refused:?}");
    let path = database.url.strip_prefix("sqlite:").unwrap();
    let mode = std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "only the owner can read the file");
    assert!(license_row(&database.url).is_err(), "no table exists");
}

/// R-bootstrap-2, R-bootstrap-3.
#[test]
fn second_run_changes_nothing_on_sqlite() {
    second_run_changes_nothing(&sqlite());
}

/// R-bootstrap-2, R-bootstrap-3.
#[test]
fn second_run_changes_nothing_on_postgres() {
    second_run_changes_nothing(&postgres());
}

#[test]
fn concurrent_runs_create_one_tenant_on_sqlite() {
    concurrent_runs_create_one_tenant(&sqlite());
}

#[test]
fn concurrent_runs_create_one_tenant_on_postgres() {
    concurrent_runs_create_one_tenant(&postgres());
}

#[test]
fn password_is_stored_as_argon2id_on_postgres() {
    let database = postgres();
    bootstrap(&database.url, &environment(&[]), &generated(1)).unwrap();
    let row = "SELECT email || ' ' || role || ' ' || tenant_id FROM users";
    let row = throwaway_postgres::sql(&database.url, row).unwrap();
    assert_eq!(row.trim(), format!("ada@example.com admin {TENANT}"));
    let hash = throwaway_postgres::sql(&database.url, "SELECT password_hash FROM users").unwrap();
    let hash = PasswordHash::new(hash.trim()).unwrap();
    assert_eq!(hash.algorithm.as_str(), "argon2id");
    assert!(Argon2::default().verify_password(PASSWORD.as_bytes(), &hash).is_ok());
    assert!(Argon2::default().verify_password(b"another", &hash).is_err());
}

#[test]
fn unusable_database_url_is_reported() {
    for (url, expected) in [
        ("mysql://localhost/x", "must be `postgres://…`"),
        ("", "must be `postgres://…`"),
        ("sqlite:/nowhere/at/all.db", "cannot be opened"),
        ("postgres://127.0.0.1:1/x", "cannot be opened"),
    ] {
        let error = bootstrap(url, &environment(&[]), &generated(1)).unwrap_err().to_string();
        assert!(error.contains(expected), "{url}: {error}");
        assert!(!error.contains(PASSWORD));
    }
}
