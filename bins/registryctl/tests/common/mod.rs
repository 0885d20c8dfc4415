//! Helpers that run the admin command line as an operator does.

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
pub(crate) fn done(data: &Path, args: &[&str]) -> Value {
    done_with(data, &[], args)
}

pub(crate) fn done_with(data: &Path, environment: &[(&str, &str)], args: &[&str]) -> Value {
    let output = command(data, environment, args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs a command that fails, and returns its exit code and its error text.
pub(crate) fn refused(data: &Path, args: &[&str]) -> (i32, String) {
    let output = ctl(data, args);
    let printed: Value = serde_json::from_slice(&output.stderr).unwrap();
    (output.status.code().unwrap(), printed["error"].as_str().unwrap().to_owned())
}
