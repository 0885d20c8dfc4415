//! A program that is killed in the middle of a step.

use std::process::Stdio;

use super::{Fault, FaultCase, RESUMED};
use crate::faulty_proxy::{self, ProxyFault};
use crate::wait::wait_for;

/// Shell command that tells the test that `kubectl` is running, and keeps it running.
const WAIT: &str = "touch \"${0%/*}/started\"; exec sleep 30";

faults! {
    killed_before_response_arrives {
        fault: "The program is killed after the code was redeemed, before the response arrives.",
        message: "The install code is being redeemed.",
        next: RESUMED,
        test: |fault| {
            let case = FaultCase::new();
            let url = faulty_proxy::start(ProxyFault::DelayResponse, &case.registry.url);
            kill(&case, fault, "redeem", &url, "exit 0", || case.redeemed_codes() == 1);
        },
    }
    killed_while_secrets_are_applied {
        fault: "The program is killed while the Secrets are applied.",
        message: "The Secrets have not been delivered to the product yet.",
        next: RESUMED,
        test: |fault| {
            let case = FaultCase::new();
            let is_started = || case.machine.path("started").exists();
            kill(&case, fault, "write", &case.registry.url, WAIT, is_started);
        },
    }
    killed_during_bootstrap {
        fault: "The program is killed while the product is bootstrapped.",
        message: "The product has not been bootstrapped yet.",
        next: RESUMED,
        test: |fault| {
            let case = FaultCase::new();
            let is_started = || case.machine.path("started").exists();
            let kubectl = format!("case \"$1\" in wait) {WAIT};; esac");
            kill(&case, fault, "bootstrap", &case.registry.url, &kubectl, is_started);
        },
    }
}

/// Kills an installation in this step, once `is_busy` returns true, and then resumes it.
fn kill(
    case: &FaultCase,
    fault: &Fault,
    step: &str,
    url: &str,
    kubectl: &str,
    is_busy: impl Fn() -> bool,
) {
    let kubectl = case.machine.write_kubectl(kubectl);
    let options = ["--kubectl", &kubectl, "--bootstrap-image", "product:1"];
    let args = case.machine.run_args(url, &options);
    let mut command = case.machine.command(&args);
    let mut process = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(fault.cause, || is_busy().then_some(()));
    process.kill().and_then(|()| process.wait()).unwrap();
    let status = case.machine.status();
    assert_eq!((&status["step"], &status["detail"]), (&step.into(), &fault.message.into()));
    case.machine.write_kubectl("exit 0");
    case.assert_resumes();
}
