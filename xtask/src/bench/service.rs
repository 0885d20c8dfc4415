//! The registryd that the bench measures: a release build with default settings, except for a few
//! that a bench changes. The log is at `warn`, like the log of the database server.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::run;

pub(super) struct Service {
    child: Child,
    address: String,
    token: String,
}

impl Service {
    pub(super) fn start(data: &Path, environment: &[(&str, &str)]) -> Result<Self> {
        let mut command = Command::new(run::target().join("release").join("registryd"));
        command.arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]);
        command.env("REGISTRY_LOG_LEVEL", "warn").envs(environment.iter().copied());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start registryd")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on http://").map(str::to_owned);
        ensure!(address.is_some(), "registryd did not start: {line}");
        let token = std::fs::read_to_string(data.join("service-token"))?.trim().to_owned();
        Ok(Self { child, address: address.unwrap_or_default(), token })
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
