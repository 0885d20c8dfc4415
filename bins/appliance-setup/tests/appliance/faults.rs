//! What can go wrong on the way, made to go wrong: each has its own message, no code is burned, no
//! second tenant made, and none of the appliance's own. The table in `docs/appliance.md` is what
//! these say; `UPDATE_DOCS=1` writes it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use registry_core::id::TenantId;
use registry_core::registry::reissue::Reissue;
use registry_core::registry::tenant_admin::TenantEdit;
use registry_core::store::TenantSelector;
use throwaway_servers::{SmtpOptions, SmtpServer};

use crate::between::{Between, stand};
use crate::machine::{Machine, printed};
use crate::served::{Served, operator, serve};

fn http(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A customer whose code is in the mail, and its machine.
struct Case<'a> {
    served: &'a Served,
    runtime: &'a tokio::runtime::Handle,
    tenant: TenantId,
    machine: Machine,
}

impl<'a> Case<'a> {
    fn new(served: &'a Served, runtime: &'a tokio::runtime::Handle) -> Self {
        let tenant = runtime.block_on(served.register("pro"));
        let machine = Machine::new();
        std::fs::write(machine.path("code"), runtime.block_on(served.mailed_code())).unwrap();
        Self { served, runtime, tenant, machine }
    }

    fn out(&self) -> String {
        self.machine.path("out").to_str().unwrap().to_owned()
    }

    /// The first try, with the code.
    fn begin(&self, url: &str, more: &[&str]) -> Output {
        self.machine.run(url, &[&["--tries", "1", "--output", &self.out()], more].concat())
    }

    /// Goes on, without the code.
    fn resume(&self, more: &[&str]) -> Output {
        let out = self.out();
        let to = if more.contains(&"--kubectl") { vec![] } else { vec!["--output", &out] };
        self.machine.setup(
            &[&["run", "--tries", "1", "--registry-url", &self.served.url][..], &to, more].concat(),
        )
    }

    /// What went wrong is over: the same code brings the tenant, once.
    fn recovers(&self, what: &str, more: &[&str]) {
        let output = self.resume(more);
        assert!(output.status.success(), "{what}: {}", printed(&output));
        self.is_installed_once(what);
        if more.is_empty() {
            let tenant =
                self.machine.values("appliance-initial-tenant").remove("INITIAL_TENANT_ID");
            assert_eq!(tenant, Some(self.tenant.to_string()), "{what}");
        }
    }

    fn is_installed_once(&self, what: &str) {
        assert_eq!(self.machine.status()["tenant_id"], self.tenant.to_string(), "{what}");
        let record =
            self.runtime.block_on(self.served.registry.tenant_show(self.tenant)).unwrap().record;
        let used = record.codes.iter().filter(|code| code.consumed.is_some()).count();
        assert_eq!((used, record.appliances.len()), (1, 1), "{what}: one code, one appliance");
    }

    /// Nothing was handed to the product, and there is no way without the code.
    fn is_blocked(&self, what: &str) {
        assert_eq!(std::fs::read_dir(self.machine.path("out")).unwrap().count(), 0, "{what}");
        let config = self.machine.path("answers.toml");
        let args = [
            "run",
            "--without-code",
            "ee",
            "--config",
            config.to_str().unwrap(),
            "--output",
            &self.out(),
        ];
        let own = self.machine.setup(&args);
        assert!(printed(&own).contains("waits for its tenant"), "{what}: {}", printed(&own));
    }

    /// What the operator reads: the first line, without what differs from run to run.
    fn message(&self, output: &Output, url: &str) -> String {
        let outcome = printed(output);
        let text = outcome.trim().trim_start_matches("appliance-setup: ").to_owned();
        let text =
            text.split_once("detail    ").map_or(text.as_str(), |(_, detail)| detail).to_owned();
        let text = text.lines().next().unwrap().to_owned();
        let folder = self.machine.folder.path().to_str().unwrap();
        let url = if url.is_empty() { &self.served.url } else { url };
        undated(&text.replace(url, "\\<url\\>").replace(folder, "…"))
    }
}

/// Without the moment: ` on 2026-11-25 at 19:43 UTC`.
fn undated(text: &str) -> String {
    match text.split_once(" on 20") {
        Some((before, rest)) if rest.contains(" UTC") => {
            format!(
                "{before} on … UTC{}",
                rest.split_once(" UTC").map(|(_, after)| after).unwrap_or_default()
            )
        }
        _ => text.to_owned(),
    }
}

/// A row of the table.
struct Row {
    what: &'static str,
    message: String,
    then: &'static str,
}

const SILENCE: &str = "it answers nothing";
const TRIED_AGAIN: &str = "tried again by itself, under the same key";
const CORRECTED: &str = "waits for another code; nothing retries by itself";
const NOTHING: &str = "nothing has happened; started again with the code, it installs";
const GOES_ON: &str = "goes on from there when it is started again";

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_has_its_message_and_costs_no_code_and_the_docs_say_so() {
    let served = serve().await;
    let runtime = tokio::runtime::Handle::current();
    let rows = tokio::task::spawn_blocking(move || {
        let mut rows = on_the_way(&served, &runtime);
        rows.extend(refusals(&served, &runtime));
        rows.extend(on_this_machine(&served, &runtime));
        rows.extend(killed(&served, &runtime));
        rows
    });
    let rows = rows.await.unwrap();
    let lines =
        rows.iter().map(|Row { what, message, then }| format!("| {what} | {message} | {then} |"));
    let table = lines.collect::<Vec<_>>().join("\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/appliance.md");
    let docs = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- faults: written by the tests -->\n", "<!-- faults: end -->");
    let (before, rest) = docs.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let head = "| what goes wrong | what the operator reads | then |\n| --- | --- | --- |";
    let expected = format!("{before}{begin}{head}\n{table}\n{end}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return std::fs::write(&path, &expected).unwrap();
    }
    assert!(docs == expected, "docs/appliance.md differs: UPDATE_DOCS=1 writes the table\n{table}");
}

fn on_the_way(served: &Served, runtime: &tokio::runtime::Handle) -> Vec<Row> {
    let nobody = SmtpServer::start(SmtpOptions::default()).unwrap();
    let refusing = format!("http://127.0.0.1:{}", nobody.port());
    drop(nobody);
    let tls =
        SmtpServer::start(SmtpOptions { implicit_tls: true, ..SmtpOptions::default() }).unwrap();
    let between = |between| stand(between, &served.url);
    let page = "<!doctype html><title>Welcome to the hotel</title>";
    let mut rows = Vec::new();
    for (what, url) in [
        ("its name is not found", "http://registry.invalid".to_owned()),
        ("nobody listens", refusing),
        ("the network is cut before the request", between(Between::Closes)),
        (
            "the network is cut when the answer begins: the code is redeemed",
            between(Between::Swallows),
        ),
        ("the network is cut within the answer", between(Between::Cuts)),
        (SILENCE, between(Between::IsSilent)),
        ("it answers garbage", between(Between::Says("SSH-2.0-OpenSSH_9.2\r\n".to_owned()))),
        (
            "it answers HTML",
            between(Between::Says(http("200 OK", "content-type: text/html\r\n", page))),
        ),
        (
            "it answers 301",
            between(Between::Says(http("301 Moved", "location: http://login.example/\r\n", ""))),
        ),
        (
            "it answers 404, and is not the registry",
            between(Between::Says(http("404 Not Found", "", page))),
        ),
        ("it answers 500", between(Between::Says(http("500 Oh", "", "{}")))),
        ("it answers 503", between(Between::Says(http("503 Busy", "retry-after: 9\r\n", "")))),
        ("its certificate is nobody's", format!("https://localhost:{}", tls.port())),
    ] {
        let case = Case::new(served, runtime);
        // Only silence takes as long as is allowed; others may take their time on a busy machine.
        let timeout = if what == SILENCE { "2" } else { "30" };
        let output = case.begin(&url, &["--timeout", timeout]);
        assert_eq!(output.status.code(), Some(5), "{what}: {}", printed(&output));
        case.is_blocked(what);
        rows.push(Row { what, message: case.message(&output, &url), then: TRIED_AGAIN });
        case.recovers(what, &[]);
    }
    let case = Case::new(served, runtime);
    let keys = case.machine.path("other-keys.json");
    let other = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    std::fs::write(&keys, other).unwrap();
    let what = "its license is signed by nobody who is trusted";
    let output = case.begin(&served.url, &["--keys", keys.to_str().unwrap()]);
    case.is_blocked(what);
    rows.push(Row { what, message: case.message(&output, ""), then: TRIED_AGAIN });
    case.recovers(what, &[]);
    rows
}

fn refusals(served: &Served, runtime: &tokio::runtime::Handle) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut refused = |what: &'static str, case: &Case| {
        let output = case.begin(&served.url, &[]);
        assert_eq!(output.status.code(), Some(3), "{what}: {}", printed(&output));
        case.is_blocked(what);
        rows.push(Row { what, message: case.message(&output, ""), then: CORRECTED });
    };
    let reissue = |tenant| {
        let selector = TenantSelector::Id(tenant);
        let asked =
            Reissue { selector, strict: false, send_email: true, mail_only: false, key: None };
        runtime.block_on(served.registry.code_reissue(asked, operator())).unwrap();
        runtime.block_on(served.mailed_code())
    };
    let case = Case::new(served, runtime);
    let good = std::fs::read_to_string(case.machine.path("code")).unwrap();
    std::fs::write(case.machine.path("code"), "AAAA-BBBB-CCCC").unwrap();
    refused("the code is wrong", &case);
    std::fs::write(case.machine.path("code"), &good).unwrap();
    assert!(case.begin(&served.url, &[]).status.success(), "the right one is taken after it");
    case.is_installed_once("corrected");

    // Somebody else's appliance has it.
    let taken = Case { machine: Machine::new(), ..Case::new(served, runtime) };
    std::fs::write(taken.machine.path("code"), &good).unwrap();
    refused("the code was used", &taken);

    let suspended = Case::new(served, runtime);
    let edit = |edit| {
        runtime.block_on(served.registry.tenant_edit(suspended.tenant, edit, operator())).unwrap()
    };
    edit(TenantEdit::Suspend);
    refused("the customer is suspended", &suspended);
    edit(TenantEdit::Resume);
    assert!(suspended.begin(&served.url, &[]).status.success(), "the code is good again");
    suspended.is_installed_once("suspended");

    let replaced = Case::new(served, runtime);
    let fresh = reissue(replaced.tenant);
    refused("the code was replaced by a newer one", &replaced);
    std::fs::write(replaced.machine.path("code"), fresh).unwrap();
    assert!(replaced.begin(&served.url, &[]).status.success());
    replaced.is_installed_once("replaced");
    rows
}

/// The program with files that cannot grow: what a full disk does, whoever runs it.
fn without_space(case: &Case, args: &[&str]) -> Output {
    let mut program = case.machine.command(args);
    let words = program.get_args().map(|arg| arg.to_str().unwrap().to_owned()).collect::<Vec<_>>();
    let path = program.get_program().to_str().unwrap().to_owned();
    program = Command::new("sh");
    program.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"", &path]).args(words);
    program.stdin(Stdio::null()).output().unwrap()
}

/// The program as somebody who may not write there; whoever runs the tests may be the one who may
/// everywhere.
fn unwritable(case: &Case) -> Output {
    let folder = case.machine.folder.path();
    let state = case.machine.path("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o500)).unwrap();
    let [code, config] =
        ["code", "answers.toml"].map(|name| case.machine.path(name).to_str().unwrap().to_owned());
    let out = case.out();
    let args = [
        "run",
        "--code",
        &code,
        "--config",
        &config,
        "--registry-url",
        &case.served.url,
        "--output",
        &out,
    ];
    let program = case.machine.command(&args);
    let words: Vec<_> = program.get_args().map(std::ffi::OsStr::to_owned).collect();
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let output = if is_root {
        // Nobody has to be able to read the program, and what it reads.
        let copy = case.machine.path("appliance-setup");
        std::fs::copy(program.get_program(), &copy).unwrap();
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut nobody = Command::new("setpriv");
        nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).args(words);
        nobody.stdin(Stdio::null()).output().unwrap()
    } else {
        case.machine.setup(&args)
    };
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
    output
}

fn on_this_machine(served: &Served, runtime: &tokio::runtime::Handle) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |what, message, then| rows.push(Row { what, message, then });

    let case = Case::new(served, runtime);
    let what = "the disk is full before the code is redeemed";
    let [code, config] =
        ["code", "answers.toml"].map(|name| case.machine.path(name).to_str().unwrap().to_owned());
    let out = case.out();
    let args = [
        "run",
        "--code",
        &code,
        "--config",
        &config,
        "--registry-url",
        &served.url,
        "--output",
        &out,
    ];
    let output = without_space(&case, &args);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    assert_eq!(case.machine.status()["step"], "collect", "nothing has happened");
    row(what, case.message(&output, ""), NOTHING);
    assert!(case.begin(&served.url, &[]).status.success());
    case.is_installed_once(what);

    let case = Case::new(served, runtime);
    let what = "the disk is full when the answer comes: the code is redeemed";
    assert_eq!(case.begin("http://127.0.0.1:1", &[]).status.code(), Some(5));
    let out = case.out();
    let output = without_space(
        &case,
        &["run", "--registry-url", &served.url, "--output", &out, "--tries", "1"],
    );
    assert!(!output.status.success(), "{}", printed(&output));
    case.is_blocked(what);
    row(what, case.message(&output, ""), GOES_ON);
    case.recovers(what, &[]);

    let case = Case::new(served, runtime);
    let what = "the folder of the Secrets is not there";
    std::fs::remove_dir(case.machine.path("out")).unwrap();
    let output = case.begin(&served.url, &[]);
    assert_eq!(output.status.code(), Some(1));
    std::fs::create_dir(case.machine.path("out")).unwrap();
    row(what, case.message(&output, ""), NOTHING);
    assert!(case.begin(&served.url, &[]).status.success());
    case.is_installed_once(what);

    let case = Case::new(served, runtime);
    let what = "the Secrets cannot be written";
    let in_the_way = case.machine.path("out").join("appliance-initial-tenant.json");
    std::fs::create_dir(&in_the_way).unwrap();
    let output = case.begin(&served.url, &[]);
    assert_eq!((output.status.code(), &case.machine.status()["step"]), (Some(1), &"write".into()));
    row(what, case.message(&output, ""), GOES_ON);
    std::fs::remove_dir(&in_the_way).unwrap();
    case.recovers(what, &[]);

    let case = Case::new(served, runtime);
    let what = "the state folder is no folder";
    std::fs::write(case.machine.path("state"), "a file is in its place").unwrap();
    let output = case.begin(&served.url, &[]);
    assert_eq!(output.status.code(), Some(1));
    row(what, case.message(&output, ""), NOTHING);
    std::fs::remove_file(case.machine.path("state")).unwrap();
    assert!(case.begin(&served.url, &[]).status.success());
    case.is_installed_once(what);

    let case = Case::new(served, runtime);
    let what = "the state folder cannot be written";
    let output = unwritable(&case);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    row(what, case.message(&output, ""), NOTHING);
    assert!(case.begin(&served.url, &[]).status.success());
    case.is_installed_once(what);

    let case = Case::new(served, runtime);
    let what = "the cluster refuses the Secrets";
    let broken = kubectl(&case.machine, "echo 'connection to the server was refused' >&2; exit 1");
    let output = case.machine.run(&served.url, &["--kubectl", &broken]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(case.machine.status()["step"], "write");
    let message = case.message(&output, "");
    let message = message.split_once("failed").map_or(message.clone(), |(_, rest)| {
        format!("…/kubectl apply --server-side … failed{rest}")
    });
    row(what, message, GOES_ON);
    case.recovers(what, &["--kubectl", &kubectl(&case.machine, "exit 0")]);
    rows
}

fn kubectl(machine: &Machine, script: &str) -> String {
    let path = machine.path("kubectl");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Starts the program, waits until it is at this step and busy there, and kills it.
fn kill_at(case: &Case, step: &str, args: &[&str]) {
    let mut child =
        case.machine.command(args).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    for _ in 0..200 {
        if case.machine.status()["step"] == step {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(100));
    child.kill().and_then(|()| child.wait()).unwrap();
    assert_eq!(case.machine.status()["step"], step);
}

fn killed(served: &Served, runtime: &tokio::runtime::Handle) -> Vec<Row> {
    let holding = stand(Between::Holds, &served.url);
    let mut rows = Vec::new();
    for (what, step, url, script) in [
        (
            "it is killed when the code is redeemed, and the answer on its way",
            "redeem",
            holding.as_str(),
            "exit 0",
        ),
        (
            "it is killed while the Secrets are written",
            "write",
            served.url.as_str(),
            "exec sleep 5",
        ),
        (
            "it is killed while the product is bootstrapped",
            "bootstrap",
            served.url.as_str(),
            "case \"$1\" in wait) exec sleep 5;; esac",
        ),
    ] {
        let case = Case::new(served, runtime);
        let kubectl_path = kubectl(&case.machine, script);
        let [code, config] = ["code", "answers.toml"]
            .map(|name| case.machine.path(name).to_str().unwrap().to_owned());
        let with = ["--kubectl", &kubectl_path, "--bootstrap-image", "product:1"];
        let run = ["run", "--code", &code, "--config", &config, "--registry-url", url];
        kill_at(&case, step, &[&run[..], &with].concat());
        let status = case.machine.status();
        rows.push(Row {
            what,
            message: status["detail"].as_str().unwrap().to_owned(),
            then: GOES_ON,
        });
        kubectl(&case.machine, "exit 0");
        case.recovers(what, &with);
    }
    rows
}
