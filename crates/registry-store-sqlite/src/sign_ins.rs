//! Links that sign in, and sessions.

use diesel::prelude::*;
use registry_core::secret::SignInDigest;
use registry_core::sign_in::SignIn;
use registry_core::store::{SignInWrite, StoreError};

use crate::facts::one;
use crate::rows::SignInRow;
use crate::schema::sign_ins;

pub(crate) fn show(
    connection: &mut SqliteConnection,
    digest: SignInDigest,
) -> Result<Option<SignIn>, StoreError> {
    let row = sign_ins::table.find(digest.0.to_vec()).select(SignInRow::as_select());
    one(row.first(connection).optional())
}

pub(crate) fn apply(connection: &mut SqliteConnection, write: &SignInWrite) -> QueryResult<usize> {
    match write {
        SignInWrite::Insert(sign_in) => diesel::insert_into(sign_ins::table)
            .values(SignInRow::from(&**sign_in))
            .execute(connection),
        SignInWrite::Use { session, at } => {
            let row = sign_ins::table.find(session.0.to_vec());
            diesel::update(row).set(sign_ins::used_at.eq(at.timestamp_micros())).execute(connection)
        }
        SignInWrite::Delete(digest) => {
            diesel::delete(sign_ins::table.find(digest.0.to_vec())).execute(connection)
        }
        SignInWrite::DeleteAll { principal, kind } => {
            let theirs = sign_ins::role
                .eq(principal.role.as_str())
                .and(sign_ins::visitor.eq(&principal.name));
            let rows = diesel::delete(sign_ins::table.filter(theirs));
            match kind {
                Some(kind) => rows.filter(sign_ins::kind.eq(kind.as_str())).execute(connection),
                None => rows.execute(connection),
            }
        }
    }
}
