//! PostgreSQL's programs on this machine.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ClusterError;

/// Instruction for a machine without PostgreSQL.
pub const INSTALL: &str =
    "apt-get install postgresql (or put its initdb, pg_ctl and psql on the PATH)";

/// User that the programs run as if the current user is root.
const SERVER_USER: &str = "postgres";

/// Programs of one PostgreSQL installation.
#[derive(Clone, Debug)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Finds the newest installation from Debian's packages, or otherwise one on the PATH. Returns
    /// `None` if PostgreSQL is not installed.
    #[must_use]
    pub fn find() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut versions: Vec<(u32, PathBuf)> = versions
            .filter_map(|entry| {
                Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
            })
            .collect();
        versions.sort();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = versions
            .into_iter()
            .rev()
            .map(|(_, folder)| folder)
            .chain(std::env::split_paths(&path));
        folders.into_iter().find(|folder| is_complete(folder)).map(|folder| Self { folder })
    }

    /// Returns the folder of the programs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns a command for a program of the server, which refuses to run as root.
    pub(crate) fn command(&self, program: &str) -> Command {
        let program = self.folder.join(program);
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", SERVER_USER, "--regid", SERVER_USER, "--clear-groups"])
            .arg(program)
            .current_dir("/");
        command
    }

    /// Makes the user that the server runs as the owner of a folder.
    pub(crate) fn give_to_server(folder: &Path) -> Result<(), ClusterError> {
        if !is_root() {
            return Ok(());
        }
        let output = Command::new("chown").arg(SERVER_USER).arg(folder).output();
        let output =
            output.map_err(|source| ClusterError::Start { command: "chown".to_owned(), source })?;
        crate::succeeded("chown", &output)
    }
}

fn is_complete(folder: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres", "psql"].iter().all(|program| folder.join(program).is_file())
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}
