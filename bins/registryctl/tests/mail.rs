//! What an operator does to the outbox, what mails look like, and what ended long ago.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;

use common::{command, ctl, done, done_with, refused};
use serde_json::json;

fn register(data: &Path, email: &str) -> String {
    let args = ["tenant", "register", "--company", "Acme", "--email", email, "--edition", "pro"];
    done(data, &args)["install_code"].as_str().unwrap().to_owned()
}

#[test]
fn the_outbox_is_listed_shown_retried_and_discarded_and_never_shows_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let code = register(data, "a@example.com");
    register(data, "b@example.com");
    let listed = done(data, &["mail", "list"]);
    let items = listed["items"].as_array().unwrap();
    let to: Vec<_> = items.iter().map(|it| it["to"].as_str().unwrap()).collect();
    assert_eq!(to, ["b@example.com", "a@example.com"], "newest first");
    let id = items[1]["id"].as_str().unwrap();
    let shown = done(data, &["mail", "show", id]);
    assert_eq!((&shown["state"], &shown["kind"]), (&json!("queued"), &json!("install_code")));
    assert_eq!(done(data, &["mail", "retry", id])["state"], "queued");
    let (exit, said) = refused(data, &["mail", "discard", id]);
    assert!(exit == 1 && said.contains("--yes"), "{said}");
    for _ in 0..2 {
        assert_eq!(done(data, &["mail", "discard", id, "--yes"])["state"], "discarded");
    }
    let (exit, said) = refused(data, &["mail", "retry", id]);
    assert!(exit == 3 && said.contains("discarded already"), "{said}");
    assert_eq!(refused(data, &["mail", "show", "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73"]).0, 4);
    assert_eq!(
        done(data, &["mail", "list", "--state", "queued"])["items"].as_array().unwrap().len(),
        1
    );
    assert_eq!(done(data, &["mail", "retry", "--all-dead"]), json!({ "queued": 0, "outdated": 0 }));
    assert_eq!(ctl(data, &["mail", "retry"]).status.code(), Some(2));
    assert_eq!(ctl(data, &["mail", "list", "--state", "lost"]).status.code(), Some(2));
    for args in [&["mail", "list"][..], &["mail", "show", id]] {
        let printed = String::from_utf8(ctl(data, args).stdout).unwrap();
        assert!(!printed.contains(&code) && !printed.contains(&code.replace('-', "")), "{printed}");
    }
}

#[test]
fn the_list_is_watched_until_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    register(folder.path(), "a@example.com");
    let mut watching = command(folder.path(), &[], &["mail", "list", "--watch"]);
    let mut watching = watching.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(watching.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        assert!(said.next().unwrap().unwrap().contains("a@example.com"));
    }
    let interrupt = std::process::Command::new("kill")
        .args(["-INT", &watching.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupt.success());
    assert!(watching.wait().unwrap().success());
}

#[test]
fn each_mail_can_be_looked_at_without_a_registry() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let told = [
        ("REGISTRY_BRANDING_PRODUCT", "Example Box"),
        ("REGISTRY_BRANDING_SUPPORT", "help@vendor.example"),
    ];
    for kind in [
        "install-code",
        "install-code-reissued",
        "install-code-without-image",
        "registration-link",
        "portal-link",
    ] {
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
        let written = done_with(&data, &told, &args);
        assert!(written["subject"].as_str().unwrap().contains("Example Box"), "{written}");
        let html = std::fs::read_to_string(&out).unwrap();
        assert!(
            html.starts_with("<!doctype html>") && html.contains("help@vendor.example"),
            "{kind}"
        );
        assert!(out.with_extension("txt").exists());
    }
    assert!(!data.exists(), "no registry was made for it");
    assert_eq!(ctl(&data, &["mail", "preview", "birthday"]).status.code(), Some(2));
    let broken = [("REGISTRY_BRANDING_COLOR", "red")];
    let output = command(&data, &broken, &["mail", "preview", "portal-link"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("`branding.color` must be a colour"));
}

#[test]
fn a_sweep_says_what_would_go_and_then_deletes_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    register(data, "a@example.com");
    let id = done(data, &["mail", "list"])["items"][0]["id"].as_str().unwrap().to_owned();
    done(data, &["mail", "discard", &id, "--yes"]);
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let told = [("REGISTRY_RETENTION_MAILS", "1s"), ("REGISTRY_RETENTION_AUDIT", "1s")];
    let counts = |args: &[&str]| {
        let swept = done_with(data, &told, args);
        swept["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["rows"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let audit = counts(&["sweep", "--dry-run"])[3];
    assert!(audit >= 3, "{audit} lines");
    for _ in 0..2 {
        assert_eq!(counts(&["sweep", "--dry-run"]), [0, 1, 0, audit, 0], "nothing goes by looking");
    }
    assert_eq!(counts(&["sweep"]), [0, 1, 0, audit, 0]);
    assert_eq!(counts(&["sweep"]), [0, 0, 0, 0, 0]);
    assert_eq!(done(data, &["mail", "list"])["items"], json!([]));
}
