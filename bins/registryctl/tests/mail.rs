//! The outbox, previews of mails, and retention.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{command, ctl, run_failing, run_ok, run_ok_with_env};
use serde_json::json;

/// Registers a tenant, and returns its install code.
fn register(data: &Path, email: &str) -> String {
    let args = ["tenant", "register", "--company", "Acme", "--email", email, "--edition", "pro"];
    run_ok(data, &args)["install_code"].as_str().unwrap().to_owned()
}

/// Runs a command with and without `--json`, and returns both outputs. Neither shows the code.
fn outputs_without(code: &str, data: &Path, args: &[&str]) -> [String; 2] {
    let mut plain = Command::new(env!("CARGO_BIN_EXE_registryctl"));
    plain.arg("--data").arg(data).args(args).stdin(Stdio::null()).env_remove("REGISTRY_CONFIG");
    [ctl(data, args), plain.output().unwrap()].map(|output| {
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(!printed.contains(code) && !printed.contains(&code.replace('-', "")), "{printed}");
        printed
    })
}

/// R-codes-8.
#[test]
fn operators_see_last_four_characters() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let code = register(data, "a@example.com");
    let mail = run_ok(data, &["mail", "list"])["items"][0]["id"].as_str().unwrap().to_owned();
    let tenant = run_ok(data, &["mail", "show", &mail])["tenant_id"].as_str().unwrap().to_owned();
    let last_four = &code[code.len() - 4..];
    for printed in outputs_without(&code, data, &["tenant", "show", &tenant]) {
        assert!(printed.contains(last_four), "{printed}");
    }
    for args in [&["tenant", "list"][..], &["mail", "list"], &["mail", "show", &mail]] {
        outputs_without(&code, data, args);
    }
}

/// R-codes-8.
#[test]
fn outbox_never_shows_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let code = register(data, "a@example.com");
    register(data, "b@example.com");
    let listed = run_ok(data, &["mail", "list"]);
    let items = listed["items"].as_array().unwrap();
    let to: Vec<_> = items.iter().map(|mail| mail["to"].as_str().unwrap()).collect();
    assert_eq!(to, ["b@example.com", "a@example.com"], "newest first");
    let id = items[1]["id"].as_str().unwrap();
    let mail = run_ok(data, &["mail", "show", id]);
    assert_eq!((&mail["state"], &mail["kind"]), (&json!("queued"), &json!("install_code")));
    assert_eq!(run_ok(data, &["mail", "retry", id])["state"], "queued");
    let (exit, error) = run_failing(data, &["mail", "discard", id]);
    assert!(exit == 1 && error.contains("--yes"), "{error}");
    for _ in 0..2 {
        assert_eq!(run_ok(data, &["mail", "discard", id, "--yes"])["state"], "discarded");
    }
    let (exit, error) = run_failing(data, &["mail", "retry", id]);
    assert!(exit == 3 && error.contains("already discarded"), "{error}");
    assert_eq!(run_failing(data, &["mail", "show", "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73"]).0, 4);
    assert_eq!(
        run_ok(data, &["mail", "list", "--state", "queued"])["items"].as_array().unwrap().len(),
        1
    );
    assert_eq!(
        run_ok(data, &["mail", "retry", "--all-dead"]),
        json!({ "queued": 0, "outdated": 0 })
    );
    assert_eq!(ctl(data, &["mail", "retry"]).status.code(), Some(2));
    assert_eq!(ctl(data, &["mail", "list", "--state", "lost"]).status.code(), Some(2));
    for args in [&["mail", "list"][..], &["mail", "show", id]] {
        outputs_without(&code, data, args);
    }
}

#[test]
fn watch_lists_until_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    register(folder.path(), "a@example.com");
    let mut watch = command(folder.path(), &[], &["mail", "list", "--watch"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        assert!(lines.next().unwrap().unwrap().contains("a@example.com"));
    }
    let interrupt = Command::new("kill").args(["-INT", &watch.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert!(watch.wait().unwrap().success());
}

#[test]
fn preview_needs_no_registry() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let branding = [
        ("REGISTRY_BRANDING_PRODUCT", "Example Box"),
        ("REGISTRY_BRANDING_SUPPORT", "help@vendor.example"),
    ];
    for kind in
        ["install-code", "install-code-reissued", "install-code-without-image", "portal-link"]
    {
        let out = folder.path().join(format!("{kind}.html"));
        let args = [
            "mail",
            "preview",
            kind,
            "--out",
            out.to_str().unwrap(),
            "--company",
            "Ünïcode & Söhne",
        ];
        let written = run_ok_with_env(&data, &branding, &args);
        assert!(written["subject"].as_str().unwrap().contains("Example Box"), "{written}");
        let html = std::fs::read_to_string(&out).unwrap();
        assert!(
            html.starts_with("<!doctype html>") && html.contains("help@vendor.example"),
            "{kind}"
        );
        assert!(out.with_extension("txt").exists());
    }
    assert!(!data.exists(), "no registry was created");
    assert_eq!(ctl(&data, &["mail", "preview", "birthday"]).status.code(), Some(2));
    let invalid = [("REGISTRY_BRANDING_COLOR", "red")];
    let output = command(&data, &invalid, &["mail", "preview", "portal-link"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("`branding.color` must be a colour"));
}

#[test]
fn dry_run_counts_what_sweep_deletes() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    register(data, "a@example.com");
    let id = run_ok(data, &["mail", "list"])["items"][0]["id"].as_str().unwrap().to_owned();
    run_ok(data, &["mail", "discard", &id, "--yes"]);
    let retention = [("REGISTRY_RETENTION_MAILS", "1s"), ("REGISTRY_RETENTION_AUDIT", "1s")];
    let counts = |args: &[&str]| {
        let swept = run_ok_with_env(data, &retention, args);
        swept["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|kind| kind["rows"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    // Discarding the mail was the last change, so when the mail's second is over, the second of the
    // audit entries is over, too.
    let mut polls = 0;
    while counts(&["sweep", "--dry-run"])[1] == 0 {
        polls += 1;
        assert!(polls < 300, "the mail's retention of 1 s does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
    let audit = counts(&["sweep", "--dry-run"])[3];
    assert!(audit >= 3, "{audit} lines");
    for _ in 0..2 {
        let dry_run = counts(&["sweep", "--dry-run"]);
        assert_eq!(dry_run, [0, 1, 0, audit, 0, 0], "a dry run deletes nothing");
    }
    assert_eq!(counts(&["sweep"]), [0, 1, 0, audit, 0, 0, 0]);
    assert_eq!(counts(&["sweep"]), [0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(run_ok(data, &["mail", "list"])["items"], json!([]));
}
