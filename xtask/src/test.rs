//! `cargo xtask test`: all tests.
//!
//! The documentation's tests run first, since nextest cannot run them: so the last thing printed is how many tests
//! passed.

use anyhow::Result;

use crate::run;

/// Runs the documentation's tests, then all others with nextest, or with `cargo test` where nextest is not installed.
/// With `extra` arguments for the runner only the others.
///
/// # Errors
/// Where a test fails.
pub(crate) fn run(extra: &[String]) -> Result<()> {
    let nextest = run::cargo_has("nextest");
    if !nextest {
        println!("cargo-nextest is not installed: `cargo test` runs the tests instead");
    }
    for args in plan(nextest, run::in_ci(), extra) {
        run::run(&mut run::command("cargo", &args))?;
    }
    Ok(())
}

/// The arguments of the cargo commands to run, in order.
fn plan(nextest: bool, ci: bool, extra: &[String]) -> Vec<Vec<&str>> {
    let mut commands = Vec::new();
    if extra.is_empty() {
        commands.push(vec!["test", "--workspace", "--doc"]);
    }
    let mut tests = match (nextest, ci) {
        (true, true) => vec!["nextest", "run", "--workspace", "--profile", "ci"],
        (true, false) => vec!["nextest", "run", "--workspace"],
        // `--tests`: all but the documentation's, which have run.
        (false, _) => vec!["test", "--workspace", "--tests"],
    };
    tests.extend(extra.iter().map(String::as_str));
    commands.push(tests);
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(nextest: bool, ci: bool, extra: &[&str]) -> Vec<String> {
        let extra: Vec<String> = extra.iter().map(|arg| (*arg).to_owned()).collect();
        plan(nextest, ci, &extra).iter().map(|args| args.join(" ")).collect()
    }

    #[test]
    fn the_documentation_is_tested_first_and_the_counting_runner_comes_last() {
        for (nextest, ci, last) in [
            (true, false, "nextest run --workspace"),
            (true, true, "nextest run --workspace --profile ci"),
            (false, false, "test --workspace --tests"),
            (false, true, "test --workspace --tests"),
        ] {
            assert_eq!(lines(nextest, ci, &[]), ["test --workspace --doc", last], "nextest {nextest}, CI {ci}");
        }
    }

    #[test]
    fn extra_arguments_go_to_the_runner_and_leave_the_documentation_out() {
        assert_eq!(lines(true, false, &["redeem"]), ["nextest run --workspace redeem"]);
        assert_eq!(lines(false, false, &["redeem"]), ["test --workspace --tests redeem"]);
    }
}
