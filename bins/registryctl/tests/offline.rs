//! Offline redemption: the command line answers the request of an appliance without a network.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};

use appliance_install::{Trust, answer, request};
use common::{command, ctl, run_failing, run_ok};

/// Runs a command with the code on its standard input.
fn run_with_code(data: &Path, code: &str, args: &[&str]) -> Output {
    let mut command = command(data, &[], args);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(code.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the license in the answer is verified at the current time"
)]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn request_is_answered_with_typed_code() {
    let folder = tempfile::tempdir().unwrap();
    let [data, appliance, request_file, out, keys] =
        ["data", "appliance", "request", "answer", "keys.json"]
            .map(|name| folder.path().join(name));
    let issued = run_ok(
        &data,
        &[
            "tenant",
            "register",
            "--company",
            "Acme",
            "--email",
            "a@example.com",
            "--edition",
            "pro",
        ],
    );
    std::fs::write(&request_file, request(&appliance, "appliance-1", [7; 48], now()).unwrap())
        .unwrap();
    std::fs::write(&keys, ctl(&data, &["keys", "export"]).stdout).unwrap();
    let args =
        ["offline", "answer", request_file.to_str().unwrap(), "--out", out.to_str().unwrap()];
    // A file that existed with another mode gets mode 0600, too.
    std::fs::write(&out, "").unwrap();
    let code = issued["install_code"].as_str().unwrap();
    let answered = run_with_code(&data, &format!("{code}\n"), &args);
    assert!(answered.status.success(), "{}", String::from_utf8_lossy(&answered.stderr));
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let trust = Trust {
        configured: Some(keys),
        pinned: appliance.join("keys.json"),
        issuer: "appliance-registry".to_owned(),
        free_edition: "essentials".to_owned(),
    };
    let identity = answer(&appliance, &std::fs::read_to_string(&out).unwrap(), &trust, now())
        .unwrap()
        .identity;
    assert_eq!(Some(identity.tenant_id.to_string().as_str()), issued["tenant_id"].as_str());
    assert!(identity.licensed.is_some());
}

#[test]
fn bad_code_and_request_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let [data, appliance, request_file, other_file] =
        ["data", "appliance", "request", "other"].map(|name| folder.path().join(name));
    run_ok(&data, &["tenant", "register", "--company", "Acme", "--email", "a@example.com"]);
    std::fs::write(&request_file, request(&appliance, "appliance-1", [7; 48], 1).unwrap()).unwrap();
    std::fs::write(&other_file, "hello").unwrap();
    for (code, file, status, expected) in [
        ("K7QP-M2RX-9TDV", &request_file, 4, "Invalid install code"),
        ("", &request_file, 1, "expected on standard input"),
        ("K7QP-M2RX-9TDV", &other_file, 1, "not an appliance's request"),
    ] {
        let output = run_with_code(&data, code, &["offline", "answer", file.to_str().unwrap()]);
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{printed}");
        let shows_code = !code.is_empty() && printed.contains(code);
        assert!(printed.contains(expected) && !shows_code, "{printed}");
    }
    let (status, error) = run_failing(&data, &["offline", "answer", "/nowhere"]);
    assert!(status == 1 && error.contains("cannot be read"), "{error}");
}
