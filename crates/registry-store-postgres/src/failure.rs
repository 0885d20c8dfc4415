//! What a failure of the database means: decide again, tell the caller to come back, or report
//! damage.
//!
//! diesel names the kinds of failures that depend on the data; all others it calls unknown, and
//! keeps their SQLSTATE to itself. They are the server's own trouble (53300, 53100, 57P01, a time
//! limit), so the caller may come back.

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::pooled_connection::deadpool::PoolError;
use registry_core::store::StoreError;

/// Why a change was not made.
#[derive(Debug)]
pub(crate) enum ChangeError {
    /// Somebody else changed what it was decided on, or took what it wanted to make: decide again.
    Conflict(String),
    /// Deciding again would not help.
    Store(StoreError),
}

impl ChangeError {
    /// For a caller that does not decide again.
    pub(crate) fn into_store(self) -> StoreError {
        match self {
            Self::Conflict(text) => StoreError::Contended(text),
            Self::Store(error) => error,
        }
    }
}

impl From<StoreError> for ChangeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<DieselError> for ChangeError {
    fn from(error: DieselError) -> Self {
        let text = error.to_string();
        match &error {
            DieselError::DatabaseError(
                DatabaseErrorKind::UniqueViolation | DatabaseErrorKind::SerializationFailure,
                _,
            ) => Self::Conflict(text),
            DieselError::DatabaseError(DatabaseErrorKind::Unknown, _)
                if text.contains("deadlock detected") =>
            {
                Self::Conflict(text)
            }
            _ => Self::Store(failure(&error)),
        }
    }
}

/// What a failed query means for a caller.
pub(crate) fn failure(error: &DieselError) -> StoreError {
    let text = error.to_string();
    match error {
        DieselError::DatabaseError(
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::CheckViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::RestrictViolation
            | DatabaseErrorKind::ExclusionViolation,
            _,
        ) => StoreError::Corrupt(text),
        DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => {
            StoreError::Contended(text)
        }
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, _)
            if text.contains("canceling statement") =>
        {
            StoreError::Contended(text)
        }
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, _)
            if text.contains("does not exist") =>
        {
            StoreError::Corrupt(format!("{text}; run `registryctl migrate`"))
        }
        DieselError::DatabaseError(_, _) | DieselError::BrokenTransactionManager => {
            StoreError::Unavailable(text)
        }
        _ => StoreError::Corrupt(text),
    }
}

/// What it means that there is no connection.
pub(crate) fn no_connection(error: &PoolError) -> StoreError {
    use deadpool::managed::{PoolError as Reason, TimeoutType};
    match error {
        Reason::Timeout(TimeoutType::Wait) => {
            StoreError::Contended("all connections are in use (`database.pool_size`)".to_owned())
        }
        Reason::Timeout(TimeoutType::Create) => StoreError::Unavailable(
            "the server did not accept a connection in time (`database.connect_timeout`)"
                .to_owned(),
        ),
        other => StoreError::Unavailable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(kind: DatabaseErrorKind, text: &str) -> DieselError {
        DieselError::DatabaseError(kind, Box::new(text.to_owned()))
    }

    #[test]
    fn what_others_did_is_decided_again_and_the_servers_own_trouble_is_not() {
        for (error, again) in [
            (database(DatabaseErrorKind::UniqueViolation, "duplicate key"), true),
            (database(DatabaseErrorKind::SerializationFailure, "could not serialize"), true),
            (database(DatabaseErrorKind::Unknown, "deadlock detected"), true),
            (database(DatabaseErrorKind::Unknown, "sorry, too many clients already"), false),
            (database(DatabaseErrorKind::UnableToSendCommand, "connection closed"), false),
            (database(DatabaseErrorKind::CheckViolation, "violates check constraint"), false),
        ] {
            let text = error.to_string();
            assert_eq!(
                matches!(ChangeError::from(error), ChangeError::Conflict(_)),
                again,
                "{text}"
            );
        }
    }

    #[test]
    fn only_what_contradicts_the_data_is_damage() {
        for (error, word) in [
            (
                database(DatabaseErrorKind::Unknown, "sorry, too many clients already"),
                "unavailable",
            ),
            (
                database(
                    DatabaseErrorKind::Unknown,
                    "terminating connection due to administrator command",
                ),
                "unavailable",
            ),
            (
                database(DatabaseErrorKind::ReadOnlyTransaction, "cannot execute INSERT"),
                "unavailable",
            ),
            (
                database(DatabaseErrorKind::Unknown, "canceling statement due to lock timeout"),
                "busy",
            ),
            (
                database(DatabaseErrorKind::Unknown, "relation \"tenants\" does not exist"),
                "damaged",
            ),
            (database(DatabaseErrorKind::ForeignKeyViolation, "violates foreign key"), "damaged"),
            (DieselError::NotFound, "damaged"),
        ] {
            let failure = failure(&error).to_string();
            assert!(failure.contains(word), "{failure}");
        }
    }
}
