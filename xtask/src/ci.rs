//! `cargo xtask ci`: runs every check that a change must pass, the quick ones first.
//!
//! The command stops at the first step that fails.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{deps, guards, run, test};

const INSTALL_DENY: &str = "cargo install --locked cargo-deny";

/// Runs all steps, or all except the tests.
///
/// # Errors
/// If a step fails. The error names the step.
pub(crate) fn run(skip_test: bool) -> Result<()> {
    for step in plan(skip_test) {
        let name = step.name();
        println!("\n== {name}");
        let (result, duration) = measure(|| step.run());
        let seconds = duration.as_secs_f64();
        result.with_context(|| format!("step {name} failed after {seconds:.1} s"))?;
        println!("== {name}: done in {seconds:.1} s");
    }
    Ok(())
}

/// One check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Fmt,
    Guards,
    Deps,
    Clippy,
    Doc,
    Deny,
    Test,
}

/// The steps to run, in order.
fn plan(skip_test: bool) -> Vec<Step> {
    let mut steps = vec![Step::Fmt, Step::Guards, Step::Deps, Step::Clippy, Step::Doc, Step::Deny];
    if !skip_test {
        steps.push(Step::Test);
    }
    steps
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Guards => "guards",
            Self::Deps => "deps",
            Self::Clippy => "clippy",
            Self::Doc => "doc",
            Self::Deny => "deny",
            Self::Test => "test",
        }
    }

    fn run(self) -> Result<()> {
        match self {
            Self::Fmt => cargo(&["fmt", "--all", "--check"]),
            Self::Guards => guards::run(),
            Self::Deps => deps::run(),
            Self::Clippy => {
                cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
            }
            Self::Doc => {
                let mut doc = run::command("cargo", &["doc", "--no-deps", "--workspace"]);
                run::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
            }
            Self::Deny => deny(),
            Self::Test => test::run(&[]),
        }
    }
}

fn cargo(args: &[&str]) -> Result<()> {
    run::run(&mut run::command("cargo", args))
}

/// Runs cargo-deny without its check for advisories, which needs a network to clone their
/// database.
fn deny() -> Result<()> {
    match deny_plan(run::cargo_has("deny"), run::in_ci()) {
        DenyPlan::Check => cargo(&[
            "deny",
            "--offline",
            "--config",
            "deny.toml",
            "check",
            "bans",
            "licenses",
            "sources",
        ]),
        DenyPlan::Skip => {
            println!("Skipped: cargo-deny is not installed. To install it: {INSTALL_DENY}");
            Ok(())
        }
        DenyPlan::Fail => bail!("cargo-deny is not installed. To install it: {INSTALL_DENY}"),
    }
}

/// Decision about the check with cargo-deny.
#[derive(Debug, PartialEq, Eq)]
enum DenyPlan {
    Check,
    Skip,
    Fail,
}

/// Decides about cargo-deny. It takes minutes to install, so a developer may skip the check; CI may
/// not.
fn deny_plan(installed: bool, ci: bool) -> DenyPlan {
    match (installed, ci) {
        (true, _) => DenyPlan::Check,
        (false, false) => DenyPlan::Skip,
        (false, true) => DenyPlan::Fail,
    }
}

#[expect(clippy::disallowed_methods, reason = "the duration is printed and decides nothing")]
fn measure<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_checks_come_first() {
        let names: Vec<_> = plan(false).into_iter().map(Step::name).collect();
        assert_eq!(names, ["fmt", "guards", "deps", "clippy", "doc", "deny", "test"]);
    }

    #[test]
    fn skip_test_keeps_all_other_steps() {
        let mut all = plan(false);
        assert_eq!(all.pop(), Some(Step::Test));
        assert_eq!(plan(true), all);
    }

    #[test]
    fn missing_cargo_deny_fails_only_in_ci() {
        for (installed, ci, expected) in [
            (true, true, DenyPlan::Check),
            (true, false, DenyPlan::Check),
            (false, false, DenyPlan::Skip),
            (false, true, DenyPlan::Fail),
        ] {
            assert_eq!(deny_plan(installed, ci), expected, "installed {installed}, CI {ci}");
        }
    }
}
