//! `cargo xtask test`: all tests, and the PostgreSQL and the browser that they need.
//!
//! One throwaway cluster serves the whole run; each test has a database of its own in it. The
//! browser is the machine's Chromium, driven by playwright-core. The documentation's tests run
//! first, since nextest cannot run them: so the last thing printed is how many tests passed.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use throwaway_postgres::{Binaries, Cluster, Durability, INSTALL, TEST_CLUSTER};

use crate::run;

/// Runs the documentation's tests, then all others with nextest, or with `cargo test` where nextest
/// is not installed. With `extra` arguments for the runner only the others.
///
/// # Errors
/// Where a test fails; in CI also where PostgreSQL, Chromium or Node.js is not installed.
pub(crate) fn run(extra: &[String]) -> Result<()> {
    let nextest = run::cargo_has("nextest");
    if !nextest {
        println!("cargo-nextest is not installed: `cargo test` runs the tests instead");
    }
    let cluster = match provided(Binaries::find().is_some(), run::in_ci()) {
        Provided::Use => {
            Some(Cluster::start(Durability::Quick, &[]).context("no PostgreSQL for the tests")?)
        }
        Provided::LeaveOut => None,
        Provided::Fail => {
            bail!("PostgreSQL is not installed, and its tests are not left out in CI: {INSTALL}")
        }
    };
    let browser = match (find_browser(), run::in_ci()) {
        (Ok(browser), _) => Some(browser),
        (Err(error), true) => {
            return Err(error.context("the tests that need a browser are not left out in CI"));
        }
        (Err(error), false) => {
            println!("{error:#}");
            None
        }
    };
    let left_out: Vec<&str> = [(cluster.is_none(), NO_POSTGRES), (browser.is_none(), NO_BROWSER)]
        .into_iter()
        .filter(|(out, _)| *out)
        .map(|(_, text)| text)
        .collect();
    for text in &left_out {
        println!("{text}");
    }
    for args in plan(
        nextest,
        run::in_ci(),
        Have { postgres: cluster.is_some(), browser: browser.is_some() },
        extra,
    ) {
        let mut command = run::command("cargo", &args);
        if let Some(cluster) = &cluster {
            command.env(TEST_CLUSTER, cluster.url("").trim_end_matches('/'));
        }
        if let Some((chromium, modules)) = &browser {
            command.env("CHROMIUM", chromium).env("BROWSER_MODULES", modules);
        }
        run::run(&mut command)?;
    }
    for text in &left_out {
        println!("{text}");
    }
    Ok(())
}

/// The browser, and the folder of what it is driven with: installed as its lock file says, unless
/// it is there already.
fn find_browser() -> Result<(PathBuf, PathBuf)> {
    let chromium = run::find("chromium").filter(|_| run::find("npm").is_some());
    let chromium =
        chromium.with_context(|| format!("Chromium or Node.js is not installed: {BROWSER}"))?;
    let folder = run::root().join("xtask").join("browser");
    let installed = |name: &str| std::fs::read(folder.join(name)).ok();
    // npm notes there what it installed.
    if installed("package-lock.json") != installed("node_modules/.installed") {
        let mut install = run::command("npm", &["ci", "--no-audit", "--no-fund"]);
        run::run(install.current_dir(&folder))
            .context("what drives the browser cannot be installed")?;
        std::fs::copy(folder.join("package-lock.json"), folder.join("node_modules/.installed"))?;
    }
    Ok((chromium, folder))
}

/// Runs the tests that can be made to take minutes, as large as that, one after the other.
///
/// # Errors
/// Where one fails, or PostgreSQL is not installed.
pub(crate) fn soak() -> Result<()> {
    let cluster = Cluster::start(Durability::Durable, &[])
        .with_context(|| format!("no PostgreSQL ({INSTALL})"))?;
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

const NO_POSTGRES: &str = "PostgreSQL is not installed: the tests that need it are left out. To run them: \
                           apt-get install postgresql";

const BROWSER: &str = "apt-get install chromium nodejs npm";

const NO_BROWSER: &str =
    "The tests that need a browser are left out. To run them: apt-get install chromium nodejs npm";

/// What to do about something that tests need and the machine may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Provided {
    Use,
    LeaveOut,
    Fail,
}

/// A developer may do without; CI may not.
fn provided(installed: bool, ci: bool) -> Provided {
    match (installed, ci) {
        (true, _) => Provided::Use,
        (false, false) => Provided::LeaveOut,
        (false, true) => Provided::Fail,
    }
}

/// What the machine has.
#[derive(Clone, Copy, Debug)]
struct Have {
    postgres: bool,
    browser: bool,
}

/// The arguments of the cargo commands to run, in order. What needs PostgreSQL has `postgres` in
/// its name, what needs a browser `chromium`.
fn plan(nextest: bool, ci: bool, have: Have, extra: &[String]) -> Vec<Vec<&str>> {
    let mut commands = Vec::new();
    if extra.is_empty() {
        commands.push(vec!["test", "--workspace", "--doc"]);
    }
    // `--tests`: all but the documentation's, which have run.
    let mut tests = if nextest {
        vec!["nextest", "run", "--workspace"]
    } else {
        vec!["test", "--workspace", "--tests"]
    };
    if nextest && ci {
        tests.extend(["--profile", "ci"]);
    }
    if !have.postgres {
        tests.extend(["--exclude", "registry-store-postgres"]);
    }
    let extra = extra.iter().map(String::as_str);
    let (without, skips): (Option<&str>, &[&str]) = match (have.postgres, have.browser) {
        (true, true) => (None, &[]),
        (false, true) => (Some("not test(postgres)"), &["--skip", "postgres"]),
        (true, false) => (Some("not test(chromium)"), &["--skip", "chromium"]),
        (false, false) => (
            Some("not test(postgres) and not test(chromium)"),
            &["--skip", "postgres", "--skip", "chromium"],
        ),
    };
    match (nextest, without) {
        (true, Some(without)) => tests.extend(["-E", without].into_iter().chain(extra)),
        (false, Some(_)) => tests.extend(extra.chain(["--"]).chain(skips.iter().copied())),
        (_, None) => tests.extend(extra),
    }
    commands.push(tests);
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Have = Have { postgres: true, browser: true };

    fn lines(nextest: bool, ci: bool, have: Have, extra: &[&str]) -> Vec<String> {
        let extra: Vec<String> = extra.iter().map(|arg| (*arg).to_owned()).collect();
        plan(nextest, ci, have, &extra).iter().map(|args| args.join(" ")).collect()
    }

    #[test]
    fn the_documentation_is_tested_first_and_the_counting_runner_comes_last() {
        for (nextest, ci, last) in [
            (true, false, "nextest run --workspace"),
            (true, true, "nextest run --workspace --profile ci"),
            (false, false, "test --workspace --tests"),
            (false, true, "test --workspace --tests"),
        ] {
            assert_eq!(
                lines(nextest, ci, ALL, &[]),
                ["test --workspace --doc", last],
                "nextest {nextest}, CI {ci}"
            );
        }
    }

    #[test]
    fn extra_arguments_go_to_the_runner_and_leave_the_documentation_out() {
        assert_eq!(lines(true, false, ALL, &["redeem"]), ["nextest run --workspace redeem"]);
        assert_eq!(lines(false, false, ALL, &["redeem"]), ["test --workspace --tests redeem"]);
    }

    #[test]
    fn without_a_server_or_a_browser_only_what_needs_one_is_left_out() {
        let without =
            |nextest| lines(nextest, false, Have { postgres: false, ..ALL }, &[]).pop().unwrap();
        let excluded = "--workspace --exclude registry-store-postgres -E not test(postgres)";
        assert_eq!(without(true), format!("nextest run {excluded}"));
        let skipped = "--workspace --tests --exclude registry-store-postgres -- --skip postgres";
        assert_eq!(without(false), format!("test {skipped}"));
        let without =
            |nextest| lines(nextest, false, Have { browser: false, ..ALL }, &[]).pop().unwrap();
        assert_eq!(without(true), "nextest run --workspace -E not test(chromium)");
        assert_eq!(without(false), "test --workspace --tests -- --skip chromium");
        let neither =
            lines(true, false, Have { postgres: false, browser: false }, &[]).pop().unwrap();
        assert!(neither.ends_with("-E not test(postgres) and not test(chromium)"), "{neither}");
    }

    #[test]
    fn what_is_missing_fails_in_ci_only() {
        for (installed, ci, expected) in [
            (true, true, Provided::Use),
            (true, false, Provided::Use),
            (false, false, Provided::LeaveOut),
            (false, true, Provided::Fail),
        ] {
            assert_eq!(provided(installed, ci), expected, "installed {installed}, CI {ci}");
        }
    }
}
