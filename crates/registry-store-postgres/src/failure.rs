//! What a failure of the database means for a caller.
//!
//! The server's language can be any, so no decision depends on the words of an error. diesel names
//! the kinds of failures that depend on the data. It does not tell the SQLSTATE of all others, such
//! as a full disk, a time limit, or a table that does not exist; the catalogue tells whether the
//! tables exist (see [`explain`](crate::pool::Pool::explain)).

use deadpool::managed::{PoolError, TimeoutType};
use diesel::ConnectionError;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use registry_core::store::StoreError;

/// Returns what a failed statement means for a caller. An error without a known cause is most often
/// a lock or a time limit, so a retry may help.
pub(crate) fn failure(error: &DieselError) -> StoreError {
    let text = error.to_string();
    match error {
        DieselError::DatabaseError(kind, _) => match kind {
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::CheckViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::RestrictViolation
            | DatabaseErrorKind::ExclusionViolation => StoreError::Corrupt(text),
            DatabaseErrorKind::SerializationFailure | DatabaseErrorKind::Unknown => {
                StoreError::Contended(text)
            }
            _ => StoreError::Unavailable(text),
        },
        DieselError::BrokenTransactionManager => StoreError::Unavailable(text),
        _ => StoreError::Corrupt(text),
    }
}

/// Returns what it means that there is no connection.
pub(crate) fn no_connection(error: &PoolError<ConnectionError>) -> StoreError {
    match error {
        PoolError::Timeout(TimeoutType::Wait) => {
            StoreError::Contended("all connections are in use (`database.pool_size`)".to_owned())
        }
        PoolError::Timeout(TimeoutType::Create) => StoreError::Unavailable(
            "the server did not accept a connection in time (`database.connect_timeout`)"
                .to_owned(),
        ),
        other => StoreError::Unavailable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_alone_decides() {
        let database =
            |kind| DieselError::DatabaseError(kind, Box::new("Verbindung abgebrochen".to_owned()));
        for (error, expected) in [
            (database(DatabaseErrorKind::Unknown), "busy"),
            (database(DatabaseErrorKind::UnableToSendCommand), "unavailable"),
            (database(DatabaseErrorKind::ReadOnlyTransaction), "unavailable"),
            (database(DatabaseErrorKind::SerializationFailure), "busy"),
            (database(DatabaseErrorKind::UniqueViolation), "damaged"),
            (database(DatabaseErrorKind::ForeignKeyViolation), "damaged"),
            (DieselError::NotFound, "damaged"),
        ] {
            let failure = failure(&error).to_string();
            assert!(failure.contains(expected), "{failure}");
        }
    }
}
