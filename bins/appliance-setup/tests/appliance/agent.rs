//! The agent as a process: it checks in when a check-in is due, also after a restart.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command};

use crate::machine::{Machine, UNREACHABLE_URL, assert_success, stderr};
use crate::test_registry::TestRegistry;
use crate::wait::wait_for;

/// A running agent, which writes the Secret with a renewed license to a file.
struct Agent {
    process: Child,
    log: PathBuf,
}

impl Agent {
    fn start(machine: &Machine) -> Self {
        let log = machine.path("agent.log");
        let mut command = machine.command(&["agent", "--output", &machine.file("out")]);
        let process = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        Self { process, log }
    }

    /// Waits until the agent has written this text to its log.
    fn wait_for_log(&self, text: &str) {
        wait_for(text, || std::fs::read_to_string(&self.log).unwrap().contains(text).then_some(()));
    }

    /// Waits until the agent has read its state and sleeps until the next check-in.
    fn wait_until_idle(&self) {
        self.wait_for_log("next check-in at");
    }

    /// Returns the resident memory, in KiB.
    #[cfg(not(debug_assertions))]
    fn resident_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn terminate(mut self) {
        let process = self.process.id().to_string();
        assert!(Command::new("kill").arg(process).status().unwrap().success());
        assert!(self.process.wait().unwrap().success(), "SIGTERM ends the agent with success");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Fails if the agent was terminated before.
        self.process.kill().and_then(|()| self.process.wait()).ok();
    }
}

/// Returns a registry, and a machine that is installed with a license.
async fn licensed_machine() -> (TestRegistry, Machine) {
    let registry = TestRegistry::start().await;
    registry.register("pro").await;
    let machine = Machine::new();
    let code = registry.mailed_code().await;
    assert_success(&tokio::task::block_in_place(|| machine.install(&registry.url, &code)));
    (registry, machine)
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_checks_in_when_due() {
    let (registry, machine) = licensed_machine().await;
    tokio::task::block_in_place(|| {
        let license = || machine.status()["license"].clone();
        assert_eq!(license()["standing"], "not_checked_in_yet");
        let agent = Agent::start(&machine);
        agent.wait_until_idle();
        agent.terminate();
        let checked_in = license();
        assert_eq!(checked_in["standing"], "entitled");
        let (next, last) = (&checked_in["next_check_in_at"], &checked_in["last_answer_at"]);
        assert!(next.as_str() > last.as_str(), "{checked_in}");

        let requests = registry.requests();
        let restarted = Agent::start(&machine);
        restarted.wait_until_idle();
        assert_eq!(registry.requests(), requests, "no check-in was due");
        assert_eq!(license(), checked_in);
        restarted.terminate();

        // The command `check-in` does not wait until a check-in is due.
        let output = machine.setup(&["check-in", "--output", &machine.file("out")]);
        assert_success(&output);
        assert!(stderr(&output).contains("The license is up to date"), "{}", stderr(&output));
        assert!(registry.requests() > requests);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_does_not_end_renewals() {
    let (_registry, machine) = licensed_machine().await;
    tokio::task::block_in_place(|| {
        let mut command = machine.command(&["check-in", "--output", &machine.file("out")]);
        let output = command.env("http_proxy", UNREACHABLE_URL).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
        for expected in [
            "warning: Requests to http://127.0.0.1",
            "go through the proxy 127.0.0.1:1",
            "the proxy 127.0.0.1:1 did not let the request through",
        ] {
            assert!(stderr(&output).contains(expected), "{expected}: {}", stderr(&output));
        }
    });
}

#[test]
fn agent_waits_for_first_license() {
    let machine = Machine::new();
    let agent = Agent::start(&machine);
    agent.wait_for_log("waiting for a license");
    agent.terminate();
}

#[test]
fn check_in_without_license_fails() {
    let machine = Machine::new();
    let output = machine.setup(&["check-in"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no license to renew"), "{}", stderr(&output));
}

/// The memory of a debug build says nothing about the product, so `cargo xtask soak` measures a
/// release build. The limit is the one of docs/performance.md.
#[tokio::test(flavor = "multi_thread")]
#[cfg(not(debug_assertions))]
async fn agent_memory_is_bounded() {
    let (_registry, machine) = licensed_machine().await;
    tokio::task::block_in_place(|| {
        let agent = Agent::start(&machine);
        agent.wait_until_idle();
        let resident = agent.resident_memory();
        println!("resident memory of the agent after a check-in: {resident} KiB");
        assert!(resident <= 25 * 1024, "{resident} KiB");
        agent.terminate();
    });
}
