//! The log, on standard error.

use std::io::IsTerminal as _;

use anyhow::{Context as _, ensure};
use registry_wiring::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts the log as configured.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let known = ["off", "error", "warn", "info", "debug", "trace"];
    let words = log.level.split([',', '=']).map(str::trim);
    ensure!(
        words.map(str::to_lowercase).any(|word| known.contains(&&*word)),
        "`log.level` names none of {known:?}"
    );
    let filter = EnvFilter::try_new(&log.level).context("`log.level` cannot be read")?;
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
