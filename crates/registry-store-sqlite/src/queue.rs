//! The queue of writes: one connection makes them, and those that arrive during a transaction share
//! the next one.
//!
//! Each write of a shared transaction has a savepoint, so one that fails leaves the others alone.
//! If the whole transaction fails, each write runs again in a transaction of its own. A write that
//! is queued is completed even if its caller goes away.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use diesel::connection::{AnsiTransactionManager, TransactionManager as _};
use diesel::{Connection as _, SqliteConnection};
use registry_core::store::StoreError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::connection::{Target, establish, failure};

/// Maximum number of writes that share a transaction.
const SHARED: usize = 64;

/// A write and the place where its result goes.
trait Job: Send {
    /// Runs the write and keeps its result. An error rolls back this write only.
    fn run(&mut self, connection: &mut SqliteConnection) -> Result<(), StoreError>;

    /// Sends the result to the caller, which may have gone away: the kept one, or an error if the
    /// transaction failed.
    fn answer(self: Box<Self>, failed: Option<StoreError>);
}

struct Typed<T, W> {
    work: W,
    result: Option<T>,
    caller: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, W: Send> Job for Typed<T, W>
where
    W: FnMut(&mut SqliteConnection) -> Result<T, StoreError>,
{
    fn run(&mut self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        self.result = Some((self.work)(connection)?);
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<StoreError>) {
        let lost = || StoreError::Unavailable("a transaction was aborted".to_owned());
        let result = match failed {
            Some(error) => Err(error),
            None => self.result.ok_or_else(lost),
        };
        drop(self.caller.send(result));
    }
}

/// The queue.
pub(crate) struct Queue {
    target: Target,
    state: Mutex<State>,
}

struct State {
    waiting: VecDeque<(Instant, Box<dyn Job>)>,
    /// The connection, while no transaction runs. After a failure, `None`: the next transaction
    /// opens a new connection.
    writer: Option<SqliteConnection>,
    is_running: bool,
}

impl Queue {
    pub(crate) fn new(target: Target, writer: SqliteConnection) -> Self {
        let state = State { waiting: VecDeque::new(), writer: Some(writer), is_running: false };
        Self { target, state: Mutex::new(state) }
    }

    /// Runs a write in a transaction that holds the write lock from its beginning. The write may
    /// run again, if nothing of an earlier run was committed.
    pub(crate) async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnMut(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (caller, result) = oneshot::channel();
        let job = Box::new(Typed { work, result: None, caller });
        let starts = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.waiting.push_back((Instant::now(), job));
            !std::mem::replace(&mut state.is_running, true)
        };
        if starts {
            let queue = self.clone();
            tokio::task::spawn_blocking(move || queue.run());
        }
        result.await.map_err(|_| StoreError::Unavailable("a transaction was aborted".to_owned()))?
    }

    /// Runs transactions until no write waits.
    fn run(&self) {
        loop {
            let (jobs, writer) = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.waiting.is_empty() {
                    state.is_running = false;
                    return;
                }
                let count = state.waiting.len().min(SHARED);
                (state.waiting.drain(..count).collect::<Vec<_>>(), state.writer.take())
            };
            let is_in_time = |queued: &Instant| queued.elapsed() < self.target.patience;
            let (jobs, late): (Vec<_>, Vec<_>) =
                jobs.into_iter().partition(|(queued, _)| is_in_time(queued));
            for (_, job) in late {
                let busy = StoreError::Contended("the write connection is in use".to_owned());
                job.answer(Some(busy));
            }
            let writer = self.make(writer, jobs.into_iter().map(|(_, job)| job).collect());
            self.state.lock().unwrap_or_else(PoisonError::into_inner).writer = writer;
        }
    }

    /// Runs jobs in one transaction, or each in its own if that fails.
    fn make(
        &self,
        mut writer: Option<SqliteConnection>,
        mut jobs: Vec<Box<dyn Job>>,
    ) -> Option<SqliteConnection> {
        let (has_begun, error) = match self.transaction(&mut writer, &mut jobs) {
            Ok(()) => return writer,
            Err(failed) => failed,
        };
        // Without a transaction, each job would only wait again for the same thing.
        if jobs.len() == 1 || !has_begun {
            for job in jobs {
                job.answer(Some(error.clone()));
            }
            return writer;
        }
        for job in jobs {
            let mut alone = vec![job];
            if let Err((_, error)) = self.transaction(&mut writer, &mut alone) {
                for job in alone {
                    job.answer(Some(error.clone()));
                }
            }
        }
        writer
    }

    /// Runs jobs in one transaction and answers them. After an error nothing is committed, and no
    /// job is answered. The error says whether the transaction had begun.
    fn transaction(
        &self,
        writer: &mut Option<SqliteConnection>,
        jobs: &mut Vec<Box<dyn Job>>,
    ) -> Result<(), (bool, StoreError)> {
        let mut connection = match writer.take() {
            Some(connection) => connection,
            None => establish(&self.target).map_err(|error| (false, error))?,
        };
        let mut has_begun = false;
        let run = AssertUnwindSafe(|| run_all(&mut connection, jobs, &mut has_begun));
        let ran = catch_unwind(run);
        // A connection after a panic, or one that could not roll back, is closed.
        let Ok(ran) = ran else {
            return Err((true, StoreError::Unavailable("a transaction was aborted".to_owned())));
        };
        let is_broken = AnsiTransactionManager::is_broken_transaction_manager(&mut connection);
        *writer = Some(connection).filter(|_| !is_broken);
        let failed = ran.map_err(|error| (has_begun, error))?;
        for (job, failed) in std::mem::take(jobs).into_iter().zip(failed) {
            job.answer(failed);
        }
        Ok(())
    }
}

/// Runs jobs in one transaction, and returns the error of each one that failed.
fn run_all(
    connection: &mut SqliteConnection,
    jobs: &mut [Box<dyn Job>],
    has_begun: &mut bool,
) -> Result<Vec<Option<StoreError>>, StoreError> {
    let is_shared = jobs.len() > 1;
    let mut failed = Vec::with_capacity(jobs.len());
    let mut stopped = None;
    let ran = connection.immediate_transaction(|connection| {
        *has_begun = true;
        for job in &mut *jobs {
            let mut error = None;
            let mut run = |connection: &mut SqliteConnection| {
                job.run(connection).map_err(|reason| {
                    error = Some(reason);
                    diesel::result::Error::RollbackTransaction
                })
            };
            // A savepoint that cannot be rolled back ends the transaction.
            let done = if is_shared { connection.transaction(&mut run) } else { run(connection) };
            match done {
                Ok(()) => failed.push(None),
                Err(diesel::result::Error::RollbackTransaction) if is_shared => failed.push(error),
                Err(reason) => {
                    stopped = error;
                    return Err(reason);
                }
            }
        }
        Ok(())
    });
    match (ran, stopped) {
        (Ok(()), _) => Ok(failed),
        (Err(_), Some(error)) => Err(error),
        (Err(error), None) => Err(failure(&error)),
    }
}
