//! The agent as a process: it checks in when that is due, and what it knows outlives it.

use std::process::{Child, Stdio};
use std::time::Duration;

use crate::machine::{Machine, printed};
use crate::served::serve;
use serde_json::Value;

/// Waits until the license stands so, and returns it.
fn license(machine: &Machine, is_so: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..200 {
        let license = machine.status()["license"].clone();
        if is_so(&license) {
            return license;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("it does not come to that: {}", machine.status())
}

fn end(mut agent: Child) {
    let asked = std::process::Command::new("kill").arg(agent.id().to_string()).status().unwrap();
    assert!(asked.success() && agent.wait().unwrap().success(), "it ends when it is told to");
}

/// Resident memory, in KiB.
fn resident(agent: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_waits_for_a_license_checks_in_at_once_and_after_a_restart_when_it_is_due() {
    let served = serve().await;
    served.register("pro").await;
    let code = served.mailed_code().await;
    let url = served.url.clone();
    let machine = Machine::new();
    let agent = |machine: &Machine| {
        let out = machine.path("out");
        let mut command = machine.command(&["agent", "--output", out.to_str().unwrap()]);
        command.stderr(Stdio::null()).spawn().unwrap()
    };
    let checks = move || {
        std::fs::write(machine.path("code"), code).unwrap();
        let output = machine.run(&url, &["--output", machine.path("out").to_str().unwrap()]);
        assert!(output.status.success(), "{}", printed(&output));
        assert_eq!(license(&machine, |_| true)["standing"], "not_checked_in_yet");
        let running = agent(&machine);
        let checked = license(&machine, |license| license["standing"] == "entitled");
        assert!(
            checked["next_check_in_at"].as_str() > checked["last_answer_at"].as_str(),
            "{checked}"
        );
        let resident = resident(&running);
        println!("an agent of a debug build has {resident} KiB resident");
        assert!(resident <= 25 * 1024, "{resident} KiB");
        end(running);
        let again = agent(&machine);
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(license(&machine, |_| true), checked, "nothing was due");
        end(again);
        // By hand, it is checked in whether that is due or not.
        let output =
            machine.setup(&["check-in", "--output", machine.path("out").to_str().unwrap()]);
        assert!(output.status.success(), "{}", printed(&output));
        assert!(printed(&output).contains("renewed as it should be"), "{}", printed(&output));
    };
    tokio::task::spawn_blocking(checks).await.unwrap();
}

#[test]
fn without_a_license_there_is_nothing_to_check_in() {
    let machine = Machine::new();
    let output = machine.setup(&["check-in"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(printed(&output).contains("no license to renew"), "{}", printed(&output));
}
