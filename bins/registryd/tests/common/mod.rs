//! A registryd for a test: the real binary, on a free port, with a new data folder.

pub(crate) mod calls;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::redirect::Policy;
use serde_json::{Value, json};

/// A running registryd; dropping it kills the process.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) data: PathBuf,
    pub(crate) log: Arc<Mutex<String>>,
    child: Child,
    client: Client,
    log_reader: Option<JoinHandle<()>>,
}

/// Starts registryd on `data` with these environment variables, and waits until it listens.
pub(crate) fn start(data: &Path, environment: &[(&str, &str)]) -> Server {
    start_with(command(data, environment), data)
}

/// Starts this command, and waits until it listens.
pub(crate) fn start_with(mut command: Command, data: &Path) -> Server {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let log = Arc::new(Mutex::new(String::new()));
    let (shared, mut stderr) = (log.clone(), child.stderr.take().unwrap());
    let log_reader = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stderr.read(&mut buffer) {
            shared.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    });
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let Some(url) = line.trim().strip_prefix("listening on ") else {
        panic!("registryd did not start: {line}{}", log.lock().unwrap());
    };
    let token = std::fs::read_to_string(data.join("service-token")).unwrap().trim().to_owned();
    Server {
        url: url.to_owned(),
        token,
        data: data.to_owned(),
        log,
        child,
        client: client(Duration::from_mins(1)),
        log_reader: Some(log_reader),
    }
}

/// An HTTP client with this timeout, which follows no redirect.
pub(crate) fn client(timeout: Duration) -> Client {
    throwaway_servers::install_ring_provider();
    Client::builder().no_proxy().redirect(Policy::none()).timeout(timeout).build().unwrap()
}

/// The command that starts registryd on a free port.
pub(crate) fn command(data: &Path, environment: &[(&str, &str)]) -> Command {
    let mut command = command_without_address(data, environment);
    command.args(["--listen", "127.0.0.1:0"]);
    command
}

/// The command that starts registryd at the address that the environment names.
pub(crate) fn command_without_address(data: &Path, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registryd"));
    command.arg("--data").arg(data);
    for name in ["REGISTRY_CONFIG", "REGISTRY_PUBLIC_URL"] {
        command.env_remove(name);
    }
    command.env("REGISTRY_HTTP_DRAIN_DELAY", "1ms");
    command.env("REGISTRY_RATE_LIMIT_REFUSAL_DELAY", "1ms");
    // As the fleet in the field has it (docs/examples/fleet.toml).
    command.env("REGISTRY_CODES_ACTIVATION_NEEDS_BOUND_TENANT", "false");
    command.envs(environment.iter().copied());
    command
}

/// A response of the API: status and JSON.
pub(crate) type ApiResponse = (u16, Value);

/// Reads a response of the API. Panics if the response is not JSON, or if it is an error that lacks
/// a field of an error.
pub(crate) fn read_response(response: Response) -> ApiResponse {
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").unwrap().to_str().unwrap().to_owned();
    let expected = if status < 400 { "application/json" } else { "application/problem+json" };
    assert_eq!(kind, expected, "{status}");
    let id = response.headers().get("x-request-id").unwrap().to_str().unwrap().to_owned();
    let body: Value = response.json().unwrap();
    if status >= 400 {
        assert_eq!(
            (body["status"].as_u64(), &body["detail"]),
            (Some(status.into()), &body["error"])
        );
        assert!(
            ["type", "title", "error", "code", "server_time"]
                .iter()
                .all(|key| body[key].is_string()),
            "{body}"
        );
        assert_eq!(body["request_id"], id);
    }
    (status, body)
}

/// Polls until `observe` returns `Ok`, for about 20 seconds, and returns its value. Panics with the
/// last `Err`, which says what was seen instead.
pub(crate) fn wait_for<T>(what: &str, mut observe: impl FnMut() -> Result<T, String>) -> T {
    let mut seen = String::new();
    for _ in 0..1_000 {
        match observe() {
            Ok(value) => return value,
            Err(text) => seen = text,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("waited 20 seconds for {what}; seen instead: {seen}");
}

impl Server {
    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(method.parse().unwrap(), format!("{}{path}", self.url))
    }

    /// Posts JSON with the service bearer.
    pub(crate) fn post_as_service(&self, path: &str, body: &Value) -> ApiResponse {
        read_response(self.post(path).bearer_auth(&self.token).json(body).send().unwrap())
    }

    /// Gets JSON with the service bearer.
    pub(crate) fn get_as_service(&self, path: &str) -> ApiResponse {
        read_response(self.get(path).bearer_auth(&self.token).send().unwrap())
    }

    /// Registers a tenant, and returns its id and code.
    pub(crate) fn register(&self, company: &str, edition: &str) -> (String, String) {
        let email = format!("{}@example.com", company.to_lowercase());
        let body = json!({ "company_name": company, "contact_email": email, "edition": edition });
        let (status, body) = self.post_as_service("/register-tenant", &body);
        assert_eq!(status, 200, "{body}");
        (text(&body["tenant_id"]), text(&body["install_code"]))
    }

    /// Redeems a code at a first boot.
    pub(crate) fn redeem(&self, code: &str) -> ApiResponse {
        let body = json!({ "claim_code": code, "appliance_id": "appliance-1" });
        read_response(self.post("/register").json(&body).send().unwrap())
    }

    pub(crate) fn reissue(&self, tenant: &str) -> ApiResponse {
        self.post_as_service("/install-codes/reissue", &json!({ "tenant_id": tenant }))
    }

    /// Waits until the mailbox holds `count` mails, and returns all of them.
    pub(crate) fn mails(&self, count: usize) -> Vec<String> {
        wait_for("the mails", || {
            let mails = mailbox(&self.data);
            if mails.len() >= count {
                return Ok(mails);
            }
            Err(format!("{} of {count} mails: {}", mails.len(), self.log.lock().unwrap()))
        })
    }

    /// Waits until the log contains `part`.
    pub(crate) fn wait_for_log(&self, part: &str) {
        wait_for(&format!("`{part}` in the log"), || {
            let log = self.log.lock().unwrap().clone();
            if log.contains(part) { Ok(()) } else { Err(log) }
        });
    }

    /// Waits until new connections are refused: from then on the process is stopping.
    pub(crate) fn wait_until_closed(&self) {
        let address = self.url.strip_prefix("http://").unwrap();
        wait_for("connections to be refused", || match TcpStream::connect(address) {
            Ok(_) => Err("a connection was accepted".to_owned()),
            Err(_) => Ok(()),
        });
    }

    /// Ends the process as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let status =
            Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end of the process, and returns true if it succeeded.
    pub(crate) fn ended(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }

    /// Stops the process with SIGTERM, and returns its whole log.
    pub(crate) fn stop(mut self) -> String {
        self.terminate();
        let succeeded = self.ended();
        if let Some(reader) = self.log_reader.take() {
            reader.join().unwrap();
        }
        let log = self.log.lock().unwrap().clone();
        assert!(succeeded, "registryd did not stop as it should: {log}");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The mails in the mailbox of a data folder, in the order of their ids.
pub(crate) fn mailbox(data: &Path) -> Vec<String> {
    let files = std::fs::read_dir(data.join("mailbox")).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|it| it == "eml")).collect();
    files.sort();
    files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// The text of a JSON string.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}
