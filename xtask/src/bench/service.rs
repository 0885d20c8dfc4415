//! The registryd that the bench measures: a release build with default settings, except for a few
//! that a bench changes. The log is at `warn`, like the log of the database server.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::run;

/// The programs that the bench measures.
pub(super) struct Programs {
    pub(super) registryd: PathBuf,
    pub(super) registryctl: PathBuf,
}

impl Programs {
    /// Builds a release.
    pub(super) fn build() -> Result<Self> {
        let packages = ["--package", "registryd", "--package", "registryctl"];
        let build = [&["build", "--quiet", "--release"][..], &packages].concat();
        run::run(&mut run::command("cargo", &build))?;
        Self::at(&run::target().join("release").join("registryd"))
    }

    /// Returns a registryd that was built before, and the registryctl in the same folder.
    pub(super) fn at(registryd: &Path) -> Result<Self> {
        let registryd = registryd
            .canonicalize()
            .with_context(|| format!("cannot find {}", registryd.display()))?;
        let registryctl = registryd.with_file_name("registryctl");
        Ok(Self { registryd, registryctl })
    }
}

/// A running registryd.
pub(super) struct Service {
    child: Child,
    address: String,
    token: String,
}

impl Service {
    /// Starts registryd on a data folder, with these environment variables.
    pub(super) fn start(
        programs: &Programs,
        data: &Path,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        Self::start_at("127.0.0.1:0", programs, data, environment)
    }

    /// Starts registryd at an address.
    pub(super) fn start_at(
        listen: &str,
        programs: &Programs,
        data: &Path,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let mut command = Command::new(&programs.registryd);
        command.arg("--data").arg(data).args(["--listen", listen]);
        command.env("REGISTRY_LOG_LEVEL", "warn").envs(environment.iter().copied());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let child = child.context("cannot start registryd")?;
        // From here on, an error stops the process.
        let mut service = Self { child, address: String::new(), token: String::new() };
        let mut line = String::new();
        let output = service.child.stdout.take().context("no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on http://");
        service.address =
            address.with_context(|| format!("registryd did not start: {line}"))?.to_owned();
        service.token = std::fs::read_to_string(data.join("service-token"))?.trim().to_owned();
        ensure!(!service.token.is_empty(), "the service token is empty");
        Ok(service)
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
