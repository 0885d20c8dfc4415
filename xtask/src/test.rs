//! `cargo xtask test`: runs all tests, with the PostgreSQL and the browser that they need.
//!
//! One temporary cluster serves the whole run, and each test has its own database in it. The
//! browser is the machine's Chromium, driven by playwright-core. The documentation's tests, which
//! nextest cannot run, run first: the output ends with the number of tests that passed.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use throwaway_postgres::{Binaries, Cluster, Durability, INSTALL, TEST_CLUSTER};

use crate::run;

/// Runs the documentation's tests, then all others with nextest, or with `cargo test` if nextest is
/// not installed. With `extra` arguments for the runner, the documentation's tests are skipped.
///
/// # Errors
/// If a test fails; in CI also if PostgreSQL, Chromium or Node.js is not installed.
pub(crate) fn run(extra: &[String]) -> Result<()> {
    let nextest = run::cargo_has("nextest");
    if !nextest {
        println!("cargo-nextest is not installed. `cargo test` runs the tests instead.");
    }
    let cluster = match decide(Binaries::find().is_some(), run::in_ci()) {
        Decision::Use => {
            Some(Cluster::start(Durability::Quick, &[]).context("cannot start PostgreSQL")?)
        }
        Decision::Skip => None,
        Decision::Fail => {
            bail!("PostgreSQL is not installed, and CI needs it. To install it: {INSTALL}")
        }
    };
    let browser = match (find_browser(), run::in_ci()) {
        (Ok(browser), _) => Some(browser),
        (Err(error), true) => {
            return Err(error.context("CI must run the tests that need a browser"));
        }
        (Err(error), false) => {
            println!("{error:#}");
            None
        }
    };
    let mut missing: Vec<&str> = Vec::new();
    let mut skipped: Vec<String> = Vec::new();
    let mut lacks = |name, message: String| {
        missing.push(name);
        println!("{message}");
        skipped.push(message);
    };
    if cluster.is_none() {
        lacks("postgres", NO_POSTGRES.to_owned());
    }
    if browser.is_none() {
        lacks("chromium", NO_BROWSER.to_owned());
    }
    for tool in TOOLS.iter().filter(|tool| tool.find().is_none()) {
        let Tool { name, package, .. } = tool;
        if run::in_ci() {
            bail!("CI must run the tests with {name}. To install it: apt-get install {package}");
        }
        lacks(
            name,
            format!("Tests with {name} are skipped. To run them: apt-get install {package}"),
        );
    }
    if !can_make_networks() {
        let message = "Tests in a network namespace are skipped: `unshare --net`, ip, ss or iptables \
                       does not work here.";
        lacks("netns", message.to_owned());
    }
    for args in plan(nextest, run::in_ci(), &missing, extra) {
        let mut command =
            run::command("cargo", &args.iter().map(String::as_str).collect::<Vec<_>>());
        if let Some(cluster) = &cluster {
            command.env(TEST_CLUSTER, cluster.url("").trim_end_matches('/'));
        }
        command.envs(tool_variables());
        if let Some((chromium, modules)) = &browser {
            command.env("CHROMIUM", chromium).env("BROWSER_MODULES", modules);
        }
        run::run(&mut command)?;
    }
    for message in &skipped {
        println!("{message}");
    }
    Ok(())
}

/// Returns Chromium, and the folder of the Node.js modules that drive it. Installs the modules of
/// the lock file if they are not installed.
fn find_browser() -> Result<(PathBuf, PathBuf)> {
    let chromium = run::find("chromium").filter(|_| run::find("npm").is_some());
    let chromium = chromium.with_context(|| {
        format!("Chromium or Node.js is not installed. To install them: {INSTALL_BROWSER}")
    })?;
    let folder = run::root().join("xtask").join("browser");
    let installed = |name: &str| std::fs::read(folder.join(name)).ok();
    // After npm succeeded, the lock file is copied to `.installed`.
    if installed("package-lock.json") != installed("node_modules/.installed") {
        let mut install = run::command("npm", &["ci", "--no-audit", "--no-fund"]);
        run::run(install.current_dir(&folder))
            .context("npm cannot install the modules that drive the browser")?;
        std::fs::copy(folder.join("package-lock.json"), folder.join("node_modules/.installed"))?;
    }
    Ok((chromium, folder))
}

/// Runs the tests that measure load and memory, at full size, one after the other. They take
/// minutes.
///
/// # Errors
/// If a test fails, or PostgreSQL is not installed.
pub(crate) fn soak() -> Result<()> {
    let cluster = Cluster::start(Durability::Durable, &[])
        .with_context(|| format!("cannot start PostgreSQL. To install it: {INSTALL}"))?;
    let mut command = run::command("cargo", SOAK);
    command.env(TEST_CLUSTER, cluster.url("").trim_end_matches('/')).env("SOAK", "1");
    command.envs(tool_variables());
    run::run(&mut command)
}

/// Arguments of cargo for [`soak`]. `--nocapture` shows what the tests measure.
const SOAK: &[&str] = &[
    "test",
    "--release",
    "--package=registryd",
    "--package=registryctl",
    "--package=appliance-setup",
    "--test=mail",
    "--test=releases",
    "--test=appliance",
    "--test=networks",
    "--",
    "--nocapture",
    "--test-threads=1",
    "rolling_restart",
    "many_mails",
    "large_image_is_streamed",
    "agent_memory",
];

const NO_POSTGRES: &str = "PostgreSQL is not installed: the tests that need it are skipped. \
                           To run them: apt-get install postgresql";

/// A program or library of Debian that some tests need. They have its name in theirs.
struct Tool {
    name: &'static str,
    package: &'static str,
    /// Paths at which it may be. Debian installs servers where only root looks for programs.
    paths: &'static [&'static str],
    /// The environment variable that tells the tests where it is.
    variable: &'static str,
}

/// Returns the variables that name the installed tools to the tests.
fn tool_variables() -> impl Iterator<Item = (&'static str, PathBuf)> {
    TOOLS.iter().filter_map(|tool| Some((tool.variable, tool.find()?)))
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "pgbouncer",
        package: "pgbouncer",
        paths: &["/usr/sbin/pgbouncer"],
        variable: "PGBOUNCER",
    },
    Tool {
        name: "haproxy",
        package: "haproxy",
        paths: &["/usr/sbin/haproxy"],
        variable: "HAPROXY",
    },
    Tool {
        name: "faketime",
        package: "libfaketime",
        paths: &[
            "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
            "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
        ],
        variable: "LIBFAKETIME",
    },
];

impl Tool {
    fn find(&self) -> Option<PathBuf> {
        let usual = self.paths.iter().map(PathBuf::from).find(|path| path.exists());
        usual.or_else(|| run::find(self.name))
    }
}

/// Returns whether a test can have a network namespace of its own, with a firewall.
fn can_make_networks() -> bool {
    let script = "ip link set lo up && ss --no-header --tcp && iptables -w -L && ip6tables -w -L";
    let mut command = run::command("unshare", &["--net", "--mount", "--", "sh", "-c", script]);
    command.output().is_ok_and(|output| output.status.success())
}

const INSTALL_BROWSER: &str = "apt-get install chromium nodejs npm";

const NO_BROWSER: &str = "The tests that need a browser are skipped. \
                          To run them: apt-get install chromium nodejs npm";

/// Decision about tests that need a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Use,
    Skip,
    Fail,
}

/// Decides about tests that need a tool: a developer may skip them, CI may not.
fn decide(installed: bool, ci: bool) -> Decision {
    match (installed, ci) {
        (true, _) => Decision::Use,
        (false, false) => Decision::Skip,
        (false, true) => Decision::Fail,
    }
}

/// Returns the arguments of the cargo commands to run, in order. Tests that need PostgreSQL have
/// `postgres` in their name, tests that need a browser `chromium`, and so on; `missing` has the names
/// of what is not there.
fn plan(nextest: bool, ci: bool, missing: &[&str], extra: &[String]) -> Vec<Vec<String>> {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut commands = Vec::new();
    if extra.is_empty() {
        commands.push(words("test --workspace --doc"));
    }
    // `--tests` selects all tests except the documentation's, which have run.
    let mut tests =
        words(if nextest { "nextest run --workspace" } else { "test --workspace --tests" });
    if nextest && ci {
        tests.extend(words("--profile ci"));
    }
    if missing.contains(&"postgres") {
        tests.extend(words("--exclude registry-store-postgres"));
    }
    let filter: Vec<_> = missing.iter().map(|name| format!("not test({name})")).collect();
    if nextest && !filter.is_empty() {
        tests.extend(["-E".to_owned(), filter.join(" and ")]);
    }
    tests.extend(extra.iter().cloned());
    if !nextest && !filter.is_empty() {
        tests.push("--".to_owned());
        tests.extend(missing.iter().flat_map(|name| ["--skip".to_owned(), (*name).to_owned()]));
    }
    commands.push(tests);
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(nextest: bool, ci: bool, missing: &[&str], extra: &[&str]) -> Vec<String> {
        let extra: Vec<String> = extra.iter().map(|arg| (*arg).to_owned()).collect();
        plan(nextest, ci, missing, &extra).iter().map(|args| args.join(" ")).collect()
    }

    #[test]
    fn documentation_tests_run_first() {
        for (nextest, ci, last) in [
            (true, false, "nextest run --workspace"),
            (true, true, "nextest run --workspace --profile ci"),
            (false, false, "test --workspace --tests"),
            (false, true, "test --workspace --tests"),
        ] {
            assert_eq!(
                lines(nextest, ci, &[], &[]),
                ["test --workspace --doc", last],
                "nextest {nextest}, CI {ci}"
            );
        }
    }

    #[test]
    fn extra_arguments_skip_documentation_tests() {
        assert_eq!(lines(true, false, &[], &["redeem"]), ["nextest run --workspace redeem"]);
        assert_eq!(lines(false, false, &[], &["redeem"]), ["test --workspace --tests redeem"]);
    }

    #[test]
    fn missing_tool_skips_only_its_tests() {
        let without = |nextest| lines(nextest, false, &["postgres"], &[]).pop().unwrap();
        let excluded = "--workspace --exclude registry-store-postgres -E not test(postgres)";
        assert_eq!(without(true), format!("nextest run {excluded}"));
        let skipped = "--workspace --tests --exclude registry-store-postgres -- --skip postgres";
        assert_eq!(without(false), format!("test {skipped}"));
        let without = |nextest| lines(nextest, false, &["chromium"], &[]).pop().unwrap();
        assert_eq!(without(true), "nextest run --workspace -E not test(chromium)");
        assert_eq!(without(false), "test --workspace --tests -- --skip chromium");
        assert_eq!(
            lines(true, false, &["pgbouncer"], &[]).pop().unwrap(),
            "nextest run --workspace -E not test(pgbouncer)"
        );
        let neither = lines(true, false, &["postgres", "chromium"], &[]).pop().unwrap();
        assert!(neither.ends_with("-E not test(postgres) and not test(chromium)"), "{neither}");
    }

    #[test]
    fn missing_tool_fails_only_in_ci() {
        for (installed, ci, expected) in [
            (true, true, Decision::Use),
            (true, false, Decision::Use),
            (false, false, Decision::Skip),
            (false, true, Decision::Fail),
        ] {
            assert_eq!(decide(installed, ci), expected, "installed {installed}, CI {ci}");
        }
    }
}
