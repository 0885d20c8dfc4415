//! The whole way with nothing in between left out: `registryd` on PostgreSQL, the code out of the
//! mail, the first-boot page in a real Chromium, the Secrets, and the bootstrap in a database of
//! the product's own.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::machine::{Machine, PASSWORD, printed};
use crate::page::Page;

/// A `registryd` process.
struct Registryd {
    child: Child,
    data: tempfile::TempDir,
    port: u16,
}

/// A program of ours that is no one of this package's.
fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_appliance-setup")).with_file_name(name);
    assert!(
        path.exists(),
        "{} is not built: `cargo xtask test`, or `cargo build --workspace` first",
        path.display()
    );
    path
}

fn fresh_database() -> String {
    let (cluster, name) =
        (throwaway_postgres::test_cluster(), throwaway_postgres::fresh_name("browser"));
    throwaway_postgres::sql(&format!("{cluster}/postgres"), &format!("CREATE DATABASE {name}"))
        .unwrap();
    format!("{cluster}/{name}")
}

impl Registryd {
    fn start() -> Self {
        let (data, database) = (tempfile::tempdir().unwrap(), fresh_database());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program("registryd"));
        command.arg("--data").arg(data.path()).args(["--listen", &format!("127.0.0.1:{port}")]);
        command
            .env("REGISTRY_DATABASE_URL", database)
            .env_remove("REGISTRY_CONFIG")
            .stdout(Stdio::null());
        let registryd = Self { child: command.stderr(Stdio::null()).spawn().unwrap(), data, port };
        for _ in 0..400 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return registryd;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("registryd does not listen")
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Calls it as a service.
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let token = std::fs::read_to_string(self.data.path().join("service-token")).unwrap();
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: registry\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            token.trim(),
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// The code in the newest mail, once so many have come.
    fn mailed_code(&self, mails: usize) -> String {
        for _ in 0..200 {
            let listed = std::fs::read_dir(self.data.path().join("mailbox")).map(|files| {
                let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
                paths.retain(|path| path.extension().is_some_and(|it| it == "eml"));
                paths.sort();
                paths
            });
            if let Some(newest) =
                listed.ok().filter(|paths| paths.len() >= mails).and_then(|mut paths| paths.pop())
            {
                let mail = std::fs::read_to_string(newest).unwrap();
                let is_code =
                    |line: &&str| line.len() == 14 && line.split('-').all(|group| group.len() == 4);
                return mail.lines().map(str::trim).find(is_code).unwrap().to_owned();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the mail does not come")
    }
}

impl Drop for Registryd {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

/// Goes through the page in a browser; the tenant that it shows in the end.
fn in_a_browser(page: &Page, code: &str, script: bool, mistakes: bool) -> String {
    let walk = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/first-boot.mjs");
    let asked = json!({
        "url": format!("http://{}/", page.address), "token": page.token, "code": code, "password": PASSWORD,
        "script": script, "mistakes": mistakes,
    });
    let output = Command::new("node").arg(walk).arg(asked.to_string()).output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        printed(&output)
    );
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    shown["tenant"].as_str().unwrap().to_owned()
}

/// A `kubectl` that keeps the manifests that it is given as files, and takes its time.
fn kubectl(machine: &Machine) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let (path, out) = (machine.path("kubectl"), machine.path("out"));
    let name = r#"$(grep -o '"name":"appliance-[a-z-]*","namespace"' "$file" | cut -d '"' -f 4)"#;
    let keeps = format!(
        "for file; do :; done\n  sleep 0.3\n  cp \"$file\" \"{}/{name}.json\"",
        out.display()
    );
    let script = format!("#!/bin/sh\nif [ \"$1\" = apply ]; then\n  {keeps}\nfi\n");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Runs the bootstrap as the Job that was applied says, with what was applied beside it.
fn bootstrap(machine: &Machine, database: &str) -> Output {
    let read = |name: &str| -> Option<Value> {
        let manifest = std::fs::read(machine.path("out").join(format!("{name}.json"))).ok()?;
        Some(serde_json::from_slice(&manifest).unwrap())
    };
    let job = read("appliance-bootstrap").unwrap();
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        (&container["image"], &container["command"]),
        (&json!("product:1"), &json!(["appliance-setup", "bootstrap"]))
    );
    let mut command = machine.command(&["bootstrap", "--json"]);
    command.env("DATABASE_URL", database);
    for variable in container["env"].as_array().unwrap() {
        command.env(variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap());
    }
    if let Some(keys) = read("appliance-license-keys") {
        // Where the Job mounts it, no test may write.
        let path = machine.path("mounted-keys.json");
        std::fs::write(&path, keys["data"]["keys.json"].as_str().unwrap()).unwrap();
        command.env("REGISTRY_KEYS_FILE", path);
    }
    for secret in ["appliance-initial-tenant", "appliance-license-seed"] {
        command.envs(machine.values(secret));
    }
    command.output().unwrap()
}

fn install(
    registryd: &Registryd,
    machine: &Machine,
    code: &str,
    script: bool,
    mistakes: bool,
) -> String {
    let kubectl = kubectl(machine);
    let page = Page::serve(
        machine,
        &registryd.url(),
        &["--kubectl", kubectl.to_str().unwrap(), "--bootstrap-image", "product:1"],
    );
    in_a_browser(&page, code, script, mistakes)
}

#[test]
fn in_chromium_a_customer_of_a_registry_on_postgres_comes_up_as_its_tenant_and_again_after_a_wipe()
{
    let registryd = Registryd::start();
    assert!(!registryd.data.path().join("registry.db").exists(), "it is on PostgreSQL");
    let customer = json!({ "company_name": "Acme Ltd", "contact_email": "ada@acme.example", "edition": "pro", "seats": 25 });
    let issued = registryd.call("POST", "/register-tenant", &customer);
    let tenant = issued["tenant_id"].as_str().unwrap();
    let code = registryd.mailed_code(1);
    assert_eq!(Some(code.as_str()), issued["install_code"].as_str());
    let machine = Machine::new();
    assert_eq!(install(&registryd, &machine, &code, true, true), tenant);

    // The product's own database has the registry's tenant, licensed.
    let database = fresh_database();
    let output = bootstrap(&machine, &database);
    assert!(output.status.success(), "{}", printed(&output));
    let done: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (done["tier"].as_str(), &done["trial_started_at"]),
        (Some("pro"), &Value::Null),
        "{done}"
    );
    let row =
        throwaway_postgres::sql(&database, "SELECT tenant_id || ' ' || company_name FROM tenants")
            .unwrap();
    assert_eq!(row.trim(), format!("{tenant} Acme Ltd"));
    let shown = registryd.call("GET", &format!("/tenants/{tenant}"), &Value::Null);
    assert_eq!(
        (shown["tenant"]["status"].as_str(), shown["appliances"].as_array().unwrap().len()),
        (Some("installed"), 1)
    );

    // Wiped, and without JavaScript.
    registryd.call("POST", "/install-codes/reissue", &json!({ "tenant_id": tenant }));
    let fresh = registryd.mailed_code(2);
    assert_ne!(fresh, code);
    let wiped = Machine::new();
    assert_eq!(install(&registryd, &wiped, &fresh, false, false), tenant, "the same tenant");
    let again = bootstrap(&wiped, &database);
    assert!(again.status.success(), "its database was kept: {}", printed(&again));
}

#[test]
fn in_chromium_an_essentials_customer_of_a_registry_on_postgres_has_neither_token_nor_trial() {
    let registryd = Registryd::start();
    let customer = json!({ "company_name": "Bolt", "contact_email": "bob@bolt.example", "edition": "essentials" });
    let issued = registryd.call("POST", "/register-tenant", &customer);
    let machine = Machine::new();
    let shown = install(&registryd, &machine, &registryd.mailed_code(1), true, false);
    assert_eq!(Some(shown.as_str()), issued["tenant_id"].as_str());
    assert!(!machine.values("appliance-license-seed").contains_key("LICENSE_TOKEN"));
    let database = fresh_database();
    let output = bootstrap(&machine, &database);
    assert!(output.status.success(), "{}", printed(&output));
    let columns = "SELECT edition_choice || ' ' || (license_token IS NULL) || ' ' || (trial_started_at IS NULL) FROM license_state";
    assert_eq!(throwaway_postgres::sql(&database, columns).unwrap().trim(), "ee true true");
    let done: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(done["tier"], "essentials");
}
