//! The one pattern, on PostgreSQL: first without holding anything, then, where somebody was in the
//! way, with locks.
//!
//! *Guarded*: the facts are loaded without a lock, core decides, one statement writes if the facts'
//! versions still hold. Two round trips, no lock between them. *Locked*: a transaction locks the
//! roots (tenant, then entitlement), loads, decides, writes. What is decided under locks cannot be
//! overtaken, so however many race, each needs few tries.

use std::sync::Arc;

use diesel::prelude::*;
use diesel_async::{
    AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, TransactionManager as _,
};
use futures_util::FutureExt as _;
use registry_core::store::{Decide, Decision, Outcome, Replay, StoreError};

use crate::facts::{self, Load};
use crate::failure::ChangeError;
use crate::pool::Pool;
use crate::schema::{entitlements, tenants};
use crate::writes::{self, LockSet, Root};

/// How often a change is decided at most.
const TRIES: u32 = 4;

/// Makes a change, in a task of its own: a caller that goes away leaves nothing half-done.
pub(crate) async fn change<L: Load, T: Send + 'static>(
    pool: &Pool,
    load: L,
    replay: Option<Replay>,
    decide: Decide<L::Facts, T>,
) -> Result<Outcome<T>, StoreError> {
    let pool = pool.clone();
    let task = tokio::spawn(async move { try_often(&pool, Arc::new(load), replay, decide).await });
    task.await
        .map_err(|error| StoreError::Unavailable(format!("a transaction was aborted: {error}")))?
}

async fn try_often<L: Load, T: Send + 'static>(
    pool: &Pool,
    load: Arc<L>,
    replay: Option<Replay>,
    decide: Decide<L::Facts, T>,
) -> Result<Outcome<T>, StoreError> {
    let mut may_be_guarded = replay.is_none() && load.reads_roots_first();
    let mut reason = String::new();
    for _ in 0..TRIES {
        let (load, replay, decide) = (load.clone(), replay.clone(), decide.clone());
        let tried = pool
            .run(move |connection| {
                async move {
                    if may_be_guarded {
                        guarded(connection, &*load, &decide).await
                    } else {
                        locked(connection, &*load, replay.as_ref(), &decide).await
                    }
                }
                .boxed()
            })
            .await;
        may_be_guarded = false;
        match tried {
            Ok(outcome) => return Ok(outcome),
            Err(ChangeError::Store(error)) => return Err(error),
            Err(ChangeError::Conflict(text)) => reason = text,
        }
    }
    // Decided under locks and refused all the same: this is no race but a contradiction.
    Err(if reason.contains(OVERTAKEN) {
        StoreError::Contended(reason)
    } else {
        StoreError::Corrupt(reason)
    })
}

const OVERTAKEN: &str = "other requests changed the same data";

async fn guarded<L: Load, T>(
    connection: &mut AsyncPgConnection,
    load: &L,
    decide: &Decide<L::Facts, T>,
) -> Result<Outcome<T>, ChangeError> {
    let (facts, roots) = load.load(connection).await?;
    match decide(&facts) {
        Decision::Abort(error) => Ok(Outcome::Aborted(error)),
        Decision::Commit { writes, outcome } => {
            let batch = writes::batch(&writes, roots)?;
            if batch.guards() > 1 {
                // If the second guard did not land, the first one would have.
                return Err(ChangeError::Conflict(OVERTAKEN.to_owned()));
            }
            write(connection, batch).await?;
            Ok(outcome.map_or_else(Outcome::Refused, Outcome::Done))
        }
    }
}

async fn locked<L: Load, T>(
    connection: &mut AsyncPgConnection,
    load: &L,
    replay: Option<&Replay>,
    decide: &Decide<L::Facts, T>,
) -> Result<Outcome<T>, ChangeError> {
    AnsiTransactionManager::begin_transaction(connection).await?;
    match locked_in_txn(connection, load, replay, decide).await {
        Ok(outcome) => {
            AnsiTransactionManager::commit_transaction(connection).await?;
            Ok(outcome)
        }
        Err(change_error) => {
            // What went wrong first is what counts; a connection that cannot roll back is not used
            // again.
            drop(AnsiTransactionManager::rollback_transaction(connection).await);
            Err(change_error)
        }
    }
}

async fn locked_in_txn<L: Load, T>(
    connection: &mut AsyncPgConnection,
    load: &L,
    replay: Option<&Replay>,
    decide: &Decide<L::Facts, T>,
) -> Result<Outcome<T>, ChangeError> {
    let (_, found) = load.load(connection).await?;
    lock(connection, found).await?;
    // After the locks: a twin that held them has left its answer by now.
    if let Some(replay) = replay
        && let Some(outcome) = facts::replayed(connection, replay).await?
    {
        return Ok(outcome);
    }
    let (facts, roots) = load.load(connection).await?;
    if !same_rows(found, roots) {
        return Err(ChangeError::Conflict(OVERTAKEN.to_owned()));
    }
    match decide(&facts) {
        Decision::Abort(error) => Ok(Outcome::Aborted(error)),
        Decision::Commit { writes, outcome } => {
            write(connection, writes::batch(&writes, roots)?).await?;
            Ok(outcome.map_or_else(Outcome::Refused, Outcome::Done))
        }
    }
}

/// Locks the roots, the tenant first.
async fn lock(connection: &mut AsyncPgConnection, roots: LockSet) -> Result<(), ChangeError> {
    if let Root::Known(id, _) = roots.tenant {
        let row = tenants::table.find(id.0).select(tenants::version).for_update();
        row.first::<i64>(connection).await.optional()?;
    }
    if let Some((id, _)) = roots.unbound {
        let row = entitlements::table.find(id.0).select(entitlements::version).for_update();
        row.first::<i64>(connection).await.optional()?;
    }
    Ok(())
}

fn same_rows(before: LockSet, after: LockSet) -> bool {
    let tenant = |roots: LockSet| match roots.tenant {
        Root::Known(id, _) => Some(id),
        Root::Unknown | Root::Absent => None,
    };
    let unbound = |roots: LockSet| roots.unbound.map(|(id, _)| id);
    tenant(before) == tenant(after) && unbound(before) == unbound(after)
}

pub(crate) async fn write(
    connection: &mut AsyncPgConnection,
    batch: crate::batch::Batch,
) -> Result<(), ChangeError> {
    if batch.is_empty() {
        return Ok(());
    }
    match batch.finish().get_result::<i64>(connection).await? {
        1 => Ok(()),
        _ => Err(ChangeError::Conflict(OVERTAKEN.to_owned())),
    }
}
