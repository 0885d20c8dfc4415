//! The registryd that is measured: a release build with its defaults, but for the database, and without sending mail,
//! which a process of its own would do for a fleet; and its log as quiet as the server's.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use throwaway_postgres::Cluster;

use crate::run;

pub(super) struct Service {
    child: Child,
    address: String,
    token: String,
    _data: tempfile::TempDir,
}

impl Service {
    pub(super) fn start(cluster: &Cluster, database: &str) -> Result<Self> {
        let data = tempfile::tempdir().context("no temporary folder")?;
        let mut command = Command::new(run::target().join("release").join("registryd"));
        command.arg("--data").arg(data.path()).args(["--listen", "127.0.0.1:0"]);
        command.env("REGISTRY_DATABASE_URL", cluster.socket_url(database)).env("REGISTRY_MAIL_WORKER", "false");
        command.env("REGISTRY_LOG_LEVEL", "warn");
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("registryd cannot start")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on http://").map(str::to_owned);
        ensure!(address.is_some(), "registryd did not start: {line}");
        let token = std::fs::read_to_string(data.path().join("service-token"))?.trim().to_owned();
        Ok(Self { child, address: address.unwrap_or_default(), token, _data: data })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
