//! A request that has a transaction of its own: because it could not share one, or because the
//! shared one failed.
//!
//! Such a request waits for the rows that it locks. It is decided again only if nothing was
//! committed.

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use registry_core::store::{Outcome, StoreError};
use registry_store_sql::kind::Kind;

use crate::failure::failure;
use crate::pool::{self, Pool};
use crate::session::CommitError;
use crate::transaction::{self, Decided, Locking, Request, statements};

/// Maximum number of attempts, if other requests interfere.
const ATTEMPTS: u32 = 4;

/// Maximum number of attempts, if an error has no known cause.
const ATTEMPTS_AFTER_UNKNOWN: u32 = 2;

/// The result of one attempt that made no change.
enum Attempt {
    /// A statement failed before COMMIT.
    Failed(DieselError),
    /// The rows that the decision hangs on changed while they were locked.
    Overtaken,
    /// Another attempt is of no use.
    Final(StoreError),
}

impl From<StoreError> for Attempt {
    fn from(error: StoreError) -> Self {
        Self::Final(error)
    }
}

/// Makes a change in a transaction of its own.
pub(crate) async fn run<K: Kind>(
    pool: &Pool,
    request: &Request<K>,
) -> Result<Outcome<K::Output>, StoreError> {
    let mut attempt = 1;
    loop {
        let failed = match attempt_once(pool, request).await {
            Ok(outcome) => return Ok(outcome),
            Err(failed) => failed,
        };
        match failed {
            Attempt::Final(error) => return Err(error),
            Attempt::Overtaken if attempt == ATTEMPTS => {
                let problem = "other requests changed the same data".to_owned();
                return Err(StoreError::Contended(problem));
            }
            Attempt::Failed(error) if attempt >= attempts(&error) => {
                return Err(pool.explain(failure(&error)).await);
            }
            Attempt::Overtaken | Attempt::Failed(_) => attempt += 1,
        }
    }
}

/// Returns how often a change is attempted that failed with this error. A constraint that only this
/// request can violate fails each time.
fn attempts(error: &DieselError) -> u32 {
    match error {
        DieselError::DatabaseError(
            DatabaseErrorKind::UniqueViolation | DatabaseErrorKind::SerializationFailure,
            _,
        ) => ATTEMPTS,
        DieselError::DatabaseError(
            DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::CheckViolation
            | DatabaseErrorKind::NotNullViolation,
            _,
        ) => 1,
        _ => ATTEMPTS_AFTER_UNKNOWN,
    }
}

async fn attempt_once<K: Kind>(
    pool: &Pool,
    request: &Request<K>,
) -> Result<Outcome<K::Output>, Attempt> {
    let session = pool.get().await?;
    let begun = transaction::begin(pool, session, &[request], Locking::Alone).await;
    let (session, decided) = begun.map_err(|error| {
        error.map_or_else(|| Attempt::Final(pool::no_response()), Attempt::Failed)
    })?;
    let (outcome, changes) = match decided.into_iter().next() {
        Some(Decided::Outcome(outcome, changes)) => (outcome, changes),
        Some(Decided::Failed(error)) => {
            pool.roll_back(session).await;
            return Err(Attempt::Final(error));
        }
        Some(Decided::NotLocked(_)) | None => {
            pool.roll_back(session).await;
            return Err(Attempt::Overtaken);
        }
    };
    match pool.commit(session, statements(vec![changes])).await {
        Ok(()) => Ok(outcome),
        Err(CommitError::NotCommitted(error)) => Err(Attempt::Failed(error)),
        Err(CommitError::Unconfirmed(problem)) => {
            Err(Attempt::Final(StoreError::Unconfirmed(problem)))
        }
    }
}
