//! `registryctl doctor` finds what is wrong, names the part, and says what to do.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use throwaway_servers::{SmtpOptions, SmtpServer};

/// A port on which nothing listens.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn ctl(data: &Path, args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registryctl"));
    command.arg("--data").arg(data).arg("--json").args(args);
    command.env_remove("REGISTRY_CONFIG").envs(environment.iter().copied());
    let output = command.output().unwrap();
    let printed = serde_json::from_slice(&output.stdout);
    let printed = printed.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), printed)
}

/// Creates a registry, and returns its folder.
fn registry(folder: &Path, name: &str) -> std::path::PathBuf {
    let data = folder.join(name);
    let register = ["tenant", "register", "--company", "Acme", "--email", "a@example.com"];
    let (code, printed) = ctl(&data, &[&register[..], &["--edition", "pro"]].concat(), &[]);
    assert_eq!(code, Some(0), "{printed}");
    data
}

fn secret(path: &Path, text: &str, mode: u32) -> String {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A data folder, an environment with a misconfiguration, the part that is wrong, and a part of the
/// problem.
type Planted<'a> = (&'a Path, &'a [(&'a str, &'a str)], &'a str, &'a str);

#[test]
fn each_misconfiguration_is_found_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let data = registry(folder.path(), "data");
    let other = registry(folder.path(), "other");
    let path = |name: &str| folder.path().join(name);
    let master = other.join("keys/master.key").to_str().unwrap().to_owned();
    let exposed = secret(&path("token"), &"a".repeat(64), 0o604);
    let no_key = secret(&path("license.pem"), "no key", 0o600);
    let (postgres, smtp, s3, url) = (closed_port(), closed_port(), closed_port(), closed_port());
    let database = format!("postgres://registry@127.0.0.1:{postgres}/registry?sslmode=disable");
    let (smtp, endpoint) = (smtp.to_string(), format!("http://127.0.0.1:{s3}"));
    let public = format!("http://127.0.0.1:{url}");
    let empty = path("empty");
    let planted: [Planted<'_>; 11] = [
        (&data, &[("REGISTRY_CODES_LENGTH", "3")], "configuration", "codes.length"),
        (&data, &[("REGISTRY_MASTER_KEY_FILE", "/nowhere")], "files", "/nowhere"),
        (&data, &[("REGISTRY_SERVICE_TOKEN_FILE", &exposed)], "files", "mode 604"),
        (&data, &[("REGISTRY_LICENSE_KEY_FILE", &no_key)], "files", "license.key_file"),
        (&data, &[("REGISTRY_DATABASE_URL", &database)], "registry", "database.url"),
        (&data, &[("REGISTRY_DATABASE_URL", &database)], "database_clock", "database"),
        (&data, &[("REGISTRY_MASTER_KEY_FILE", &master)], "registry", "another master key"),
        (
            &data,
            &[
                ("REGISTRY_MAIL_SMTP_HOST", "127.0.0.1"),
                ("REGISTRY_MAIL_SMTP_PORT", &smtp),
                ("REGISTRY_MAIL_SMTP_TLS", "none"),
            ],
            "mail",
            "refused",
        ),
        (
            &data,
            &[
                ("REGISTRY_S3_BUCKET", "images"),
                ("REGISTRY_S3_ENDPOINT", &endpoint),
                ("REGISTRY_S3_ACCESS_KEY_ID", "id"),
                ("REGISTRY_S3_SECRET_ACCESS_KEY", "secret"),
            ],
            "blob_store",
            "",
        ),
        (&data, &[("REGISTRY_PUBLIC_URL", &public)], "public_url", "cannot be reached"),
        (&empty, &[], "data_folder", "there is no registry"),
    ];
    for (data, environment, part, problem) in planted {
        let (code, printed) = ctl(data, &["doctor"], environment);
        assert_eq!(code, Some(1), "{environment:?}: {printed}");
        let items = printed["items"].as_array().unwrap();
        let found = items.iter().find(|item| item["part"] == part);
        let found = found.unwrap_or_else(|| panic!("{environment:?}: no {part} in {printed}"));
        assert_eq!(found["state"], "wrong", "{environment:?}: {printed}");
        assert!(found["problem"].as_str().unwrap().contains(problem), "{found}");
        assert!(!found["remedy"].as_str().unwrap().is_empty(), "{found}");
    }
}

/// Only what is really missing is reported of a registry without an image and without registryd.
#[test]
fn parts_that_work_are_ok() {
    let folder = tempfile::tempdir().unwrap();
    let data = registry(folder.path(), "data");
    let (_, printed) = ctl(&data, &["doctor"], &[]);
    let wrong = printed["items"].as_array().unwrap().iter().filter(|item| item["state"] != "ok");
    let wrong: Vec<_> = wrong.map(|item| item["part"].as_str().unwrap()).collect();
    assert_eq!(wrong, ["release", "public_url"], "{printed}");
}

/// Without `public_url`, the URL with which registryd last started is examined.
#[test]
fn the_stored_public_url_is_examined() {
    let folder = tempfile::tempdir().unwrap();
    let data = registry(folder.path(), "data");
    let stored = format!("http://127.0.0.1:{}", closed_port());
    std::fs::write(data.join("public-url"), format!("{stored}\n")).unwrap();
    let (_, printed) = ctl(&data, &["doctor"], &[]);
    let items = printed["items"].as_array().unwrap();
    let public = items.iter().find(|item| item["part"] == "public_url").unwrap();
    assert!(public["problem"].as_str().unwrap().contains(&stored), "{public}");
}

/// `--send-to` sends one mail, and says what the server says.
#[test]
fn sample_mail_is_sent_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let data = registry(folder.path(), "data");
    let server = SmtpServer::start(SmtpOptions::default()).unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &server.ca_pem).unwrap();
    let port = server.port().to_string();
    let environment = [
        ("REGISTRY_MAIL_SMTP_HOST", "localhost"),
        ("REGISTRY_MAIL_SMTP_PORT", &port),
        ("REGISTRY_MAIL_SMTP_CA_FILE", ca.to_str().unwrap()),
    ];
    let sent = |environment: &[(&str, &str)]| {
        let (_, printed) = ctl(&data, &["doctor", "--send-to", "ada@example.com"], environment);
        let mut items = printed["items"].as_array().unwrap().iter();
        items.find(|item| item["part"] == "test_mail").unwrap().clone()
    };
    assert_eq!(sent(&environment)["state"], "ok");
    assert_eq!(server.received().len(), 1);
    let unset = sent(&[]);
    assert!(unset["problem"].as_str().unwrap().contains("`mail.smtp` is not set"), "{unset}");
}
