//! The bootstrap on both databases: once, again, by several at once, and on somebody else's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use appliance_bootstrap::{
    BootstrapError, Bootstrapped, Draws, Environment, Refusal, bootstrap, license_row,
};
use argon2::password_hash::PasswordVerifier as _;
use argon2::{Argon2, PasswordHash};
use uuid::Uuid;

const TENANT: &str = "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73";
const PASSWORD: &str = "correct horse battery staple";

/// A database of the test's own.
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
        (throwaway_postgres::test_cluster(), throwaway_postgres::fresh_name("product"));
    throwaway_postgres::sql(&format!("{cluster}/postgres"), &format!("CREATE DATABASE {name}"))
        .unwrap();
    Database { url: format!("{cluster}/{name}"), _folder: tempfile::tempdir().unwrap() }
}

fn environment(values: &[(&str, &str)]) -> Environment {
    let coded = [
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
    let find = |name: &str| values.iter().chain(&coded).find(|(key, _)| *key == name);
    Environment::read(|name| find(name).map(|(_, value)| (*value).into())).unwrap()
}

fn draws(number: u128) -> Draws {
    let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap().naive_utc();
    Draws {
        now,
        tenant_id: Uuid::from_u128(number),
        user_id: Uuid::from_u128(number + 1),
        salt: [3; 16],
    }
}

fn is_new(done: &Bootstrapped) -> (bool, bool) {
    (done.tenant_is_new, done.license_is_new)
}

fn bootstraps_once(database: &Database) {
    let url = &database.url;
    let done = bootstrap(url, &environment(&[]), &draws(1)).unwrap();
    assert_eq!((done.tenant_id.as_deref(), is_new(&done)), (Some(TENANT), (true, true)));
    // Again, also with other values: nothing is overwritten.
    let other =
        environment(&[("LICENSE_TOKEN", "d.e.f"), ("INITIAL_ADMIN_PASSWORD", "another password")]);
    let again = bootstrap(url, &other, &draws(10)).unwrap();
    assert_eq!((again.tenant_id.as_deref(), is_new(&again)), (Some(TENANT), (false, false)));
    assert_eq!(again.license, done.license);
    assert_eq!(license_row(url).unwrap().unwrap().license_token.as_deref(), Some("a.b.c"));
    // Another tenant's Secrets.
    let another = environment(&[("INITIAL_TENANT_ID", "019b0a51-7d1e-7c3a-9b52-000000000000")]);
    let refused = bootstrap(url, &another, &draws(20));
    assert!(
        matches!(refused, Err(BootstrapError::Refused(Refusal::AnotherTenant { .. }))),
        "{refused:?}"
    );
    assert!(!refused.unwrap_err().to_string().contains(PASSWORD));
}

fn several_at_once_make_one_tenant(database: &Database) {
    let url = &database.url;
    // Each would make a tenant of its own.
    let own = [
        ("INITIAL_TENANT_ID", ""),
        ("INSTALL_EDITION", ""),
        ("LICENSE_TOKEN", ""),
        ("APPLIANCE_ID", ""),
    ];
    let done: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8_u128)
            .map(|number| {
                scope.spawn(move || {
                    bootstrap(url, &environment(&own), &draws(100 * (number + 1))).unwrap()
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(done.iter().filter(|it| it.tenant_is_new).count(), 1);
    assert!(done.iter().all(|it| it.tenant_id == done[0].tenant_id), "{done:?}");
}

#[test]
fn a_database_of_sqlite_is_for_its_owner_only_and_a_refused_bootstrap_leaves_nothing_in_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let database = sqlite();
    let refused = bootstrap(&database.url, &environment(&[("INITIAL_TENANT_ID", "")]), &draws(1));
    assert!(matches!(refused, Err(BootstrapError::Refused(Refusal::NoTenant))), "{refused:?}");
    let path = database.url.strip_prefix("sqlite:").unwrap();
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(license_row(&database.url).is_err(), "there are no tables");
}

#[test]
fn a_bootstrap_is_done_once_on_sqlite() {
    bootstraps_once(&sqlite());
}

#[test]
fn a_bootstrap_is_done_once_on_postgres() {
    bootstraps_once(&postgres());
}

#[test]
fn several_bootstraps_at_once_make_one_tenant_on_sqlite() {
    several_at_once_make_one_tenant(&sqlite());
}

#[test]
fn several_bootstraps_at_once_make_one_tenant_on_postgres() {
    several_at_once_make_one_tenant(&postgres());
}

#[test]
fn the_password_is_kept_as_argon2id_on_postgres() {
    let database = postgres();
    bootstrap(&database.url, &environment(&[]), &draws(1)).unwrap();
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
fn a_database_that_is_none_is_told() {
    for (url, expected) in [
        ("mysql://localhost/x", "must be named as"),
        ("", "must be named as"),
        ("sqlite:/nowhere/at/all.db", "cannot be opened"),
        ("postgres://127.0.0.1:1/x", "cannot be opened"),
    ] {
        let error = bootstrap(url, &environment(&[]), &draws(1)).unwrap_err().to_string();
        assert!(error.contains(expected), "{url}: {error}");
        assert!(!error.contains(PASSWORD));
    }
}
