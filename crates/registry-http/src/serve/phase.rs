//! What a connection is doing, which decides how long it may take and whether it may be closed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Its client has not sent a whole head yet, though it has begun or has just connected.
    Head,
    /// A request is being served.
    Request,
    /// It waits for the next request.
    Idle,
    /// It is to be closed.
    Closing,
}

/// The phase of a connection.
#[derive(Debug)]
pub(super) struct Phase {
    state: Mutex<(Doing, Instant)>,
    reader: AtomicWaker,
}

impl Phase {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new((Doing::Head, Instant::now())), reader: AtomicWaker::new() }
    }

    /// Returns what the connection is doing, and since when.
    pub(super) fn now(&self) -> (Doing, Instant) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin_request(&self) {
        self.change(|_| Some(Doing::Request));
    }

    pub(super) fn end_request(&self) {
        self.change(|doing| (doing == Doing::Request).then_some(Doing::Idle));
    }

    /// Notes that a part of a head was received.
    pub(super) fn receive(&self) {
        self.change(|doing| (doing == Doing::Idle).then_some(Doing::Head));
    }

    /// Closes the connection, unless a request is being served. Returns whether it is closed.
    pub(super) fn close(&self) -> bool {
        let closes = self.change(|doing| (doing != Doing::Request).then_some(Doing::Closing));
        if closes {
            self.reader.wake();
        }
        closes
    }

    /// Registers the task that reads, which is woken when the connection is closed.
    pub(super) fn register(&self, waker: &std::task::Waker) {
        self.reader.register(waker);
    }

    fn change(&self, next: impl FnOnce(Doing) -> Option<Doing>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let next = next(state.0);
        if let Some(next) = next {
            *state = (next, Instant::now());
        }
        next.is_some()
    }
}

/// Returns the time limit of what a connection is doing; `None` if it has none.
pub(super) fn limit(doing: Doing, head: Duration, idle: Duration) -> Option<Duration> {
    match doing {
        Doing::Head => Some(head),
        Doing::Idle => Some(idle),
        Doing::Request => None,
        Doing::Closing => Some(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_never_closed() {
        let phase = Phase::new();
        assert_eq!(phase.now().0, Doing::Head);
        phase.begin_request();
        assert!(!phase.close());
        phase.end_request();
        assert_eq!(phase.now().0, Doing::Idle);
        phase.receive();
        assert_eq!(phase.now().0, Doing::Head);
        assert!(phase.close());
        phase.receive();
        assert_eq!(phase.now().0, Doing::Closing);
    }

    #[test]
    fn each_phase_has_its_limit() {
        let (head, idle) = (Duration::from_secs(15), Duration::from_secs(75));
        for (doing, expected) in [
            (Doing::Head, Some(head)),
            (Doing::Idle, Some(idle)),
            (Doing::Request, None),
            (Doing::Closing, Some(Duration::ZERO)),
        ] {
            assert_eq!(limit(doing, head, idle), expected, "{doing:?}");
        }
    }
}
