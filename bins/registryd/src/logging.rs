//! The log, on standard error.

use std::io::IsTerminal as _;

use anyhow::{Context as _, ensure};
use registry_wiring::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Returns the filter for the configured level.
pub(crate) fn filter(log: &Log) -> anyhow::Result<EnvFilter> {
    let known = ["off", "error", "warn", "info", "debug", "trace"];
    let words = log.level.split([',', '=']).map(str::trim);
    ensure!(
        words.map(str::to_lowercase).any(|word| known.contains(&&*word)),
        "`log.level` must contain one of {known:?}"
    );
    EnvFilter::try_new(&log.level).context("`log.level` is not a level or a list of directives")
}

/// Starts the log.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let filter = filter(log)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    match log.format {
        LogFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(())
}
