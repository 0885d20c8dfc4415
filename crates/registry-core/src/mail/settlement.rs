//! The state of a mail after a delivery attempt, or after an operator's change.

use crate::clock::Timestamp;
use crate::mail::{DeliveryOutcome, MailState, QueuedMail};

impl QueuedMail {
    /// Returns the mail after an attempt to deliver it under a lease until `leased_until`, or `None`
    /// if the attempt no longer counts: the mail was settled, or leased again. A mail that was
    /// discarded during the attempt becomes sent if it was sent.
    #[must_use]
    pub fn settled(
        &self,
        outcome: DeliveryOutcome,
        leased_until: Timestamp,
        now: Timestamp,
    ) -> Option<Self> {
        let mut mail = self.clone();
        let is_queued = mail.state == MailState::Queued;
        let is_own_lease = is_queued && mail.due_at == leased_until;
        match outcome {
            DeliveryOutcome::Sent if is_queued || mail.state == MailState::Discarded => {
                (mail.state, mail.settled_at) = (MailState::Sent, Some(now));
                (mail.sealed, mail.last_error) = (None, None);
                mail.attempts += 1;
            }
            DeliveryOutcome::Retry { due_at, error } if is_own_lease => {
                (mail.due_at, mail.last_error) = (due_at, Some(error));
                mail.attempts += 1;
            }
            DeliveryOutcome::Deferred { error } if is_own_lease => {
                (mail.due_at, mail.last_error) = (now, Some(error));
            }
            DeliveryOutcome::Dead { error } if is_own_lease => {
                (mail.state, mail.settled_at) = (MailState::Dead, Some(now));
                mail.last_error = Some(error);
                mail.attempts += 1;
            }
            DeliveryOutcome::Sent
            | DeliveryOutcome::Retry { .. }
            | DeliveryOutcome::Deferred { .. }
            | DeliveryOutcome::Dead { .. } => return None,
        }
        Some(mail)
    }

    /// Returns the mail queued again, with all attempts, to be sent at `due_at`.
    #[must_use]
    pub fn requeued(&self, due_at: Timestamp) -> Self {
        let (state, attempts) = (MailState::Queued, 0);
        Self { state, attempts, due_at, settled_at: None, last_error: None, ..self.clone() }
    }

    /// Returns the mail discarded at `now`, without its secret.
    #[must_use]
    pub fn discarded(&self, now: Timestamp) -> Self {
        Self { state: MailState::Discarded, sealed: None, settled_at: Some(now), ..self.clone() }
    }
}
