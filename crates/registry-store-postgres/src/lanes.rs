//! Lanes: requests that hang on the same thing run one after the other, each in a transaction of
//! its own. A thing that many requests want then takes one connection, and not all of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

type Work = BoxFuture<'static, ()>;

/// All lanes of a store.
pub(crate) struct Lanes {
    waiting: Mutex<HashMap<String, VecDeque<Work>>>,
    /// Limits the number of lanes that run at the same time.
    permits: Semaphore,
}

impl Lanes {
    pub(crate) fn new(running: usize) -> Self {
        Self { waiting: Mutex::default(), permits: Semaphore::new(running) }
    }

    /// Runs `work` after all that was added to this lane before.
    pub(crate) fn add(self: &Arc<Self>, lane: String, work: Work) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = waiting.get_mut(&lane) {
            queue.push_back(work);
            return;
        }
        waiting.insert(lane.clone(), VecDeque::from([work]));
        drop(waiting);
        let lanes = self.clone();
        tokio::spawn(async move { lanes.run(&lane).await });
    }

    async fn run(&self, lane: &str) {
        while let Some(work) = self.next(lane) {
            // A semaphore that is never closed always gives a permit.
            let permit = self.permits.acquire().await;
            // If the work panics, its caller is told that it was aborted.
            drop(futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(work)).await);
            drop(permit);
        }
    }

    /// Returns the next work of a lane, and removes a lane without any.
    fn next(&self, lane: &str) -> Option<Work> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let work = waiting.get_mut(lane).and_then(VecDeque::pop_front);
        if work.is_none() {
            waiting.remove(lane);
        }
        work
    }
}
