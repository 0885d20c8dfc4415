//! Backup and restore with the command line.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use registry_core::Registry;
use registry_core::rate_limit::Source;
use registry_core::registry::redeem::{Redeem, RedemptionChannel, Requester};
use registry_core::secret::TypedCode;
use registry_wiring::Config;
use serde_json::Value;

fn ctl(data: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registryctl"));
    command.arg("--data").arg(data).arg("--json").args(args).env_remove("REGISTRY_CONFIG");
    command.output().unwrap()
}

/// Runs a command that succeeds, and returns its JSON output.
fn run_ok(data: &Path, args: &[&str]) -> Value {
    let output = ctl(data, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs a command that fails with exit code 1, and returns what it printed.
fn run_failing(data: &Path, args: &[&str]) -> String {
    let output = ctl(data, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Registers a tenant, and returns its ID and its install code.
fn register(data: &Path, company: &str) -> (String, String) {
    let issued = run_ok(
        data,
        &[
            "tenant",
            "register",
            "--company",
            company,
            "--email",
            "a@example.com",
            "--edition",
            "pro",
        ],
    );
    let text = |name: &str| issued[name].as_str().unwrap().to_owned();
    (text("tenant_id"), text("install_code"))
}

fn path(folder: &Path) -> &str {
    folder.to_str().unwrap()
}

async fn open(data: &Path) -> Arc<Registry> {
    let config =
        Config::load(None, |name| (name == "REGISTRY_DATA").then(|| path(data).to_owned()))
            .unwrap();
    registry_wiring::build(&config, "http://127.0.0.1:1").await.unwrap().registry
}

fn request(code: &str) -> Redeem {
    Redeem {
        typed_code: TypedCode::new(code.to_owned()),
        appliance_id: "a".to_owned(),
        requester: Requester::FirstBoot,
        channel: RedemptionChannel::Network(Source::of([127, 0, 0, 1].into())),
        key: None,
    }
}

/// Redeems a code, and returns the tenant.
async fn redeem(data: &Path, code: &str) -> String {
    open(data).await.code_redeem(request(code)).await.unwrap().tenant_id.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_backup_redeems_live_codes() {
    let folder = tempfile::tempdir().unwrap();
    let [data, backup, restored] =
        ["data", "backup", "restored"].map(|name| folder.path().join(name));
    let image = folder.path().join("image.iso");
    std::fs::write(&image, b"an image").unwrap();
    let (tenant, code) = register(&data, "Acme");
    run_ok(&data, &["release", "publish", path(&image), "--version", "1.0"]);
    let manifest = run_ok(&data, &["backup", path(&backup)]);
    let paths: Vec<_> = manifest["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["path"].as_str().unwrap())
        .collect();
    for file in ["registry.db", "keys/master.key", "keys/license.pem", "service-token"] {
        assert!(paths.contains(&file), "{file}: {paths:?}");
    }
    let (registered_later, _) = register(&data, "Latecomer");

    run_ok(&restored, &["restore", path(&backup), "--keep-codes"]);
    assert_eq!(redeem(&restored, &code).await, tenant);
    assert_eq!(
        ctl(&restored, &["tenant", "show", &registered_later]).status.code(),
        Some(4),
        "the tenant was registered after the backup"
    );
    let released = run_ok(&restored, &["release", "publish", path(&image), "--version", "1.0"]);
    assert_eq!(released["sha256"].as_str().unwrap().len(), 64);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&backup), mode(&backup.join("registry.db"))), (0o700, 0o600));
    for name in ["service-token", "keys/master.key"] {
        assert_eq!(
            std::fs::read(data.join(name)).unwrap(),
            std::fs::read(restored.join(name)).unwrap(),
            "{name}"
        );
        assert_eq!(
            std::fs::metadata(restored.join(name)).unwrap().permissions().mode() & 0o777,
            0o600,
            "{name}"
        );
    }
}

/// A code that was redeemed after the backup has no second winner.
#[tokio::test(flavor = "multi_thread")]
async fn restore_supersedes_unused_codes() {
    let folder = tempfile::tempdir().unwrap();
    let [data, backup, restored] =
        ["data", "backup", "restored"].map(|name| folder.path().join(name));
    let (tenant, code) = register(&data, "Acme");
    run_ok(&data, &["backup", path(&backup)]);
    assert_eq!(redeem(&data, &code).await, tenant);

    let done = run_ok(&restored, &["restore", path(&backup)]);
    let superseded = done["superseded_codes"].as_array().unwrap();
    assert_eq!(superseded.len(), 1, "{done}");
    assert_eq!(superseded[0]["tenant_id"], tenant.as_str());
    assert_eq!(superseded[0]["company_name"], "Acme");
    let registry = open(&restored).await;
    let refused = registry.code_redeem(request(&code)).await.unwrap_err().to_string();
    assert!(refused.contains("replaced"), "{refused}");
    let again = run_ok(&restored, &["code", "supersede-unused"]);
    assert_eq!(again["items"].as_array().unwrap().len(), 0, "no code is left");
    let reissued = run_ok(&restored, &["code", "reissue", &tenant]);
    let code = reissued["install_code"].as_str().unwrap();
    assert_eq!(redeem(&restored, code).await, tenant);
}

/// Without an unused code in the backup, there is nothing to re-issue and nothing to say.
#[test]
fn restore_without_unused_codes_names_none() {
    let folder = tempfile::tempdir().unwrap();
    let [data, backup, restored] =
        ["data", "backup", "restored"].map(|name| folder.path().join(name));
    register(&data, "Acme");
    run_ok(&data, &["code", "supersede-unused"]);
    run_ok(&data, &["backup", path(&backup)]);
    let mut restore = Command::new(env!("CARGO_BIN_EXE_registryctl"));
    restore.arg("--data").arg(&restored).arg("restore").arg(&backup);
    restore.env_remove("REGISTRY_CONFIG");
    let done = restore.output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
}

#[test]
fn backup_during_writes_is_consistent() {
    let folder = tempfile::tempdir().unwrap();
    let [data, backup, restored] =
        ["data", "backup", "restored"].map(|name| folder.path().join(name));
    register(&data, "First");
    std::thread::scope(|scope| {
        let writer =
            scope.spawn(|| (0..8).for_each(|number| drop(register(&data, &format!("C{number}")))));
        run_ok(&data, &["backup", path(&backup)]);
        writer.join().unwrap();
    });
    run_ok(&restored, &["restore", path(&backup), "--keep-codes"]);
    let listed = run_ok(&restored, &["tenant", "list"]);
    let items = listed["items"].as_array().unwrap();
    assert!(
        !items.is_empty() && items.iter().all(|item| item["install_code"] == "live"),
        "{listed}"
    );
}

#[test]
fn unusable_backup_or_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [data, backup, restored] =
        ["data", "backup", "restored"].map(|name| folder.path().join(name));
    assert!(run_failing(&data, &["backup", path(&backup)]).contains("there is no registry"));
    register(&data, "Acme");
    run_ok(&data, &["backup", path(&backup)]);
    assert!(run_failing(&data, &["backup", path(&backup)]).contains("not empty"));
    assert!(run_failing(&data, &["restore", path(&backup)]).contains("contains a registry"));
    for leftover in ["registry.db-wal", "keys/master.key"] {
        let folder = folder.path().join(leftover.replace('/', "-"));
        std::fs::create_dir_all(folder.join("keys")).unwrap();
        std::fs::write(folder.join(leftover), "x").unwrap();
        assert!(run_failing(&folder, &["restore", path(&backup)]).contains(leftover));
        assert_eq!(std::fs::read(folder.join(leftover)).unwrap(), b"x", "{leftover} is unchanged");
    }
    let (manifest, database) = (backup.join("backup.json"), backup.join("registry.db"));
    let (manifest_text, content) =
        (std::fs::read_to_string(&manifest).unwrap(), std::fs::read(&database).unwrap());
    std::fs::write(&database, [&content[..], b"x"].concat()).unwrap();
    assert!(
        run_failing(&restored, &["restore", path(&backup)])
            .contains("registry.db differs from the one that was backed up")
    );
    std::fs::write(&database, content).unwrap();
    std::fs::write(&manifest, manifest_text.replace("service-token", "../service-token")).unwrap();
    assert!(run_failing(&restored, &["restore", path(&backup)]).contains("outside"));
    std::fs::write(&manifest, r#"{"made_at": "", "files": []}"#).unwrap();
    assert!(run_failing(&restored, &["restore", path(&backup)]).contains("names no registry.db"));
    std::fs::remove_file(&manifest).unwrap();
    assert!(run_failing(&restored, &["restore", path(&backup)]).contains("no finished backup"));
    assert!(!restored.exists(), "nothing was restored");
}

#[test]
fn unwritable_stdout_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    register(&data, "Acme");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_registryctl"));
    let output =
        command.arg("--data").arg(&data).args(["tenant", "list"]).stdout(full).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("standard output") && !printed.contains("panicked"), "{printed}");
}
