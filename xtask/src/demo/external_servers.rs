//! Servers that registryd uses instead of its data folder: PostgreSQL, an object store, a mail
//! server.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use throwaway_postgres::{Cluster, Durability};

use super::server::binary;
use crate::run;

/// The servers that a demo uses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServerOptions {
    pub(crate) postgres: bool,
    pub(crate) s3: bool,
    pub(crate) smtp: bool,
}

/// The running servers. They stop when this is dropped.
pub(super) struct ExternalServers {
    /// Settings of registryd and registryctl.
    pub(super) environment: Vec<(String, String)>,
    /// Folder in which mails arrive.
    pub(super) mailbox: PathBuf,
    _postgres: Option<Cluster>,
    _throwaway: Option<ThrowawayServers>,
}

/// The process of the mail server and the object store. It ends when its standard input is closed.
struct ThrowawayServers(Child);

impl Drop for ThrowawayServers {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

const PASSWORD: &str = "a-throwaway-password";

impl ExternalServers {
    pub(super) fn start(options: ServerOptions, folder: &Path, data: &Path) -> Result<Self> {
        let mut environment = Vec::new();
        let mut set =
            |name: &str, value: &str| environment.push((name.to_owned(), value.to_owned()));
        let postgres =
            options.postgres.then(|| Cluster::start(Durability::Quick, &[])).transpose()?;
        if let Some(cluster) = &postgres {
            set("REGISTRY_DATABASE_URL", &cluster.url("postgres"));
        }
        let throwaway =
            if options.s3 || options.smtp { Some(start_throwaway(folder)?) } else { None };
        let mut mailbox = data.join("mailbox");
        if let Some((_, report)) = throwaway.as_ref().filter(|_| options.smtp) {
            mailbox = folder.join("mailbox");
            set("REGISTRY_MAIL_FROM", "registry@vendor.example");
            set("REGISTRY_MAIL_SMTP_HOST", "localhost");
            set("REGISTRY_MAIL_SMTP_PORT", &report["smtp_port"].to_string());
            set("REGISTRY_MAIL_SMTP_USERNAME", "demo");
            set("REGISTRY_MAIL_SMTP_PASSWORD", PASSWORD);
            set(
                "REGISTRY_MAIL_SMTP_CA_FILE",
                folder.join("ca.pem").to_str().context("the path is not UTF-8")?,
            );
        }
        if let Some((_, report)) = throwaway.as_ref().filter(|_| options.s3) {
            let field = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
            set("REGISTRY_S3_BUCKET", &field("bucket"));
            set("REGISTRY_S3_ENDPOINT", &field("s3_endpoint"));
            set("REGISTRY_S3_ACCESS_KEY_ID", "demo");
            set("REGISTRY_S3_SECRET_ACCESS_KEY", PASSWORD);
        }
        let throwaway = throwaway.map(|(process, _)| process);
        Ok(Self { environment, mailbox, _postgres: postgres, _throwaway: throwaway })
    }
}

/// Starts the mail server and the object store. Returns their process, and their report with ports
/// and names.
fn start_throwaway(folder: &Path) -> Result<(ThrowawayServers, Value)> {
    run::run(&mut run::command("cargo", &["build", "--quiet", "--package", "throwaway-servers"]))?;
    let mut command = Command::new(binary("throwaway-servers")?);
    command.arg("--mailbox").arg(folder.join("mailbox")).arg("--ca").arg(folder.join("ca.pem"));
    command.args(["--user", "demo"]).env("THROWAWAY_PASSWORD", PASSWORD);
    let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut servers = ThrowawayServers(process);
    let mut line = String::new();
    BufReader::new(servers.0.stdout.take().context("no output")?).read_line(&mut line)?;
    ensure!(!line.is_empty(), "the throwaway servers did not start");
    let report = serde_json::from_str(&line)
        .with_context(|| format!("the throwaway servers did not print JSON: {line}"))?;
    Ok((servers, report))
}
