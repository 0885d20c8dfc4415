//! Runs other programs in the workspace root.

use std::env;
use std::ffi::OsStr;
use std::iter;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Returns the root folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let xtask =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(xtask).join("..")
}

/// Returns cargo's target folder.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// True in CI, where the variable `CI` is set and not empty.
pub(crate) fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty())
}

/// Returns a command that runs in the workspace root.
pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(describes_xtask) {
            command.env_remove(name);
        }
    }
    command
}

/// Prints the command and runs it, with inherited standard streams.
///
/// # Errors
/// If the command cannot be started or fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = command_line(command);
    println!("$ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    ensure!(status.success(), "`{line}` failed: {status}");
    Ok(())
}

/// Runs the command and returns its standard output.
///
/// # Errors
/// If the command cannot be started or fails, or its output is not UTF-8.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = command_line(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    ensure!(output.status.success(), "`{line}` failed: {}", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("the output of `{line}` is not UTF-8"))
}

/// True if cargo has this subcommand, `nextest` for example.
pub(crate) fn cargo_has(subcommand: &str) -> bool {
    command("cargo", &[subcommand, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Finds a program in the folders of `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// True for variables in which `cargo run` describes xtask. Another cargo must not inherit them:
/// build scripts that watch them would run again, and their crates would be compiled again.
fn describes_xtask(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

/// Formats a command for display.
fn command_line(command: &Command) -> String {
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), quoted(value?))));
    let words = iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.is_empty() || word.contains(char::is_whitespace) {
        format!("'{word}'")
    } else {
        word.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_readable() {
        let mut plain = Command::new("cargo");
        plain.args(["fmt", "--all", "--check"]);
        assert_eq!(command_line(&plain), "cargo fmt --all --check");

        let mut with_variables = Command::new("cargo");
        with_variables
            .args(["doc", "a b"])
            .env("RUSTDOCFLAGS", "-D warnings")
            .env_remove("CARGO_PKG_NAME");
        assert_eq!(command_line(&with_variables), "RUSTDOCFLAGS='-D warnings' cargo doc 'a b'");
    }

    #[test]
    fn variables_about_xtask_are_removed() {
        for (variable, is_removed) in [
            ("CARGO_PKG_NAME", true),
            ("CARGO_MANIFEST_DIR", true),
            ("CARGO_HOME", false),
            ("CARGO_TARGET_DIR", false),
            ("PATH", false),
        ] {
            assert_eq!(describes_xtask(variable), is_removed, "{variable}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn error_names_failed_command() {
        let error = run(&mut command("false", &[])).unwrap_err();
        assert_eq!(error.to_string(), "`false` failed: exit status: 1");
        assert!(run(&mut command("true", &[])).is_ok());
    }
}
