//! Limits that the operating system sets.

use registry_wiring::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Minimum number of connections, however few files may be open.
const MINIMUM: usize = 8;

/// Returns how many connections are served at once: `http.connections`, or fewer if the process may
/// open fewer files. Raises that limit as far as it is allowed to.
pub(crate) fn connections(config: &Config) -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    let files = getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(usize::MAX));
    let allowed = allowed(files, config.other_files()) / config.files_per_connection();
    if allowed < config.http.connections {
        tracing::warn!(
            "`http.connections` is {}, but the process may open only {files} files: at most \
             {allowed} connections are served at once. Raise the limit (LimitNOFILE).",
            config.http.connections
        );
    }
    allowed.min(config.http.connections)
}

fn allowed(files: usize, reserved: usize) -> usize {
    files.saturating_sub(reserved).max(MINIMUM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_no_connections() {
        for (files, reserved, expected) in
            [(1024, 40, 984), (64, 40, 24), (64, 60, MINIMUM), (20, 40, MINIMUM)]
        {
            assert_eq!(allowed(files, reserved), expected);
        }
    }
}
