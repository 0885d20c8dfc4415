//! The workers beside the requests: one delivers the outbox, one deletes what ended long ago.

use std::sync::Arc;
use std::time::Duration;

use registry_core::mail::DeliveryOutcome;
use registry_core::registry::deliver::Delivery;
use registry_core::registry::retention::BATCH;
use registry_core::store::RetentionKind;
use registry_core::{Error, Registry};

/// How long the worker waits when nothing is due: a mail goes out within this time.
const IDLE: Duration = Duration::from_millis(500);

/// How long it waits when the store does not answer.
const TROUBLE: Duration = Duration::from_secs(5);

/// How long it waits before it tries again to record how a mail was tried.
const UNSETTLED: Duration = Duration::from_secs(1);

/// How long it waits at first, and at most, while no mail can be sent at all.
const HELD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long others get the database for themselves between two batches that are deleted.
const BETWEEN_BATCHES: Duration = Duration::from_millis(50);

/// Delivers mail until `stop` is ready, and then finishes the one it has begun.
pub async fn deliver_mail(registry: Arc<Registry>, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    let mut held = 0;
    loop {
        let next = registry.clone();
        // A task of its own: a bug that one mail meets does not end the worker.
        let tried = tokio::spawn(async move { deliver(&next).await }).await;
        let pause = match tried {
            Err(error) => {
                tracing::error!(%error, "delivering mail broke off");
                TROUBLE
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the outbox cannot be read or settled");
                TROUBLE
            }
            Ok(Ok(None)) => IDLE,
            Ok(Ok(Some(delivery))) => {
                log(&delivery);
                held = if matches!(delivery.settlement, DeliveryOutcome::Deferred { .. }) {
                    held + 1
                } else {
                    0
                };
                held_pause(held, registry.draw_id().as_bytes()[15])
            }
        };
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Tries one mail. What was sent is recorded as sent also where the database is away for a moment:
/// else it would be sent again.
async fn deliver(registry: &Registry) -> Result<Option<Delivery>, Error> {
    let Some(delivery) = registry.mail_try().await? else { return Ok(None) };
    while let Err(error) = registry.mail_settle(&delivery).await {
        if registry.now() >= delivery.leased_until {
            return Err(error);
        }
        tracing::warn!(mail = %delivery.id, %error, "a mail that was tried cannot be settled yet");
        tokio::time::sleep(UNSETTLED).await;
    }
    Ok(Some(delivery))
}

/// None after a mail that was tried; else doubled each time, and up to a quarter more by `jitter`,
/// so that processes that were held up together do not come back together.
fn held_pause(held: u32, jitter: u8) -> Duration {
    let (first, most) = HELD;
    if held == 0 {
        return Duration::ZERO;
    }
    let doubled = first.saturating_mul(1 << (held - 1).min(16)).min(most);
    doubled + doubled.mul_f64(f64::from(jitter) / 1020.0)
}

fn log(delivery: &Delivery) {
    let mail = delivery.id.to_string();
    match &delivery.settlement {
        DeliveryOutcome::Sent => tracing::info!(mail, "mail sent"),
        DeliveryOutcome::Retry { due_at, error } => {
            tracing::warn!(mail, error, next = %due_at, "mail not sent")
        }
        DeliveryOutcome::Deferred { error } => {
            tracing::warn!(mail, error, "no mail can be sent: all of it waits")
        }
        DeliveryOutcome::Dead { error } => tracing::error!(mail, error, "mail given up"),
    }
}

/// Deletes what ended long ago, every so often, until `stop` is ready.
pub async fn sweep(registry: Arc<Registry>, every: Duration, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    loop {
        let sweep = async {
            sweep_once(&registry).await;
            tokio::time::sleep(every).await;
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
            Ok(rows) => tracing::info!(%kind, rows, "deleted what ended long ago"),
            Err(error) => {
                tracing::warn!(%kind, %error, "what ended long ago cannot be deleted now")
            }
        }
    }
}

/// Deletes all of a kind that is over, a batch after the other, and returns how many rows that
/// were.
pub async fn sweep_kind(registry: &Registry, kind: RetentionKind) -> Result<u64, Error> {
    let mut rows = 0;
    loop {
        let deleted = registry.sweep_batch(kind).await?;
        rows += deleted;
        if deleted < u64::from(BATCH) {
            return Ok(rows);
        }
        tokio::time::sleep(BETWEEN_BATCHES).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_held_up_waits_longer_each_time_and_not_endlessly() {
        for (held, jitter, millis) in [
            (0, 255, 0),
            (1, 0, 1_000),
            (1, 255, 1_250),
            (2, 0, 2_000),
            (6, 0, 30_000),
            (1_000, 255, 37_500),
        ] {
            assert_eq!(
                held_pause(held, jitter),
                Duration::from_millis(millis),
                "held up {held} times"
            );
        }
    }
}
