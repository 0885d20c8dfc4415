//! Deliveries to a cluster, with scripts in place of `kubectl`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::fake_registry::FakeRegistry;
use crate::machine::{CODE, Machine, PASSWORD, assert_success, stderr};
use crate::page::{Page, form};
use crate::wait::wait_for;

/// Writes a `kubectl` that records its arguments and its manifests in the file `log`, and fails as
/// long as the file `broken` exists. As long as the file `away` exists, the cluster is unreachable.
fn recording_kubectl(machine: &Machine) -> String {
    let script = format!(
        "if [ \"$1\" = auth ]; then\n\
         if [ -e {away} ]; then echo 'no route to the cluster' >&2; exit 1; fi\n\
         echo yes; exit 0\n\
         fi\n\
         echo \"$@\" >> {log}\n\
         if [ -e {broken} ]; then echo 'connection to the server refused' >&2; exit 1; fi\n\
         echo applied\n\
         for last; do :; done\n\
         cat \"$last\" >> {log}; echo >> {log}",
        log = machine.file("log"),
        broken = machine.file("broken"),
        away = machine.file("away")
    );
    machine.write_script("kubectl", &script)
}

/// Returns the commands and the manifests that a recording `kubectl` received.
fn recorded(machine: &Machine) -> (Vec<String>, Vec<String>) {
    let log = std::fs::read_to_string(machine.path("log")).unwrap();
    let lines = log.lines().filter(|line| !line.is_empty()).map(str::to_owned);
    lines.partition(|line| !line.starts_with('{'))
}

#[test]
fn secrets_are_applied_server_side() {
    let machine = Machine::new();
    let kubectl = recording_kubectl(&machine);
    machine.write("job.json", r#"{"kind":"Job"}"#);
    let registry = FakeRegistry::with_identity();
    machine.write("broken", "");
    let job = machine.file("job.json");
    let options = ["--kubectl", &kubectl, "--job", &job];
    let output = machine.run(&registry.url, &options);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("connection to the server refused"), "{}", stderr(&output));
    assert_eq!(machine.status()["step"], "write", "the identity is stored");
    std::fs::remove_file(machine.path("broken")).unwrap();
    // Without options, the program uses those that the installation was started with.
    let output = machine.setup(&["run"]);
    assert_success(&output);
    assert!(stderr(&output).contains("kubectl: applied"), "{}", stderr(&output));
    // A service manager repeats all arguments, also after the installation.
    assert_success(&machine.run(&registry.url, &options));
    assert_eq!(registry.requests().len(), 1, "the code was redeemed once");

    let (commands, manifests) = recorded(&machine);
    assert!(manifests.iter().any(|it| it.contains("appliance-license-seed")));
    assert!(manifests.iter().any(|it| it.contains("Job")));
    let applies = commands.iter().filter(|it| it.starts_with("apply --server-side")).count();
    assert!(applies >= 3, "{commands:?}");
    assert!(commands.last().unwrap().starts_with("wait --for=condition=complete"), "{commands:?}");
    let encoded = BASE64_STANDARD.encode(PASSWORD);
    assert!(manifests.iter().any(|it| it.contains(&encoded)), "the password is in a manifest");
    for secret in [CODE, PASSWORD, &encoded] {
        assert!(!commands.iter().any(|it| it.contains(secret)), "no secret is an argument");
    }
    let files = std::fs::read_dir(machine.path("state")).unwrap();
    let mut files: Vec<_> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    assert_eq!(
        files,
        ["install.json", "install.lock", "license.lock", "product.json"],
        "all manifests are deleted"
    );
}

/// A cluster that cannot be reached costs no code.
#[test]
fn cluster_is_checked_before_code_is_spent() {
    let machine = Machine::new();
    let kubectl = recording_kubectl(&machine);
    let registry = FakeRegistry::with_identity();
    machine.write("away", "");
    let output = machine.run(&registry.url, &["--kubectl", &kubectl]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("no route to the cluster"), "{text}");
    assert!(text.contains("The install code was not used"), "{text}");
    assert!(registry.requests().is_empty());
    std::fs::remove_file(machine.path("away")).unwrap();
    assert_success(&machine.run(&registry.url, &["--kubectl", &kubectl]));
    assert_eq!(registry.requests().len(), 1);
}

/// The page checks the cluster, too. The form says what is wrong, and can be sent again.
#[test]
fn page_checks_the_cluster_before_code_is_spent() {
    let machine = Machine::new();
    let kubectl = recording_kubectl(&machine);
    let registry = FakeRegistry::with_identity();
    machine.write("away", "");
    let page = Page::serve(&machine, &registry.url, &["--kubectl", &kubectl]);
    let (cookie, csrf) = page.sign_in();
    let refused = page.post("/install", &cookie, &form(&csrf, &[]));
    assert!(refused.status >= 400, "{}", refused.status);
    assert!(refused.body.contains("no route to the cluster"), "{}", refused.body);
    assert!(refused.body.contains("The install code was not used"), "{}", refused.body);
    assert!(registry.requests().is_empty());
    std::fs::remove_file(machine.path("away")).unwrap();
    page.install(&cookie, &form(&csrf, &[]));
    wait_for("the redemption", || (registry.requests().len() == 1).then_some(()));
}

#[test]
fn bootstrap_image_replaces_the_last_job() {
    let machine = Machine::new();
    let kubectl = recording_kubectl(&machine);
    let registry = FakeRegistry::with_identity();
    let options = ["--kubectl", &kubectl, "--bootstrap-image", "product:1"];
    assert_success(&machine.run(&registry.url, &options));
    let (commands, manifests) = recorded(&machine);
    let verbs: Vec<_> = commands.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(verbs, ["apply", "apply", "delete", "apply", "wait"]);
    assert!(manifests.iter().any(|it| it.contains(r#""image":"product:1""#)), "{manifests:?}");
}

#[test]
fn failed_job_shows_its_logs() {
    let machine = Machine::new();
    // The Job has failed, so the program does not wait for its completion to the end.
    let kubectl = machine.write_kubectl(
        "case \"$1\" in\n\
         wait) exec sleep 60;;\n\
         get) echo Failed;;\n\
         logs) echo 'no such database';;\n\
         esac",
    );
    let registry = FakeRegistry::with_identity();
    let options = ["--kubectl", &kubectl, "--bootstrap-image", "product:1"];
    let output = machine.run(&registry.url, &options);
    assert_eq!(output.status.code(), Some(1));
    let expected = "the bootstrap failed: no such database";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    assert_eq!(machine.status()["step"], "bootstrap");
}

#[test]
fn secrets_in_kubectl_errors_are_hidden() {
    let machine = Machine::new();
    let kubectl = machine
        .write_kubectl("for file; do :; done\ncat \"$file\" >&2; echo ' is wrong' >&2; exit 1");
    let registry = FakeRegistry::with_identity();
    let text = stderr(&machine.run(&registry.url, &["--kubectl", &kubectl]));
    assert!(text.contains("is wrong") && text.contains("INITIAL_ADMIN_PASSWORD"), "{text}");
    for secret in [PASSWORD, &BASE64_STANDARD.encode(PASSWORD)] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn terminated_program_leaves_no_manifest() {
    let machine = Machine::new();
    let kubectl = machine.write_kubectl("exec sleep 30");
    let registry = FakeRegistry::with_identity();
    let manifests = || {
        let files = std::fs::read_dir(machine.path("state")).into_iter().flatten();
        let names = files.map(|file| file.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with(".manifest-")).count()
    };
    // A killed program cannot clean up.
    for (signal, left) in [("-TERM", 0), ("-KILL", 1)] {
        let args = machine.run_args(&registry.url, &["--kubectl", &kubectl]);
        let mut process = machine.command(&args).spawn().unwrap();
        wait_for("a manifest", || (manifests() == 1).then_some(()));
        let sent = std::process::Command::new("kill")
            .args([signal, &process.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        assert!(!process.wait().unwrap().success());
        assert_eq!(manifests(), left, "{signal}");
    }
    machine.write_kubectl("exit 0");
    assert_success(&machine.setup(&["run"]));
    assert_eq!(manifests(), 0, "the next run deletes the manifest of the killed one");
}
