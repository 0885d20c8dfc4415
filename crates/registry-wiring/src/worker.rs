//! The worker that delivers the outbox.

use std::sync::Arc;
use std::time::Duration;

use registry_core::Registry;
use registry_core::mail::Settlement;

/// How long the worker waits when nothing is due: a mail goes out within this time.
const IDLE: Duration = Duration::from_millis(500);

/// How long it waits when the store does not answer.
const TROUBLE: Duration = Duration::from_secs(5);

/// Delivers mail until `stop` is ready, and then finishes what it has begun.
pub async fn deliver_mail(registry: Arc<Registry>, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    loop {
        let batch = registry.clone();
        // A task of its own: a bug that one mail meets does not end the worker.
        let pause = tokio::spawn(async move { deliver_batch(&batch).await }).await.unwrap_or_else(|error| {
            tracing::error!(%error, "delivering mail broke off");
            TROUBLE
        });
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Delivers what is due, and says how long to wait.
async fn deliver_batch(registry: &Registry) -> Duration {
    let deliveries = match registry.mail_deliver().await {
        Ok(deliveries) => deliveries,
        Err(error) => {
            tracing::error!(%error, "the outbox cannot be read or settled");
            return TROUBLE;
        }
    };
    for delivery in &deliveries {
        let mail = delivery.id.to_string();
        match &delivery.settlement {
            Settlement::Sent => tracing::info!(mail, "mail sent"),
            Settlement::Retry { due_at, error } => tracing::warn!(mail, error, next = %due_at, "mail not sent"),
            Settlement::Dead { error } => tracing::error!(mail, error, "mail given up"),
        }
    }
    if deliveries.is_empty() { IDLE } else { Duration::ZERO }
}
