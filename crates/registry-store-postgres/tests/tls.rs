//! TLS with each `sslmode`, against servers with and without a certificate.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use registry_store_postgres::PostgresStore;
use throwaway_postgres::{Cluster, Durability};

/// Starts a server with a certificate for `localhost`. Writes the certificate of its authority to
/// `ca.pem`, and an unrelated one to `other.pem`.
fn server(folder: &Path) -> Cluster {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    let other = CertificateParams::new(vec!["other".to_owned()]).unwrap();
    std::fs::write(
        folder.join("other.pem"),
        other.self_signed(&KeyPair::generate().unwrap()).unwrap().pem(),
    )
    .unwrap();
    std::fs::write(folder.join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(folder.join("server.key"), PermissionsExt::from_mode(0o600)).unwrap();
    // The server's user must own the key. Unless the test runs as root, it does already.
    let _ = Command::new("chown").arg("postgres").arg(folder.join("server.key")).status();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let certificate = format!("ssl_cert_file = {}", file("server.pem"));
    let cluster = Cluster::start(
        Durability::Quick,
        &["ssl = on", &certificate, &format!("ssl_key_file = {}", file("server.key"))],
    );
    cluster.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sslmode_decides_about_verification() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = server(folder.path());
    let ca = folder.path().join("ca.pem");
    let other = folder.path().join("other.pem");
    let (ca, other) = (ca.to_str().unwrap(), other.to_str().unwrap());
    for (host, query, expected) in [
        ("127.0.0.1", "sslmode=disable".to_owned(), Ok("")),
        ("127.0.0.1", "sslmode=prefer".to_owned(), Ok("TLSv1.3")),
        ("127.0.0.1", "sslmode=require".to_owned(), Ok("TLSv1.3")),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ca}"), Ok("TLSv1.3")),
        (
            "127.0.0.1",
            format!("sslmode=verify-ca&sslrootcert={other}"),
            Err("invalid peer certificate"),
        ),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={ca}"), Err("not valid for name")),
        ("localhost", format!("sslmode=verify-full&sslrootcert={ca}"), Ok("TLSv1.3")),
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={other}"),
            Err("invalid peer certificate"),
        ),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=/nowhere.pem".to_owned(),
            Err("/nowhere.pem"),
        ),
    ] {
        let url = format!(
            "postgres://postgres@{host}:{}/postgres?{query}&application_name=tested",
            cluster.port()
        );
        let result = match PostgresStore::new(&common::options(&url)) {
            Ok(store) => store.check().await.map(|()| {
                let version = "SELECT coalesce(version, '') \
                               FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                               WHERE application_name = 'tested' \
                               ORDER BY backend_start DESC LIMIT 1";
                let version = cluster.sql("postgres", version).unwrap();
                drop(store);
                version
            }),
            Err(error) => Err(error),
        };
        match (result, expected) {
            (Ok(version), Ok(expected)) => assert_eq!(version, expected, "{host} {query}"),
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{host} {query}: {error}");
            }
            (result, expected) => assert_eq!(
                result.map_err(|error| error.to_string()),
                expected.map(str::to_owned).map_err(str::to_owned),
                "{host} {query}"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_prefer_accepts_server_without_tls() {
    let cluster = Cluster::start(Durability::Quick, &[]).unwrap();
    let connect = async |mode: &str| {
        let url = format!("{}?sslmode={mode}", cluster.url("postgres"));
        PostgresStore::new(&common::options(&url)).unwrap().check().await
    };
    connect("prefer").await.unwrap();
    let error = connect("require").await.unwrap_err().to_string();
    assert!(error.contains("does not support TLS"), "{error}");
}
