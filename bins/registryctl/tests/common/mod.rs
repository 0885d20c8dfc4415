//! Helpers that run `registryctl` as an operator does.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Prepares registryctl for a data folder, with these environment variables and JSON output.
pub(crate) fn command(data: &Path, environment: &[(&str, &str)], args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registryctl"));
    command
        .arg("--data")
        .arg(data)
        .arg("--json")
        .args(args)
        .stdin(Stdio::null())
        .env_remove("REGISTRY_CONFIG");
    command.envs(environment.iter().copied());
    command
}

pub(crate) fn ctl(data: &Path, args: &[&str]) -> Output {
    command(data, &[], args).output().unwrap()
}

/// Runs a command that succeeds, and returns its JSON output.
pub(crate) fn run_ok(data: &Path, args: &[&str]) -> Value {
    run_ok_with_env(data, &[], args)
}

/// Runs a command with these environment variables. It succeeds; returns its JSON output.
pub(crate) fn run_ok_with_env(data: &Path, environment: &[(&str, &str)], args: &[&str]) -> Value {
    let output = command(data, environment, args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs a command that fails, and returns its exit code and its error text.
pub(crate) fn run_failing(data: &Path, args: &[&str]) -> (i32, String) {
    let output = ctl(data, args);
    let printed: Value = serde_json::from_slice(&output.stderr).unwrap();
    (output.status.code().unwrap(), printed["error"].as_str().unwrap().to_owned())
}
