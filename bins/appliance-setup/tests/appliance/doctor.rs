//! `appliance-setup doctor`: what an installation needs, before a code is spent.

use crate::machine::{Machine, UNREACHABLE_URL, assert_success};
use crate::test_registry::TestRegistry;

fn doctor(machine: &Machine, more: &[&str]) -> (bool, String) {
    let output = machine.setup(&[&["doctor"], more].concat());
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_what_would_cost_a_code() {
    let registry = TestRegistry::start().await;
    tokio::task::block_in_place(|| {
        let machine = Machine::new();
        std::fs::create_dir_all(machine.path("out")).unwrap();
        let (out, missing) = (machine.file("out"), machine.file("missing"));
        let fine = ["--registry-url", &registry.url, "--output", &out];
        let (is_fine, text) = doctor(&machine, &fine);
        assert!(is_fine, "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.lines().all(|line| line.ends_with(" ok")), "{text}");

        let kubectl = machine.write_script("kubectl", "echo 'no route to the cluster' >&2; exit 1");
        let no_folder = format!("{}/state", machine.file("machine-id"));
        for (options, part, problem) in [
            (&["--registry-url", UNREACHABLE_URL, "--output", &out][..], "service", "refused"),
            (&["--registry-url", "https://registry.invalid", "--output", &out], "service", "name"),
            (
                &["--registry-url", "http://registry.invalid", "--output", &out],
                "service",
                "--insecure-http",
            ),
            (&["--registry-url", "nonsense", "--output", &out], "service", "not the address"),
            (&["--output", &out], "service", "--registry-url"),
            (
                &["--registry-url", &registry.url, "--output", &out, "--ca-file", &missing],
                "service",
                "cannot be read",
            ),
            (&["--registry-url", &registry.url, "--output", &missing], "product", "missing"),
            (&["--registry-url", &registry.url, "--kubectl", &kubectl], "product", "no route"),
            (
                &["--registry-url", &registry.url, "--kubectl", "/nowhere/kubectl"],
                "product",
                "was not found",
            ),
            (
                &["--state", &no_folder, "--registry-url", &registry.url, "--output", &out],
                "state folder",
                "cannot be written",
            ),
        ] {
            let (is_fine, text) = doctor(&machine, options);
            assert!(!is_fine, "{options:?}: {text}");
            let line = text.lines().find(|line| line.starts_with(part));
            let line = line.unwrap_or_else(|| panic!("{options:?}: {text}"));
            assert!(line.contains("wrong") && line.contains(problem), "{options:?}: {line}");
        }
        assert_success(&machine.setup(&["reset", "--yes"]));
    });
}
