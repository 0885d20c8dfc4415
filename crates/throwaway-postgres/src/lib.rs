//! A temporary PostgreSQL cluster for tests and benchmarks. It runs the machine's own binaries on a
//! random port of the loopback interface and in a temporary folder. Dropping the value removes it.
//!
//! This crate is separate from registry-testkit because `xtask` needs it and has to compile fast.
//! The server refuses to run as root, so root runs all programs as the user `postgres`.

mod binaries;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub use binaries::{Binaries, INSTALL};

/// Environment variable with the URL of the cluster that `cargo xtask test` starts for the tests,
/// without `/` and the name of a database.
pub const TEST_CLUSTER: &str = "TEST_POSTGRES";

/// Returns the URL of the cluster that `cargo xtask test` started for this run, without `/` and the
/// name of a database.
///
/// # Panics
/// If no cluster was started, because a test that needs one must not pass without it.
#[must_use]
#[expect(clippy::panic, reason = "a test fails by panicking")]
pub fn test_cluster() -> String {
    std::env::var(TEST_CLUSTER).unwrap_or_else(|_| {
        panic!("{TEST_CLUSTER} is not set: run this test with `cargo xtask test`")
    })
}

/// Returns a new name for a database or a role. The name is random, because process ids repeat in a
/// cluster that runs for a long time.
#[must_use]
pub fn unique_name(prefix: &str) -> String {
    use std::hash::{BuildHasher as _, RandomState};
    format!("{prefix}_{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// Maximum number of ports to try: another process may take a port that was free a moment ago.
const PORT_ATTEMPTS: u32 = 5;

/// Durability of committed transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Every commit is written to the disk, as in production.
    Durable,
    /// A crash of the machine may lose commits; a crash of the server does not.
    Quick,
}

/// Error of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// PostgreSQL is not installed on this machine.
    #[error("PostgreSQL is not installed: {INSTALL}")]
    Missing,
    /// A command could not be started.
    #[error("`{command}` cannot be started")]
    Start {
        /// The command.
        command: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A command failed.
    #[error("`{command}` failed: {output}")]
    Failed {
        /// The command.
        command: String,
        /// The command's output.
        output: String,
    },
    /// A folder, a file or a port cannot be used.
    #[error("a folder, a file or a port for the cluster cannot be used")]
    Room(#[from] std::io::Error),
}

/// A running cluster. Its superuser is `postgres`, without a password.
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    folder: tempfile::TempDir,
    port: u16,
    settings: Vec<String>,
}

impl Cluster {
    /// Creates and starts a cluster. `settings` are lines of `postgresql.conf`; they override those
    /// that every cluster has.
    pub fn start(durability: Durability, settings: &[&str]) -> Result<Self, ClusterError> {
        let binaries = Binaries::find().ok_or(ClusterError::Missing)?;
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir()?;
        Binaries::give_to_server(folder.path())?;
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
        cluster.start_on_free_port()?;
        Ok(cluster)
    }

    fn start_on_free_port(&mut self) -> Result<(), ClusterError> {
        let mut started = Ok(());
        for _ in 0..PORT_ATTEMPTS {
            self.port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            started = self.restart();
            if started.is_ok() {
                return Ok(());
            }
        }
        started
    }

    /// Starts the cluster again on the same port, after it was stopped.
    pub fn restart(&self) -> Result<(), ClusterError> {
        let options: Vec<String> =
            self.settings.iter().map(|line| format!("-c '{line}'")).collect();
        let options = format!("-p {} {}", self.port, options.join(" ").replace(" = ", "="));
        let mut start = self.pg_ctl();
        start.args(["--wait", "--log"]).arg(self.log()).args(["--options", &options, "start"]);
        succeeded("pg_ctl start", &start.output_of()?)
    }

    /// Stops the cluster as a crash would: nothing is flushed, and connections are closed at once.
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

    /// Returns the path of the server's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Returns the port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the process id of the server.
    pub fn pid(&self) -> Result<u32, ClusterError> {
        let file = std::fs::read_to_string(self.folder.path().join("data").join("postmaster.pid"))?;
        let pid = file.lines().next().and_then(|line| line.trim().parse().ok());
        pid.ok_or_else(|| std::io::Error::other("postmaster.pid contains no process id").into())
    }

    /// Returns the folder of PostgreSQL's programs, `pgbench` included.
    #[must_use]
    pub fn programs(&self) -> &Path {
        self.binaries.folder()
    }

    /// Returns the cluster's folder, to which the server's user can write.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the URL of a database of this cluster.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Returns the URL of a database of this cluster by the server's Unix socket, which is faster
    /// than TCP.
    #[must_use]
    pub fn socket_url(&self, database: &str) -> String {
        let (folder, port) = (self.folder.path().display(), self.port);
        format!("postgres://postgres@/{database}?host={folder}&port={port}")
    }

    /// Runs SQL in a database, and returns the output of `psql`, unaligned and without headings.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, ClusterError> {
        sql_at(&self.binaries, &self.url(database), sql)
    }
}

/// Runs SQL in the database at `url` with the machine's `psql`. The result is that of
/// [`Cluster::sql`].
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
        // Fails if the server was stopped before. The folder is removed with its value.
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
        let command = self.get_program().to_string_lossy().into_owned();
        // The output goes to a file: the server that pg_ctl starts would keep a pipe open for as
        // long as it runs.
        let capture = tempfile::tempfile()?;
        let (out, err) = (capture.try_clone()?, capture.try_clone()?);
        let status = self.stdin(Stdio::null()).stdout(out).stderr(err).status();
        let status = status.map_err(|source| ClusterError::Start { command, source })?;
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
