//! A PostgreSQL cluster for tests and benches, made of the binaries that the machine has: on a
//! random port of the loopback interface, in a temporary folder, and gone when it is dropped.
//!
//! It is a crate of its own, and not a part of registry-testkit, so that the developer command
//! builds it in a moment. The server refuses to run as root, so as root everything is run as the
//! user `postgres`.

mod binaries;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub use binaries::{Binaries, INSTALL};

/// The environment variable in which `cargo xtask test` tells the tests where its cluster is: the
/// beginning of a URL, to which `/` and the name of a database are added.
pub const TEST_CLUSTER: &str = "TEST_POSTGRES";

/// The cluster that `cargo xtask test` started for this run.
///
/// # Panics
/// Where there is none: a test that needs one is never passed over in silence.
#[must_use]
#[expect(clippy::panic, reason = "a test fails by panicking")]
pub fn test_cluster() -> String {
    std::env::var(TEST_CLUSTER).unwrap_or_else(|_| {
        panic!("no cluster: `cargo xtask test` brings one, and says where in {TEST_CLUSTER}")
    })
}

/// A name for a database or a role that nobody in the cluster has; a process id would come again in
/// a cluster that lives for long.
#[must_use]
pub fn fresh_name(prefix: &str) -> String {
    use std::hash::{BuildHasher as _, RandomState};
    format!("{prefix}_{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// How often another port is tried, where somebody else took the one that was free a moment ago.
const PORT_TRIES: u32 = 5;

/// What a cluster promises about what was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// As in production: every commit is on the disk.
    Durable,
    /// Quick: a crash of the machine may lose it. A crash of the server does not.
    Quick,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The machine has no PostgreSQL.
    #[error("PostgreSQL is not installed: {INSTALL}")]
    Missing,
    /// A command could not be started.
    #[error("`{command}` cannot be started")]
    Start {
        /// The command.
        command: String,
        /// Why.
        source: std::io::Error,
    },
    /// A command failed.
    #[error("`{command}` failed: {output}")]
    Failed {
        /// The command.
        command: String,
        /// What it said.
        output: String,
    },
    /// A folder or a port could not be had.
    #[error("no room for a cluster")]
    Room(#[from] std::io::Error),
}

/// A running cluster, with the superuser `postgres` and no password.
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    folder: tempfile::TempDir,
    port: u16,
    settings: Vec<String>,
}

impl Cluster {
    /// Makes and starts a cluster. `settings` are lines of `postgresql.conf`, after those that
    /// every cluster has.
    pub fn start(durability: Durability, settings: &[&str]) -> Result<Self, ClusterError> {
        let binaries = Binaries::find().ok_or(ClusterError::Missing)?;
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir()?;
        Binaries::own(folder.path())?;
        let data = folder.path().join("data");
        let initdb =
            binaries.command("initdb").arg("--pgdata").arg(&data).args(INITDB).output_of()?;
        succeeded("initdb", &initdb)?;
        let quick: &[&str] = match durability {
            Durability::Durable => &[],
            Durability::Quick => &["fsync = off", "full_page_writes = off"],
        };
        let mut settings: Vec<String> =
            COMMON.iter().chain(quick).chain(settings).map(|&line| line.to_owned()).collect();
        settings.push(format!("unix_socket_directories = {}", folder.path().display()));
        let mut cluster = Self { binaries, folder, port: 0, settings };
        cluster.start_on_a_free_port()?;
        Ok(cluster)
    }

    fn start_on_a_free_port(&mut self) -> Result<(), ClusterError> {
        let mut tried = Ok(());
        for _ in 0..PORT_TRIES {
            self.port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            tried = self.start_again();
            if tried.is_ok() {
                return Ok(());
            }
        }
        tried
    }

    /// Starts it again, on the same port, after it was stopped.
    pub fn start_again(&self) -> Result<(), ClusterError> {
        let options: Vec<String> =
            self.settings.iter().map(|line| format!("-c '{line}'")).collect();
        let options = format!("-p {} {}", self.port, options.join(" ").replace(" = ", "="));
        let mut start = self.pg_ctl();
        start.args(["--wait", "--log"]).arg(self.log()).args(["--options", &options, "start"]);
        succeeded("pg_ctl start", &start.output_of()?)
    }

    /// Stops it as a crash would: nothing is flushed, no client is told more than it must be.
    pub fn stop_immediately(&self) -> Result<(), ClusterError> {
        succeeded(
            "pg_ctl stop",
            &self.pg_ctl().args(["--wait", "--mode", "immediate", "stop"]).output_of()?,
        )
    }

    fn pg_ctl(&self) -> Command {
        let mut command = self.binaries.command("pg_ctl");
        command.arg("--pgdata").arg(self.folder.path().join("data")).arg("--silent");
        command
    }

    /// What the server wrote.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server.
    pub fn pid(&self) -> Result<u32, ClusterError> {
        let file = std::fs::read_to_string(self.folder.path().join("data").join("postmaster.pid"))?;
        let pid = file.lines().next().and_then(|line| line.trim().parse().ok());
        pid.ok_or_else(|| std::io::Error::other("postmaster.pid holds no process id").into())
    }

    /// The folder of the server's programs, `pgbench` among them.
    #[must_use]
    pub fn programs(&self) -> &Path {
        self.binaries.folder()
    }

    /// The folder it lives in, to which the server's user can write.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How a client reaches a database of it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// How a client on this machine reaches a database of it with the least effort: by the server's
    /// socket.
    #[must_use]
    pub fn socket_url(&self, database: &str) -> String {
        let (folder, port) = (self.folder.path().display(), self.port);
        format!("postgres://postgres@/{database}?host={folder}&port={port}")
    }

    /// Runs SQL in a database; returns what it printed, unaligned and without headings.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, ClusterError> {
        sql_at(&self.binaries, &self.url(database), sql)
    }
}

/// Runs SQL in the database at `url` with the machine's `psql`, as [`Cluster::sql`] does.
pub fn sql(url: &str, sql: &str) -> Result<String, ClusterError> {
    sql_at(&Binaries::find().ok_or(ClusterError::Missing)?, url, sql)
}

fn sql_at(binaries: &Binaries, url: &str, sql: &str) -> Result<String, ClusterError> {
    let mut psql = Command::new(binaries.folder().join("psql"));
    psql.args([
        "--no-psqlrc",
        "--quiet",
        "--tuples-only",
        "--no-align",
        "--set",
        "ON_ERROR_STOP=1",
        "--dbname",
        url,
    ]);
    let output = psql.args(["--command", sql]).output_of()?;
    succeeded("psql", &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The folder goes with it; a server that had stopped already is no trouble.
        drop(self.stop_immediately());
    }
}

const INITDB: [&str; 6] = [
    "--no-sync",
    "--locale=C",
    "--encoding=UTF8",
    "--auth=trust",
    "--username=postgres",
    "--no-instructions",
];

const COMMON: [&str; 4] = [
    "listen_addresses = 127.0.0.1",
    "max_connections = 200",
    "timezone = UTC",
    "log_min_messages = warning",
];

trait OutputOf {
    fn output_of(&mut self) -> Result<Output, ClusterError>;
}

impl OutputOf for Command {
    fn output_of(&mut self) -> Result<Output, ClusterError> {
        let command = || self.get_program().to_string_lossy().into_owned();
        let name = command();
        // pg_ctl's server inherits what it is given: a pipe would stay open as long as it runs.
        let capture = tempfile::tempfile()?;
        let (out, err) = (capture.try_clone()?, capture.try_clone()?);
        let status = self.stdin(Stdio::null()).stdout(out).stderr(err).status();
        let status = status.map_err(|source| ClusterError::Start { command: name, source })?;
        Ok(Output { status, stdout: read_back(capture)?, stderr: Vec::new() })
    }
}

fn read_back(mut file: std::fs::File) -> std::io::Result<Vec<u8>> {
    use std::io::{Read as _, Seek as _};
    let mut text = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut text)?;
    Ok(text)
}

fn succeeded(command: &str, output: &Output) -> Result<(), ClusterError> {
    if output.status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Err(ClusterError::Failed { command: command.to_owned(), output })
}
