//! The servers that registryd is told to use instead of its data folder, where the demo is asked
//! to.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use throwaway_postgres::{Cluster, Durability};

use super::server::binary;
use crate::run;

/// Which of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) postgres: bool,
    pub(crate) s3: bool,
    pub(crate) smtp: bool,
}

/// They, running, and what registryd and registryctl are told.
pub(super) struct Outside {
    pub(super) environment: Vec<(String, String)>,
    /// Where the mails arrive.
    pub(super) mailbox: PathBuf,
    /// They end with this.
    _postgres: Option<Cluster>,
    _servers: Option<Servers>,
}

/// Ends when its standard input is closed.
struct Servers(Child);

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

const PASSWORD: &str = "a-throwaway-password";

impl Outside {
    pub(super) fn start(chosen: Chosen, folder: &Path, data: &Path) -> Result<Self> {
        let mut environment = Vec::new();
        let mut tell =
            |name: &str, value: &str| environment.push((name.to_owned(), value.to_owned()));
        let postgres =
            chosen.postgres.then(|| Cluster::start(Durability::Quick, &[])).transpose()?;
        if let Some(cluster) = &postgres {
            tell("REGISTRY_DATABASE_URL", &cluster.url("postgres"));
        }
        let servers = if chosen.s3 || chosen.smtp { Some(servers(folder)?) } else { None };
        let mut mailbox = data.join("mailbox");
        if let Some((_, said)) = servers.as_ref().filter(|_| chosen.smtp) {
            mailbox = folder.join("mailbox");
            tell("REGISTRY_MAIL_FROM", "registry@vendor.example");
            tell("REGISTRY_MAIL_SMTP_HOST", "localhost");
            tell("REGISTRY_MAIL_SMTP_PORT", &said["smtp_port"].to_string());
            tell("REGISTRY_MAIL_SMTP_USERNAME", "demo");
            tell("REGISTRY_MAIL_SMTP_PASSWORD", PASSWORD);
            tell(
                "REGISTRY_MAIL_SMTP_CA_FILE",
                folder.join("ca.pem").to_str().context("the path is not UTF-8")?,
            );
        }
        if let Some((_, said)) = servers.as_ref().filter(|_| chosen.s3) {
            let said = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
            tell("REGISTRY_S3_BUCKET", &said("bucket"));
            tell("REGISTRY_S3_ENDPOINT", &said("s3_endpoint"));
            tell("REGISTRY_S3_ACCESS_KEY_ID", "demo");
            tell("REGISTRY_S3_SECRET_ACCESS_KEY", PASSWORD);
        }
        let servers = servers.map(|(servers, _)| servers);
        Ok(Self { environment, mailbox, _postgres: postgres, _servers: servers })
    }
}

/// The mail server and the object store, and what they say of themselves.
fn servers(folder: &Path) -> Result<(Servers, Value)> {
    run::run(&mut run::command("cargo", &["build", "--quiet", "--package", "throwaway-servers"]))?;
    let mut command = Command::new(binary("throwaway-servers")?);
    command.arg("--mailbox").arg(folder.join("mailbox")).arg("--ca").arg(folder.join("ca.pem"));
    command.args(["--user", "demo"]).env("THROWAWAY_PASSWORD", PASSWORD);
    let mut servers = Servers(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    BufReader::new(servers.0.stdout.take().context("no output")?).read_line(&mut line)?;
    ensure!(!line.is_empty(), "the throwaway servers did not start");
    let said = serde_json::from_str(&line)
        .with_context(|| format!("the throwaway servers said: {line}"))?;
    Ok((servers, said))
}
