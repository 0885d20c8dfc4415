//! registryd as a child process, HTTP to it, and registryctl beside it.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::blocking::{Client, Response};
use serde_json::{Value, json};

use crate::run;

/// A running registryd; stopped when dropped.
pub(super) struct Service {
    pub(super) url: String,
    token: String,
    child: Child,
    client: Client,
}

/// An answer over HTTP.
pub(super) struct Answer {
    status: u16,
    body: Value,
}

pub(super) fn binary(name: &str) -> Result<PathBuf> {
    let path = run::target().join("debug").join(name);
    ensure!(path.is_file(), "{} is not built", path.display());
    Ok(path)
}

/// Where everything is, and what both programs are told.
pub(super) struct Setting {
    pub(super) data: PathBuf,
    /// Where the mails arrive.
    pub(super) mailbox: PathBuf,
    pub(super) environment: Vec<(String, String)>,
}

impl Setting {
    /// Runs registryctl and reads what it prints.
    pub(super) fn ctl(&self, args: &[&str]) -> Result<Value> {
        let mut command = Command::new(binary("registryctl")?);
        command.arg("--data").arg(&self.data).arg("--json").args(args);
        let output = command.envs(self.environment.iter().cloned()).output()?;
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "registryctl {}: {err}", args.join(" "));
        serde_json::from_str(&out).with_context(|| format!("registryctl printed no JSON: {out}"))
    }
}

impl Service {
    pub(super) fn start(setting: &Setting, more: &[(&str, &str)]) -> Result<Self> {
        let data = &setting.data;
        let mut command = Command::new(binary("registryd")?);
        command.arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]);
        command.envs(setting.environment.iter().cloned()).envs(more.iter().copied());
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

    /// A call with the service bearer.
    pub(super) fn service(&self, path: &str, body: &Value) -> Result<Answer> {
        answer(
            self.client
                .post(format!("{}{path}", self.url))
                .bearer_auth(&self.token)
                .json(body)
                .send()?,
        )
    }

    pub(super) fn redeem(&self, code: &str) -> Result<Answer> {
        let body = json!({ "claim_code": code, "appliance_id": "appliance-0123456789abcdef" });
        answer(self.client.post(format!("{}/register", self.url)).json(&body).send()?)
    }

    pub(super) fn look(&self, path: &str) -> Result<Value> {
        answer(self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token).send()?)?
            .expect(200)
    }

    /// The bytes from `start` up to `end` of what a link downloads. The link names where registryd
    /// was then.
    pub(super) fn range(&self, link: &str, start: u64, end: u64) -> Result<Vec<u8>> {
        let response =
            self.client.get(link).header("range", format!("bytes={start}-{}", end - 1)).send()?;
        ensure!(response.status() == 206, "{} for a range", response.status());
        Ok(response.bytes()?.to_vec())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let stopped = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let ended = stopped.and_then(|_| self.child.wait());
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("registryd did not stop as it should");
        }
    }
}

fn answer(response: Response) -> Result<Answer> {
    let status = response.status().as_u16();
    let body = response.text()?;
    let body =
        serde_json::from_str(&body).with_context(|| format!("{status} with no JSON: {body}"))?;
    Ok(Answer { status, body })
}

impl Answer {
    /// The body, where the status is this one.
    pub(super) fn expect(self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "{} instead of {status}: {}", self.status, self.body);
        Ok(self.body)
    }

    /// The text for the operator, where it was refused just so.
    pub(super) fn refused(self, status: u16, code: &str, part: &str) -> Result<String> {
        let body = self.expect(status)?;
        let error = body["error"].as_str().unwrap_or_default().to_owned();
        ensure!(body["code"] == code && error.contains(part), "not {code} with `{part}`: {body}");
        Ok(error)
    }
}
