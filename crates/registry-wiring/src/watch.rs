//! Taking over what an operator changes in the data folder while registryd runs.

use std::sync::Arc;
use std::time::Duration;

/// How often is looked.
const RELOAD: Duration = Duration::from_secs(2);

/// Looks every two seconds, until `stop` is ready. What cannot be taken over is logged, and `what`
/// stays as it was.
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
            () = tokio::time::sleep(RELOAD) => {}
        }
        let reload = reload.clone();
        match tokio::task::spawn_blocking(move || reload()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(error = format!("{error:#}"), "{what} stay as they were")
            }
            Err(error) => tracing::error!(%error, "looking at {what} broke off"),
        }
    }
}
