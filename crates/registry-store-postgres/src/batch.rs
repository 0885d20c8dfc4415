//! Batches: the requests of a kind that arrive while a transaction of that kind runs share the next
//! one. There is no timer: on an idle service each batch has one request.
//!
//! A batch passes over rows that other transactions hold, and never has two requests that hang on
//! the same thing. Such requests run alone, and so do all requests of a batch that failed before
//! its COMMIT: one request's trouble is never another's. A batch whose COMMIT was not confirmed is
//! an error for each request that writes, and is not decided again.
//!
//! A request that was accepted is completed even if its caller goes away.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use registry_core::store::{Decide, Outcome, Replay, StoreError};
use registry_store_sql::kind::Kind;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::alone;
use crate::lanes::Lanes;
use crate::pool::Pool;
use crate::session::CommitError;
use crate::target::PostgresOptions;
use crate::transaction::{self, Decided, Locking, Request, statements};

/// The batches of all kinds.
pub(crate) struct Batchers {
    shared: Arc<Shared>,
    /// A [`Queue`] for each kind.
    queues: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

/// What all kinds share.
struct Shared {
    pool: Pool,
    lanes: Arc<Lanes>,
    /// Maximum number of requests in a batch.
    batch_size: usize,
    /// Maximum number of batches of a kind that run at the same time.
    in_flight: usize,
    /// Time that a request waits for its batch.
    patience: Duration,
    /// Number of the next lane of a request that hangs on nothing that others want.
    lane_number: AtomicU64,
}

type Answer<T> = Result<Outcome<T>, StoreError>;

/// A request with its caller.
struct Job<K: Kind> {
    request: Request<K>,
    caller: oneshot::Sender<Answer<K::Output>>,
    queued: Instant,
}

impl<K: Kind> Job<K> {
    fn answer(self, answer: Answer<K::Output>) {
        // A caller that went away gets no answer.
        drop(self.caller.send(answer));
    }
}

struct Queue<K: Kind> {
    shared: Arc<Shared>,
    state: Mutex<State<K>>,
}

struct State<K: Kind> {
    waiting: VecDeque<Job<K>>,
    running: usize,
}

impl Batchers {
    pub(crate) fn new(pool: Pool, options: &PostgresOptions) -> Self {
        // Lanes never take all connections from batches and reads.
        let lanes = Arc::new(Lanes::new((options.pool_size / 2).max(1)));
        let shared = Shared {
            pool,
            lanes,
            batch_size: options.batch_size.max(1),
            in_flight: options.batches_in_flight.max(1),
            patience: options.pool_wait,
            lane_number: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared), queues: Mutex::default() }
    }

    /// Makes a change: in the next batch of its kind, or alone.
    pub(crate) async fn change<K: Kind>(
        &self,
        key: K,
        replay: Option<Replay>,
        decide: Decide<K::Facts, K::Output>,
    ) -> Answer<K::Output> {
        let (caller, answer) = oneshot::channel();
        let request = Request { key, replay, decide };
        self.queue::<K>().add(Job { request, caller, queued: Instant::now() });
        let aborted = |_| StoreError::Unavailable("a transaction was aborted".to_owned());
        answer.await.map_err(aborted)?
    }

    fn queue<K: Kind>(&self) -> Arc<Queue<K>> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let state = State { waiting: VecDeque::new(), running: 0 };
            Arc::new(Queue::<K> { shared: self.shared.clone(), state: Mutex::new(state) })
        };
        let queue = queues.entry(TypeId::of::<K>()).or_insert_with(|| new());
        // The entry of a kind is its queue, so this never makes a second one.
        queue.clone().downcast::<Queue<K>>().unwrap_or_else(|_| new())
    }
}

impl<K: Kind> Queue<K> {
    fn add(self: &Arc<Self>, job: Job<K>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.push_back(job);
        if state.running < self.shared.in_flight {
            state.running += 1;
            drop(state);
            let queue = self.clone();
            tokio::spawn(async move { queue.run().await });
        }
    }

    /// Runs batches until no request waits.
    async fn run(&self) {
        while let Some(jobs) = self.next() {
            // The callers of a batch that panics are told that it was aborted.
            drop(AssertUnwindSafe(self.run_batch(jobs)).catch_unwind().await);
        }
    }

    /// Returns the requests of the next batch.
    fn next(&self) -> Option<Vec<Job<K>>> {
        let (mut batch, mut roots, mut repeated) = (Vec::new(), HashSet::new(), Vec::new());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while batch.len() < self.shared.batch_size
            && let Some(job) = state.waiting.pop_front()
        {
            let known = job.request.known_roots();
            if let Some(root) = known.iter().find(|root| roots.contains(*root)) {
                repeated.push((root.clone(), job));
            } else {
                roots.extend(known);
                batch.push(job);
            }
        }
        if batch.is_empty() {
            state.running -= 1;
        }
        drop(state);
        for (root, job) in repeated {
            self.run_alone(root, job);
        }
        (!batch.is_empty()).then_some(batch)
    }

    fn run_alone(&self, lane: String, job: Job<K>) {
        let shared = self.shared.clone();
        let patience = shared.patience;
        let work = async move {
            if job.queued.elapsed() > patience {
                return job.answer(Err(waited_too_long()));
            }
            let answer = alone::run(&shared.pool, &job.request).await;
            job.answer(answer);
        };
        self.shared.lanes.add(lane, work.boxed());
    }

    /// Runs each request alone: nothing of their batch was committed.
    fn run_each_alone(&self, jobs: impl IntoIterator<Item = Job<K>>) {
        for job in jobs {
            let known = job.request.known_roots().into_iter().next();
            let number = self.shared.lane_number.fetch_add(1, Ordering::Relaxed);
            self.run_alone(known.unwrap_or_else(|| format!("lane {number}")), job);
        }
    }

    async fn run_batch(&self, jobs: Vec<Job<K>>) {
        if !K::SHARES {
            return self.run_each_alone(jobs);
        }
        let is_late = |job: &Job<K>| job.queued.elapsed() > self.shared.patience;
        let (late, jobs): (Vec<_>, Vec<_>) = jobs.into_iter().partition(is_late);
        for job in late {
            job.answer(Err(waited_too_long()));
        }
        let pool = &self.shared.pool;
        let session = match pool.get().await {
            Ok(session) => session,
            Err(error) => {
                for job in jobs {
                    job.answer(Err(error.clone()));
                }
                return;
            }
        };
        let requests: Vec<_> = jobs.iter().map(|job| &job.request).collect();
        let begun = transaction::begin(pool, session, &requests, Locking::Batch).await;
        let Ok((session, decided)) = begun else { return self.run_each_alone(jobs) };
        // Nobody is answered before the transaction ends: until then, its locks would make others
        // pass over the rows.
        let (mut changes, mut committing, mut unchanged) = (Vec::new(), Vec::new(), Vec::new());
        for (job, decided) in jobs.into_iter().zip(decided) {
            match decided {
                Decided::Failed(error) => job.answer(Err(error)),
                Decided::NotLocked(root) => {
                    self.run_alone(root.to_string(), job);
                }
                Decided::Outcome(outcome, made) if made.is_empty() && !K::WRITES_EARLY => {
                    unchanged.push((job, outcome));
                }
                Decided::Outcome(outcome, made) => {
                    changes.push(made);
                    committing.push((job, outcome));
                }
            }
        }
        let committed = pool.commit(session, statements(changes)).await;
        for (job, outcome) in unchanged {
            job.answer(Ok(outcome));
        }
        match committed {
            Ok(()) => {
                for (job, outcome) in committing {
                    job.answer(Ok(outcome));
                }
            }
            Err(CommitError::NotCommitted(_)) => {
                self.run_each_alone(committing.into_iter().map(|(job, _)| job));
            }
            Err(CommitError::Unconfirmed(problem)) => {
                for (job, _) in committing {
                    job.answer(Err(StoreError::Unconfirmed(problem.clone())));
                }
            }
        }
    }
}

fn waited_too_long() -> StoreError {
    let problem = "the request waited too long for a transaction (`database.pool_wait`)";
    StoreError::Contended(problem.to_owned())
}
