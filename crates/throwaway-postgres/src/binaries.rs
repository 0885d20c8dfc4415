//! Where the machine keeps PostgreSQL's programs, and how they are run.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ClusterError;

/// What to do where there is no PostgreSQL.
pub const INSTALL: &str =
    "apt-get install postgresql (or put its initdb, pg_ctl and psql on the PATH)";

/// The user that everything runs as where we are root.
const USER: &str = "postgres";

/// The programs of one installation.
#[derive(Clone, Debug)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// The newest installation of Debian's, else what is on the PATH.
    #[must_use]
    pub fn find() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut versions: Vec<(u32, PathBuf)> = versions
            .filter_map(|it| Some((it.file_name().to_str()?.parse().ok()?, it.path().join("bin"))))
            .collect();
        versions.sort();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = versions
            .into_iter()
            .rev()
            .map(|(_, folder)| folder)
            .chain(std::env::split_paths(&path));
        folders.into_iter().find(|folder| is_whole(folder)).map(|folder| Self { folder })
    }

    /// Their folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A program of the server's, to be run as a user that it agrees to.
    pub(crate) fn command(&self, program: &str) -> Command {
        let program = self.folder.join(program);
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", USER, "--regid", USER, "--clear-groups"])
            .arg(program)
            .current_dir("/");
        command
    }

    /// Gives a folder to the user that the server runs as.
    pub(crate) fn own(folder: &Path) -> Result<(), ClusterError> {
        if !is_root() {
            return Ok(());
        }
        let output = Command::new("chown").arg(USER).arg(folder).output();
        let output =
            output.map_err(|source| ClusterError::Start { command: "chown".to_owned(), source })?;
        crate::succeeded("chown", &output)
    }
}

fn is_whole(folder: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres", "psql"].iter().all(|program| folder.join(program).is_file())
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}
