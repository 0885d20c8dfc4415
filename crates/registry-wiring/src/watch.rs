//! Reloading of the files in the data folder that an operator changes while registryd runs.

use std::sync::Arc;
use std::time::Duration;

/// Interval between two reloads.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// Calls `reload` every two seconds, until `stop` is ready. A failed reload is logged, and `what`
/// stays unchanged.
pub async fn watch(
    what: &'static str,
    reload: impl Fn() -> anyhow::Result<()> + Send + Sync + 'static,
    stop: impl Future<Output = ()>,
) {
    tokio::pin!(stop);
    let reload = Arc::new(reload);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = tokio::time::sleep(RELOAD_INTERVAL) => {}
        }
        let reload = reload.clone();
        match tokio::task::spawn_blocking(move || reload()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(error = format!("{error:#}"), "{what} stay as they were");
            }
            Err(error) => tracing::error!(%error, "reloading {what} did not finish"),
        }
    }
}
