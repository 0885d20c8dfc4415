//! An installation with all real parts: `registryd` on PostgreSQL, the code from the mail, the
//! first-boot page in Chromium, the Secrets, and the bootstrap of the product's own database.
//!
//! `cargo xtask test` provides PostgreSQL and Chromium. On a machine without them it leaves the
//! tests out, and in CI it fails.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::machine::{Machine, PASSWORD, assert_success, stderr};
use crate::page::Page;
use crate::test_registry::find_code;
use crate::wait::wait_for;

/// A `registryd` process.
struct Registryd {
    process: Child,
    data: tempfile::TempDir,
    port: u16,
}

/// Returns the path of a program of another package of this workspace.
fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_appliance-setup")).with_file_name(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo xtask test`, or `cargo build --workspace` first",
        path.display()
    );
    path
}

/// Creates a database in the test's cluster, and returns its URL.
fn create_database() -> String {
    let (cluster, name) =
        (throwaway_postgres::test_cluster(), throwaway_postgres::unique_name("browser"));
    throwaway_postgres::sql(&format!("{cluster}/postgres"), &format!("CREATE DATABASE {name}"))
        .unwrap();
    format!("{cluster}/{name}")
}

impl Registryd {
    fn start() -> Self {
        let (data, database) = (tempfile::tempdir().unwrap(), create_database());
        let mut command = Command::new(program("registryd"));
        command.arg("--data").arg(data.path()).args(["--listen", "127.0.0.1:0"]);
        command
            .env("REGISTRY_DATABASE_URL", database)
            .env_remove("REGISTRY_CONFIG")
            .stdout(Stdio::piped());
        let process = command.stderr(Stdio::null()).spawn().unwrap();
        // From here on, a failure stops the process.
        let mut registryd = Self { process, data, port: 0 };
        let mut line = String::new();
        BufReader::new(registryd.process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        registryd.port = port.unwrap_or_else(|| panic!("registryd printed no port: {line}"));
        registryd
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Calls the API with the token of a service.
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let token = std::fs::read_to_string(self.data.path().join("service-token")).unwrap();
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: registry\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            token.trim(),
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 2"), "{response}");
        serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Waits for this number of mails, and returns the code in the newest one.
    fn mailed_code(&self, mails: usize) -> String {
        let mailbox = self.data.path().join("mailbox");
        let newest = wait_for("a mail", || {
            let files = std::fs::read_dir(&mailbox).ok()?;
            let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            paths.retain(|path| path.extension().is_some_and(|it| it == "eml"));
            paths.sort();
            paths.pop().filter(|_| paths.len() + 1 >= mails)
        });
        find_code(&std::fs::read_to_string(newest).unwrap())
    }
}

impl Drop for Registryd {
    fn drop(&mut self) {
        self.process.kill().and_then(|()| self.process.wait()).ok();
    }
}

/// Behavior of the installer.
#[derive(Clone, Copy)]
struct Walk {
    /// Enables JavaScript.
    script: bool,
    /// Makes every mistake before the installation.
    mistakes: bool,
}

/// Installs with the page in a browser, and returns the tenant that the page shows.
fn install_in_browser(page: &Page, code: &str, walk: Walk) -> String {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/first-boot.mjs");
    let input = json!({
        "url": format!("http://{}/", page.address),
        "token": page.token,
        "code": code,
        "password": PASSWORD,
        "script": walk.script,
        "mistakes": walk.mistakes,
    });
    let output = Command::new("node").arg(program).arg(input.to_string()).output();
    let output = output.unwrap_or_else(|error| panic!("Node.js is not installed: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}{}", stderr(&output));
    let result: Value = serde_json::from_str(&stdout).unwrap();
    result["tenant"].as_str().unwrap().to_owned()
}

/// Writes a `kubectl` that stores each manifest in a file. The script is slow enough for the page
/// to show its progress.
fn storing_kubectl(machine: &Machine) -> String {
    let name = r#"$(grep -o '"name":"appliance-[a-z-]*","namespace"' "$file" | cut -d '"' -f 4)"#;
    let script = format!(
        "if [ \"$1\" = apply ]; then\n\
           for file; do :; done\n\
           sleep 0.3\n\
           cp \"$file\" \"{}/{name}.json\"\n\
         fi",
        machine.file("out")
    );
    machine.write_script("kubectl", &script)
}

/// Runs the bootstrap as the applied Job describes it, with the applied keys and Secrets.
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
        // A test cannot write to the path that the Job mounts.
        let path = machine.path("mounted-keys.json");
        std::fs::write(&path, keys["data"]["keys.json"].as_str().unwrap()).unwrap();
        command.env("REGISTRY_KEYS_FILE", path);
    }
    for secret in ["appliance-initial-tenant", "appliance-license-seed"] {
        command.envs(machine.secret(secret));
    }
    command.output().unwrap()
}

fn install(registryd: &Registryd, machine: &Machine, code: &str, walk: Walk) -> String {
    let kubectl = storing_kubectl(machine);
    let options = ["--kubectl", &kubectl, "--bootstrap-image", "product:1"];
    install_in_browser(&Page::serve(machine, &registryd.url(), &options), code, walk)
}

#[test]
fn chromium_installs_on_postgres_and_again() {
    let registryd = Registryd::start();
    assert!(!registryd.data.path().join("registry.db").exists(), "the database is not SQLite");
    let customer = json!({
        "company_name": "Acme Ltd",
        "contact_email": "ada@acme.example",
        "edition": "pro",
        "seats": 25,
    });
    let issued = registryd.call("POST", "/register-tenant", &customer);
    let tenant = issued["tenant_id"].as_str().unwrap();
    let code = registryd.mailed_code(1);
    assert_eq!(Some(code.as_str()), issued["install_code"].as_str());
    let machine = Machine::new();
    let walk = Walk { script: true, mistakes: true };
    assert_eq!(install(&registryd, &machine, &code, walk), tenant);

    // The product's own database has the registry's tenant, with a license.
    let database = create_database();
    let output = bootstrap(&machine, &database);
    assert_success(&output);
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (result["tier"].as_str(), &result["trial_started_at"]),
        (Some("pro"), &Value::Null),
        "{result}"
    );
    let query = "SELECT tenant_id || ' ' || company_name FROM tenants";
    let row = throwaway_postgres::sql(&database, query).unwrap();
    assert_eq!(row.trim(), format!("{tenant} Acme Ltd"));
    let record = registryd.call("GET", &format!("/tenants/{tenant}"), &Value::Null);
    assert_eq!(
        (record["tenant"]["status"].as_str(), record["appliances"].as_array().unwrap().len()),
        (Some("installed"), 1)
    );

    // The machine is wiped, and installed again without JavaScript.
    registryd.call("POST", "/install-codes/reissue", &json!({ "tenant_id": tenant }));
    let new_code = registryd.mailed_code(2);
    assert_ne!(new_code, code);
    let wiped = Machine::new();
    let walk = Walk { script: false, mistakes: false };
    assert_eq!(install(&registryd, &wiped, &new_code, walk), tenant, "the same tenant");
    // The product's database was not wiped.
    assert_success(&bootstrap(&wiped, &database));
}

#[test]
fn chromium_installs_essentials_on_postgres() {
    let registryd = Registryd::start();
    let customer = json!({
        "company_name": "Bolt",
        "contact_email": "bob@bolt.example",
        "edition": "essentials",
    });
    let issued = registryd.call("POST", "/register-tenant", &customer);
    let machine = Machine::new();
    let walk = Walk { script: true, mistakes: false };
    let tenant = install(&registryd, &machine, &registryd.mailed_code(1), walk);
    assert_eq!(Some(tenant.as_str()), issued["tenant_id"].as_str());
    assert_eq!(machine.secret_value("appliance-license-seed", "LICENSE_TOKEN"), None);
    let database = create_database();
    let output = bootstrap(&machine, &database);
    assert_success(&output);
    let columns = "SELECT edition_choice || ' ' || (license_token IS NULL) || ' ' || \
                   (trial_started_at IS NULL) FROM license_state";
    assert_eq!(throwaway_postgres::sql(&database, columns).unwrap().trim(), "ee true true");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["tier"], "essentials");
}
