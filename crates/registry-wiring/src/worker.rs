//! The background workers: one delivers the outbox, one deletes rows whose retention is over.

use std::sync::Arc;
use std::time::Duration;

use registry_core::mail::DeliveryOutcome;
use registry_core::registry::deliver::Delivery;
use registry_core::registry::retention::BATCH;
use registry_core::store::RetentionKind;
use registry_core::{Error, Registry};

/// Pause of the mail worker when no mail is due. A new mail goes out within this time.
const IDLE_PAUSE: Duration = Duration::from_millis(500);

/// Pause of the mail worker after an error of the store.
const ERROR_PAUSE: Duration = Duration::from_secs(5);

/// Pause before the outcome of a mail is recorded again after an error of the store.
const SETTLE_PAUSE: Duration = Duration::from_secs(1);

/// First and longest pause of the mail worker while no mail can be sent at all.
const DEFERRED_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Pause between two batches of deletions, in which others can use the database.
const BATCH_PAUSE: Duration = Duration::from_millis(50);

/// Delivers mails until `stop` is ready, and then finishes the mail that it has begun.
pub async fn deliver_mail(registry: Arc<Registry>, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    let mut deferrals = 0;
    loop {
        let next = registry.clone();
        // Each mail is sent in a separate task: a panic does not end the worker.
        let result = tokio::spawn(async move { deliver(&next).await }).await;
        let pause = match result {
            Err(error) => {
                tracing::error!(%error, "delivering a mail did not finish");
                ERROR_PAUSE
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the outbox cannot be read or updated");
                ERROR_PAUSE
            }
            Ok(Ok(None)) => IDLE_PAUSE,
            Ok(Ok(Some(delivery))) => {
                log(&delivery);
                deferrals = if matches!(delivery.outcome, DeliveryOutcome::Deferred { .. }) {
                    deferrals + 1
                } else {
                    0
                };
                deferred_pause(deferrals, registry.new_id().as_bytes()[15])
            }
        };
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Attempts to send the oldest mail that is due, and records the outcome. Recording is retried
/// until the mail's lease ends: a sent mail that is not recorded as sent would be sent again.
async fn deliver(registry: &Registry) -> Result<Option<Delivery>, Error> {
    let Some(delivery) = registry.mail_attempt().await? else { return Ok(None) };
    while let Err(error) = registry.mail_settle(&delivery).await {
        if registry.now() >= delivery.leased_until {
            return Err(error);
        }
        tracing::warn!(mail = %delivery.id, %error, "the outcome of a mail cannot be recorded yet");
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
    Ok(Some(delivery))
}

/// Returns the pause after so many deferrals in a row: zero for none, then doubled each time.
/// `jitter` adds up to a quarter, which spreads the attempts of processes whose mails were deferred
/// together.
fn deferred_pause(deferrals: u32, jitter: u8) -> Duration {
    let (first, longest) = DEFERRED_PAUSES;
    if deferrals == 0 {
        return Duration::ZERO;
    }
    let doubled = first.saturating_mul(1 << (deferrals - 1).min(16)).min(longest);
    doubled + doubled.mul_f64(f64::from(jitter) / 1020.0)
}

fn log(delivery: &Delivery) {
    let mail = delivery.id.to_string();
    match &delivery.outcome {
        DeliveryOutcome::Sent => tracing::info!(mail, "mail sent"),
        DeliveryOutcome::Retry { due_at, error } => {
            tracing::warn!(mail, error, next = %due_at, "mail not sent");
        }
        DeliveryOutcome::Deferred { error } => {
            tracing::warn!(mail, error, "no mail can be sent: all mails are deferred");
        }
        DeliveryOutcome::Dead { error } => tracing::error!(mail, error, "mail given up"),
    }
}

/// Deletes rows whose retention is over, at this interval, until `stop` is ready.
pub async fn sweep(registry: Arc<Registry>, interval: Duration, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    loop {
        let sweep = async {
            sweep_once(&registry).await;
            tokio::time::sleep(interval).await;
        };
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = sweep => {}
        }
    }
}

async fn sweep_once(registry: &Registry) {
    for kind in RetentionKind::ALL {
        match sweep_kind(registry, *kind).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(%kind, rows, "deleted rows whose retention is over"),
            Err(error) => {
                tracing::warn!(%kind, %error, "rows whose retention is over cannot be deleted");
            }
        }
    }
    match registry.delete_delivered_mails().await {
        Ok(0) => {}
        Ok(mails) => tracing::info!(mails, "deleted mails of the mailbox"),
        Err(error) => tracing::warn!(%error, "mails of the mailbox cannot be deleted"),
    }
}

/// Deletes all rows of a kind whose retention is over, in batches, and returns their number.
pub async fn sweep_kind(registry: &Registry, kind: RetentionKind) -> Result<u64, Error> {
    let mut rows = 0;
    loop {
        let deleted = registry.delete_expired_batch(kind).await?;
        rows += deleted;
        if deleted < u64::from(BATCH) {
            return Ok(rows);
        }
        tokio::time::sleep(BATCH_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deferred_pause_doubles_up_to_limit() {
        for (deferrals, jitter, millis) in [
            (0, 255, 0),
            (1, 0, 1_000),
            (1, 255, 1_250),
            (2, 0, 2_000),
            (6, 0, 30_000),
            (1_000, 255, 37_500),
        ] {
            assert_eq!(
                deferred_pause(deferrals, jitter),
                Duration::from_millis(millis),
                "{deferrals} deferrals"
            );
        }
    }
}
