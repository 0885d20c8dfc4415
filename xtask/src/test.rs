//! `cargo xtask test`: all tests, and the PostgreSQL that they need.
//!
//! One throwaway cluster serves the whole run; each test has a database of its own in it. The documentation's tests run
//! first, since nextest cannot run them: so the last thing printed is how many tests passed.

use anyhow::{Context as _, Result, bail};
use throwaway_postgres::{Binaries, Cluster, Durability, INSTALL, TEST_CLUSTER};

use crate::run;

/// Runs the documentation's tests, then all others with nextest, or with `cargo test` where nextest is not installed.
/// With `extra` arguments for the runner only the others.
///
/// # Errors
/// Where a test fails; in CI also where PostgreSQL is not installed.
pub(crate) fn run(extra: &[String]) -> Result<()> {
    let nextest = run::cargo_has("nextest");
    if !nextest {
        println!("cargo-nextest is not installed: `cargo test` runs the tests instead");
    }
    let postgres = postgres_plan(Binaries::find().is_some(), run::in_ci());
    let cluster = match postgres {
        Postgres::Start => Some(Cluster::start(Durability::Quick, &[]).context("no PostgreSQL for the tests")?),
        Postgres::LeaveOut => {
            println!("{LEFT_OUT}");
            None
        }
        Postgres::Fail => bail!("PostgreSQL is not installed, and its tests are not left out in CI: {INSTALL}"),
    };
    for args in plan(nextest, run::in_ci(), cluster.is_some(), extra) {
        let mut command = run::command("cargo", &args);
        if let Some(cluster) = &cluster {
            command.env(TEST_CLUSTER, cluster.url("").trim_end_matches('/'));
        }
        run::run(&mut command)?;
    }
    if cluster.is_none() {
        println!("{LEFT_OUT}");
    }
    Ok(())
}

/// Runs the tests that can be made to take minutes, as large as that, one after the other.
///
/// # Errors
/// Where one fails, or PostgreSQL is not installed.
pub(crate) fn soak() -> Result<()> {
    let cluster = Cluster::start(Durability::Durable, &[]).with_context(|| format!("no PostgreSQL ({INSTALL})"))?;
    let mut command = run::command("cargo", SOAK);
    command.env(TEST_CLUSTER, cluster.url("").trim_end_matches('/')).env("SOAK", "1");
    run::run(&mut command)
}

/// What `cargo test` is told: it shows what the tests say.
const SOAK: &[&str] = &[
    "test",
    "--release",
    "--package=registryd",
    "--package=registryctl",
    "--test=mail",
    "--test=releases",
    "--",
    "--nocapture",
    "--test-threads=1",
    "many_mails",
    "in_memory_whole",
];

const LEFT_OUT: &str = "PostgreSQL is not installed: the tests that need it are left out. To run them: \
                        apt-get install postgresql";

/// What to do about PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Postgres {
    Start,
    LeaveOut,
    Fail,
}

/// A developer may do without; CI may not.
fn postgres_plan(installed: bool, ci: bool) -> Postgres {
    match (installed, ci) {
        (true, _) => Postgres::Start,
        (false, false) => Postgres::LeaveOut,
        (false, true) => Postgres::Fail,
    }
}

/// The arguments of the cargo commands to run, in order. What needs PostgreSQL has `postgres` in its name.
fn plan(nextest: bool, ci: bool, postgres: bool, extra: &[String]) -> Vec<Vec<&str>> {
    let mut commands = Vec::new();
    if extra.is_empty() {
        commands.push(vec!["test", "--workspace", "--doc"]);
    }
    // `--tests`: all but the documentation's, which have run.
    let mut tests =
        if nextest { vec!["nextest", "run", "--workspace"] } else { vec!["test", "--workspace", "--tests"] };
    if nextest && ci {
        tests.extend(["--profile", "ci"]);
    }
    if !postgres {
        tests.extend(["--exclude", "registry-store-postgres"]);
    }
    match (postgres, nextest) {
        (true, _) => tests.extend(extra.iter().map(String::as_str)),
        (false, true) => {
            tests.extend(["-E", "not test(postgres)"]);
            tests.extend(extra.iter().map(String::as_str));
        }
        (false, false) => {
            tests.extend(extra.iter().map(String::as_str));
            tests.extend(["--", "--skip", "postgres"]);
        }
    }
    commands.push(tests);
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(nextest: bool, ci: bool, postgres: bool, extra: &[&str]) -> Vec<String> {
        let extra: Vec<String> = extra.iter().map(|arg| (*arg).to_owned()).collect();
        plan(nextest, ci, postgres, &extra).iter().map(|args| args.join(" ")).collect()
    }

    #[test]
    fn the_documentation_is_tested_first_and_the_counting_runner_comes_last() {
        for (nextest, ci, last) in [
            (true, false, "nextest run --workspace"),
            (true, true, "nextest run --workspace --profile ci"),
            (false, false, "test --workspace --tests"),
            (false, true, "test --workspace --tests"),
        ] {
            assert_eq!(lines(nextest, ci, true, &[]), ["test --workspace --doc", last], "nextest {nextest}, CI {ci}");
        }
    }

    #[test]
    fn extra_arguments_go_to_the_runner_and_leave_the_documentation_out() {
        assert_eq!(lines(true, false, true, &["redeem"]), ["nextest run --workspace redeem"]);
        assert_eq!(lines(false, false, true, &["redeem"]), ["test --workspace --tests redeem"]);
    }

    #[test]
    fn without_a_server_only_what_needs_one_is_left_out() {
        let without = |nextest| lines(nextest, false, false, &[]).pop().unwrap();
        let excluded = "--workspace --exclude registry-store-postgres -E not test(postgres)";
        assert_eq!(without(true), format!("nextest run {excluded}"));
        let skipped = "--workspace --tests --exclude registry-store-postgres -- --skip postgres";
        assert_eq!(without(false), format!("test {skipped}"));
    }

    #[test]
    fn a_missing_server_fails_in_ci_only() {
        for (installed, ci, expected) in [
            (true, true, Postgres::Start),
            (true, false, Postgres::Start),
            (false, false, Postgres::LeaveOut),
            (false, true, Postgres::Fail),
        ] {
            assert_eq!(postgres_plan(installed, ci), expected, "installed {installed}, CI {ci}");
        }
    }
}
