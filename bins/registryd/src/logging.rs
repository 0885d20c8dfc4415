//! The log, on standard error.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use registry_wiring::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts the log as configured.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level).context("`log.level` cannot be read")?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match log.format {
        LogFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
