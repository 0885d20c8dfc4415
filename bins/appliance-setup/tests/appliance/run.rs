//! Unattended installations, by the program itself, against something that answers like a registry.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::machine::{CODE, Machine, PASSWORD, printed};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

pub(crate) const TENANT: &str = "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73";

/// Answers each call with the next of these (status and body; an empty status breaks the connection
/// off), and keeps the requests.
pub(crate) fn registry(answers: &[(&str, String)]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (kept, answers) = (
        requests.clone(),
        answers.iter().map(|(s, b)| ((*s).to_owned(), b.clone())).collect::<Vec<_>>(),
    );
    std::thread::spawn(move || {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut part = [0; 4096];
            while !String::from_utf8_lossy(&request).contains("\"claim_code\"") {
                let read = stream.read(&mut part).unwrap();
                assert_ne!(read, 0, "the request broke off, or was none of a code");
                request.extend_from_slice(&part[..read]);
            }
            kept.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
            if !status.is_empty() {
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    (url, requests)
}

/// An essentials one: paid ones bring a license, which only a registry can sign.
pub(crate) fn identity() -> String {
    format!(
        r#"{{"tenant_id":"{TENANT}","edition":"essentials","company_name":"Acme","contact_email":"a@example.com"}}"#
    )
}

fn header(request: &str, name: &str) -> String {
    let line = request
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name} in {request}"))
}

#[test]
fn a_code_becomes_two_secrets_and_a_lost_answer_is_had_again_under_the_same_key() {
    let machine = Machine::new();
    let (url, requests) = registry(&[("", String::new()), ("200 OK", identity())]);
    let out = machine.path("out");
    let output = machine.run(&url, &["--output", out.to_str().unwrap(), "--tries", "1"]);
    assert_eq!(output.status.code(), Some(5), "{}", printed(&output));
    assert!(
        printed(&output).contains("Could not reach the license service at"),
        "{}",
        printed(&output)
    );
    assert_eq!(machine.status()["step"], "redeem");
    // Without a code: it goes on where it was.
    let output = machine.setup(&["run", "--registry-url", &url, "--output", out.to_str().unwrap()]);
    assert!(output.status.success(), "{}", printed(&output));
    let requests = requests.lock().unwrap().clone();
    let key = |request: &String| header(request, "idempotency-key:");
    assert_eq!((requests.len(), key(&requests[0])), (2, key(&requests[1])));
    assert!(
        requests[0].contains("appliance-0123456789abcdef") && !requests[0].contains("tenant_id")
    );
    for name in ["appliance-initial-tenant.json", "appliance-license-seed.json"] {
        assert_eq!(std::fs::metadata(out.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let status = machine.status();
    assert_eq!((&status["step"], status["tenant_id"].as_str()), (&"done".into(), Some(TENANT)));
    let kept = std::fs::read_to_string(machine.path("state").join("install.json")).unwrap();
    assert!(![CODE, PASSWORD].iter().any(|secret| kept.contains(secret)), "{kept}");
}

#[test]
fn a_refused_code_ends_with_the_registrys_words_and_another_may_follow() {
    let machine = Machine::new();
    let problem =
        r#"{"error":"Install code has expired. Request a fresh one.","code":"expired_claim_code"}"#;
    let (url, _) = registry(&[("410 Gone", problem.to_owned()), ("200 OK", identity())]);
    let out = machine.path("out");
    let to = ["--output", out.to_str().unwrap()];
    let output = machine.run(&url, &to);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        printed(&output).contains("Install code has expired. Request a fresh one."),
        "{}",
        printed(&output)
    );
    assert_eq!(machine.status()["step"], "collect");
    std::fs::write(machine.path("code"), "WCD6-ERRE-QGRG").unwrap();
    assert!(machine.run(&url, &to).status.success());
}

/// A `kubectl` that keeps its arguments and what it was given, and fails while a file is there.
fn recording_kubectl(folder: &Path) -> PathBuf {
    let (program, log, broken) =
        (folder.join("kubectl"), folder.join("log"), folder.join("broken"));
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {log}\nif [ -e {broken} ]; then echo 'connection to the server refused' >&2; exit 1; fi\necho applied\n\
         for last; do :; done\ncat \"$last\" >> {log}; echo >> {log}\n",
        log = log.display(),
        broken = broken.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
fn secrets_are_applied_server_side_and_never_stand_in_an_argument() {
    let machine = Machine::new();
    let kubectl = recording_kubectl(machine.folder.path());
    let job = machine.path("job.json");
    std::fs::write(&job, r#"{"kind":"Job"}"#).unwrap();
    let (url, requests) = registry(&[("200 OK", identity())]);
    std::fs::write(machine.path("broken"), "").unwrap();
    let with = ["--kubectl", kubectl.to_str().unwrap(), "--job", job.to_str().unwrap()];
    let output = machine.run(&url, &with);
    assert_eq!(output.status.code(), Some(1));
    assert!(printed(&output).contains("connection to the server refused"), "{}", printed(&output));
    assert_eq!(machine.status()["step"], "write", "the identity is kept");
    std::fs::remove_file(machine.path("broken")).unwrap();
    // Started again with other words, as people do: it goes on with the cluster that it began with.
    let output = machine.setup(&["run"]);
    assert!(output.status.success(), "{}", printed(&output));
    assert!(
        printed(&output).contains("kubectl: applied"),
        "what it says is shown: {}",
        printed(&output)
    );
    // And with the same words again, as a unit does: all is done.
    let output = machine.run(&url, &with);
    assert!(output.status.success(), "{}", printed(&output));
    assert_eq!(requests.lock().unwrap().len(), 1, "the code was not redeemed again");
    let log = std::fs::read_to_string(machine.path("log")).unwrap();
    let (given, calls): (Vec<&str>, Vec<&str>) =
        log.lines().filter(|line| !line.is_empty()).partition(|line| line.starts_with('{'));
    assert!(
        given.iter().any(|it| it.contains("appliance-license-seed"))
            && given.iter().any(|it| it.contains("Job"))
    );
    assert!(
        calls.iter().filter(|call| call.starts_with("apply --server-side")).count() >= 3,
        "{calls:?}"
    );
    assert!(calls.last().unwrap().starts_with("wait --for=condition=complete"), "{calls:?}");
    let base64 = [BASE64_STANDARD.encode(PASSWORD)];
    assert!(log.contains(&base64[0]), "it is in what was applied");
    assert!(!calls.iter().any(|call| {
        [CODE, PASSWORD, base64[0].as_str()].iter().any(|secret| call.contains(secret))
    }));
    let left = std::fs::read_dir(machine.path("state")).unwrap().map(|it| it.unwrap().file_name());
    let mut left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
    left.sort();
    assert_eq!(
        left,
        ["install.json", "install.lock", "license.lock", "product.json"],
        "no manifest is left there"
    );
}

#[test]
fn a_bootstrap_out_of_an_image_is_run_anew_and_waited_for() {
    let machine = Machine::new();
    let kubectl = recording_kubectl(machine.folder.path());
    let (url, _) = registry(&[("200 OK", identity())]);
    let output = machine
        .run(&url, &["--kubectl", kubectl.to_str().unwrap(), "--bootstrap-image", "product:1"]);
    assert!(output.status.success(), "{}", printed(&output));
    let log = std::fs::read_to_string(machine.path("log")).unwrap();
    let calls: Vec<_> = log
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|it| !it.starts_with('{') && !it.is_empty())
        .collect();
    assert_eq!(calls, ["apply", "apply", "delete", "apply", "wait"]);
    assert!(log.contains(r#""image":"product:1""#), "{log}");
}

#[test]
fn a_job_that_fails_is_not_waited_for_to_the_end_and_its_logs_are_shown() {
    let machine = Machine::new();
    let kubectl = machine.path("kubectl");
    let script = "#!/bin/sh\ncase \"$1\" in wait) exec sleep 60;; get) echo Failed;; logs) echo 'no such database';; esac\n";
    std::fs::write(&kubectl, script).unwrap();
    std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (url, _) = registry(&[("200 OK", identity())]);
    let output = machine
        .run(&url, &["--kubectl", kubectl.to_str().unwrap(), "--bootstrap-image", "product:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed(&output).contains("the bootstrap failed: no such database"),
        "{}",
        printed(&output)
    );
    assert_eq!(machine.status()["step"], "bootstrap");
}

#[test]
fn what_kubectl_quotes_of_a_secret_is_not_shown() {
    let machine = Machine::new();
    let kubectl = machine.path("kubectl");
    std::fs::write(
        &kubectl,
        "#!/bin/sh\nfor file; do :; done\ncat \"$file\" >&2; echo ' is wrong' >&2; exit 1\n",
    )
    .unwrap();
    std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (url, _) = registry(&[("200 OK", identity())]);
    let output = machine.run(&url, &["--kubectl", kubectl.to_str().unwrap()]);
    let text = printed(&output);
    assert!(text.contains("is wrong") && text.contains("INITIAL_ADMIN_PASSWORD"), "{text}");
    assert!(
        !text.contains(PASSWORD) && !text.contains(&BASE64_STANDARD.encode(PASSWORD)),
        "{text}"
    );
}

#[test]
fn a_program_that_is_ended_leaves_no_manifest_and_one_that_is_killed_has_it_swept() {
    let machine = Machine::new();
    let kubectl = machine.path("kubectl");
    std::fs::write(&kubectl, "#!/bin/sh\nexec sleep 30\n").unwrap();
    std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (url, _) = registry(&[("200 OK", identity())]);
    let manifests = || {
        let files = std::fs::read_dir(machine.path("state")).into_iter().flatten();
        files
            .filter(|it| {
                it.as_ref().unwrap().file_name().to_string_lossy().starts_with(".manifest-")
            })
            .count()
    };
    let [code, config] =
        ["code", "answers.toml"].map(|name| machine.path(name).to_str().unwrap().to_owned());
    for (signal, left) in [("-TERM", 0), ("-KILL", 1)] {
        let run = [
            "run",
            "--code",
            &code,
            "--config",
            &config,
            "--registry-url",
            &url,
            "--kubectl",
            kubectl.to_str().unwrap(),
        ];
        let mut child = machine.command(&run).spawn().unwrap();
        for _ in 0..200 {
            if manifests() == 1 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let sent = std::process::Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        let ended = child.wait().unwrap();
        assert!(!ended.success());
        assert_eq!(manifests(), left, "{signal}");
    }
    std::fs::write(&kubectl, "#!/bin/sh\nexit 0\n").unwrap();
    assert!(machine.setup(&["run"]).status.success());
    assert_eq!(manifests(), 0);
}

#[test]
fn what_would_fail_after_the_code_is_spent_is_found_before() {
    let machine = Machine::new();
    let (url, requests) = registry(&[("200 OK", identity())]);
    for (more, expected) in [
        (["--output", "/nowhere/at/all"], "no folder that the Secrets could be left in"),
        (["--keys", "/nowhere/keys.json"], "the keys that licenses are believed by cannot be used"),
    ] {
        let output = machine.run(&url, &more);
        assert_eq!(output.status.code(), Some(1));
        assert!(printed(&output).contains(expected), "{}", printed(&output));
    }
    assert_eq!((requests.lock().unwrap().len(), &machine.status()["step"]), (0, &"collect".into()));
}

#[test]
fn the_address_may_come_by_the_name_that_the_fleet_knows() {
    let machine = Machine::new();
    let (url, _) = registry(&[("200 OK", identity())]);
    let [code, config, out] =
        ["code", "answers.toml", "out"].map(|name| machine.path(name).to_str().unwrap().to_owned());
    let mut command =
        machine.command(&["run", "--code", &code, "--config", &config, "--output", &out]);
    let output =
        command.env("REGISTRY_URL", "").env("ALGA_LICENSE_SERVICE_URL", &url).output().unwrap();
    assert!(output.status.success(), "{}", printed(&output));
}

#[test]
fn a_damaged_state_is_told_and_reset_helps() {
    let machine = Machine::new();
    std::fs::create_dir(machine.path("state")).unwrap();
    let file = machine.path("state").join("install.json");
    std::fs::write(&file, "{").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let output = machine.setup(&["run", "--registry-url", "http://127.0.0.1:1"]);
    assert!(
        !output.status.success() && printed(&output).contains("after `reset`"),
        "{}",
        printed(&output)
    );
    let bundle = machine.path("bundle.json").to_str().unwrap().to_owned();
    assert!(machine.setup(&["support-bundle", "--out", &bundle]).status.success());
    assert!(std::fs::read_to_string(&bundle).unwrap().contains("is damaged"), "it says so");
    assert!(machine.setup(&["reset", "--yes"]).status.success());
    assert_eq!(machine.status()["step"], "collect");
}

#[test]
fn a_clock_that_is_off_is_said() {
    let machine = Machine::new();
    let (url, _) = registry(&[("200 OK\r\ndate: Wed, 01 Jan 2020 00:00:00 GMT", identity())]);
    let output = machine.run(&url, &["--output", machine.path("out").to_str().unwrap()]);
    assert!(output.status.success(), "{}", printed(&output));
    assert!(printed(&output).contains("ahead of the service's: set it"), "{}", printed(&output));
}

#[test]
fn a_proxy_of_the_environment_is_called_through() {
    let machine = Machine::new();
    let (proxy, requests) = registry(&[("200 OK", identity())]);
    let (code, config, out) =
        (machine.path("code"), machine.path("answers.toml"), machine.path("out"));
    let [code, config, out] = [&code, &config, &out].map(|path| path.to_str().unwrap());
    let url = "http://registry.invalid";
    let mut command = machine.command(&[
        "run",
        "--code",
        code,
        "--config",
        config,
        "--registry-url",
        url,
        "--output",
        out,
    ]);
    let output = command.env("http_proxy", proxy).output().unwrap();
    assert!(output.status.success(), "{}", printed(&output));
    let request = requests.lock().unwrap()[0].clone();
    assert!(request.starts_with("POST http://registry.invalid/register"), "{request}");
}

#[test]
fn without_a_code_is_an_explicit_choice_that_a_code_closes() {
    let machine = Machine::new();
    let (out, config) = (machine.path("out"), machine.path("answers.toml"));
    let [out, config] = [&out, &config].map(|path| path.to_str().unwrap());
    let without = ["run", "--without-code", "ce", "--config", config, "--output", out];
    // A code was entered, and waits.
    assert_eq!(machine.run("http://127.0.0.1:1", &["--tries", "1"]).status.code(), Some(5));
    let output = machine.setup(&without);
    assert!(printed(&output).contains("waits for its tenant"), "{}", printed(&output));
    assert!(machine.setup(&["reset", "--yes"]).status.success());
    let output = machine.setup(&without);
    assert!(output.status.success(), "{}", printed(&output));
    assert_eq!(
        machine.values("appliance-license-seed").into_iter().collect::<Vec<_>>(),
        [("EDITION_CHOICE".to_owned(), "ce".to_owned())]
    );
    assert!(!machine.values("appliance-initial-tenant").contains_key("INITIAL_TENANT_ID"));
}

#[test]
fn what_is_missing_or_wrong_is_named_before_anything_is_sent() {
    let machine = Machine::new();
    let output = machine.setup(&["run"]);
    assert!(printed(&output).contains("REGISTRY_URL"), "{}", printed(&output));
    let output = machine.setup(&["run", "--registry-url", "http://127.0.0.1:1"]);
    assert!(printed(&output).contains("--code and --config"), "{}", printed(&output));
    std::fs::write(machine.path("password"), "short").unwrap();
    let output = machine.run("http://127.0.0.1:1", &[]);
    assert!(printed(&output).contains("12 characters"), "{}", printed(&output));
    let output = machine.setup(&["reset"]);
    assert!(printed(&output).contains("--yes"), "{}", printed(&output));
    assert!(machine.setup(&["reset", "--yes"]).status.success());
    assert_eq!(machine.status()["step"], "collect");
}
