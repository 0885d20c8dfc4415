//! registryd as a child process, HTTP requests to it, and registryctl on the same data.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::blocking::{Client, Response};
use serde_json::{Value, json};

use crate::run;

/// A running registryd. It stops when this is dropped.
pub(super) struct Service {
    pub(super) url: String,
    token: String,
    child: Child,
    client: Client,
}

/// An HTTP response with a JSON body.
pub(super) struct ApiResponse {
    status: u16,
    body: Value,
}

pub(super) fn binary(name: &str) -> Result<PathBuf> {
    let path = run::target().join("debug").join(name);
    ensure!(path.is_file(), "{} is not built", path.display());
    Ok(path)
}

/// The folders and settings of registryd and registryctl.
pub(super) struct Setup {
    /// The data folder.
    pub(super) data: PathBuf,
    /// Folder in which mails arrive.
    pub(super) mailbox: PathBuf,
    pub(super) environment: Vec<(String, String)>,
}

impl Setup {
    /// Runs registryctl and returns its JSON output.
    pub(super) fn registryctl(&self, args: &[&str]) -> Result<Value> {
        let mut command = Command::new(binary("registryctl")?);
        command.arg("--data").arg(&self.data).arg("--json").args(args);
        let output = command.envs(self.environment.iter().cloned()).output()?;
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "registryctl {}: {err}", args.join(" "));
        serde_json::from_str(&out).with_context(|| format!("registryctl did not print JSON: {out}"))
    }
}

impl Service {
    /// Starts registryd, with `more` settings in its environment.
    pub(super) fn start(setup: &Setup, more: &[(&str, &str)]) -> Result<Self> {
        let data = &setup.data;
        let mut command = Command::new(binary("registryd")?);
        command.arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]);
        command.envs(setup.environment.iter().cloned()).envs(more.iter().copied());
        let log =
            std::fs::File::options().create(true).append(true).open(data.with_extension("log"))?;
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let url = line.trim().strip_prefix("listening on ");
        let log = || std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
        let url = url.with_context(|| format!("registryd did not start:\n{}", log()))?.to_owned();
        let token = std::fs::read_to_string(data.join("service-token"))?.trim().to_owned();
        let client = Client::builder().no_proxy().timeout(Duration::from_mins(1)).build()?;
        Ok(Self { url, token, child, client })
    }

    /// Sends a request with the service token.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<ApiResponse> {
        read_response(
            self.client
                .post(format!("{}{path}", self.url))
                .bearer_auth(&self.token)
                .json(body)
                .send()?,
        )
    }

    /// Redeems a code as an appliance does.
    pub(super) fn redeem(&self, code: &str) -> Result<ApiResponse> {
        let body = json!({ "claim_code": code, "appliance_id": "appliance-0123456789abcdef" });
        read_response(self.client.post(format!("{}/register", self.url)).json(&body).send()?)
    }

    /// Sends a GET request with the service token, and returns the body.
    pub(super) fn get(&self, path: &str) -> Result<Value> {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        read_response(request.send()?)?.expect(200)
    }

    /// Downloads the bytes of a link from `start` up to, but not including, `end`. The link
    /// contains the address that registryd had when it sent the mail.
    pub(super) fn download_range(&self, link: &str, start: u64, end: u64) -> Result<Vec<u8>> {
        let response =
            self.client.get(link).header("range", format!("bytes={start}-{}", end - 1)).send()?;
        ensure!(response.status() == 206, "{} instead of 206 for a range", response.status());
        Ok(response.bytes()?.to_vec())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let stopped = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let ended = stopped.and_then(|_| self.child.wait());
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("registryd did not stop with exit code 0");
        }
    }
}

fn read_response(response: Response) -> Result<ApiResponse> {
    let status = response.status().as_u16();
    let body = response.text()?;
    let body =
        serde_json::from_str(&body).with_context(|| format!("{status} without JSON: {body}"))?;
    Ok(ApiResponse { status, body })
}

impl ApiResponse {
    /// Returns the body if the status is `status`.
    pub(super) fn expect(self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "{} instead of {status}: {}", self.status, self.body);
        Ok(self.body)
    }

    /// Returns the text of an error that has this status and this code, and contains `part`.
    pub(super) fn expect_error(self, status: u16, code: &str, part: &str) -> Result<String> {
        let body = self.expect(status)?;
        let error = body["error"].as_str().unwrap_or_default().to_owned();
        ensure!(
            body["code"] == code && error.contains(part),
            "expected the error {code} with `{part}`: {body}"
        );
        Ok(error)
    }
}
