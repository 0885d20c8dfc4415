//! An appliance without a network: its request is answered by the command line.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};

use appliance_install::{Trust, answer, request};
use common::{command, ctl, done, refused};

fn with_code(data: &Path, code: &str, args: &[&str]) -> Output {
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
    reason = "the license in the answer is judged by the real clock"
)]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_request_is_answered_with_the_code_out_of_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let [data, appliance, asked, out, keys] =
        ["data", "appliance", "request", "answer", "keys.json"]
            .map(|name| folder.path().join(name));
    let issued = done(
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
    std::fs::write(&asked, request(&appliance, "appliance-1", [7; 48], now()).unwrap()).unwrap();
    std::fs::write(&keys, ctl(&data, &["keys", "export"]).stdout).unwrap();
    let args = ["offline", "answer", asked.to_str().unwrap(), "--out", out.to_str().unwrap()];
    // It was there, and open to others.
    std::fs::write(&out, "").unwrap();
    let code = issued["install_code"].as_str().unwrap();
    let done = with_code(&data, &format!("{code}\n"), &args);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let trust = Trust {
        given: Some(keys),
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
fn a_bad_code_or_a_bad_request_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let [data, appliance, asked, other] =
        ["data", "appliance", "request", "other"].map(|name| folder.path().join(name));
    done(&data, &["tenant", "register", "--company", "Acme", "--email", "a@example.com"]);
    std::fs::write(&asked, request(&appliance, "appliance-1", [7; 48], 1).unwrap()).unwrap();
    std::fs::write(&other, "hello").unwrap();
    for (code, request, status, expected) in [
        ("K7QP-M2RX-9TDV", &asked, 3, "Invalid install code"),
        ("", &asked, 1, "expected on standard input"),
        ("K7QP-M2RX-9TDV", &other, 1, "not an appliance's request"),
    ] {
        let output = with_code(&data, code, &["offline", "answer", request.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(said.contains(expected) && (code.is_empty() || !said.contains(code)), "{said}");
    }
    let (status, said) = refused(&data, &["offline", "answer", "/nowhere"]);
    assert!(status == 1 && said.contains("cannot be read"), "{said}");
}
