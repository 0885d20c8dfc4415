//! Links that sign in, and sessions.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use registry_core::secret::SignInDigest;
use registry_core::sign_in::SignIn;
use registry_core::store::{SignInWrite, StoreError};

use crate::batch::{Batch, Conflict};
use crate::failure::failure;
use crate::rows::SignInRow;
use crate::schema::sign_ins;

pub(crate) async fn show(
    connection: &mut AsyncPgConnection,
    digest: SignInDigest,
) -> Result<Option<SignIn>, StoreError> {
    let row = sign_ins::table
        .find(digest.0.to_vec())
        .select(SignInRow::as_select())
        .first(connection)
        .await;
    row.optional().map_err(|error| failure(&error))?.map(SignIn::try_from).transpose()
}

pub(crate) fn add(batch: &mut Batch, write: &SignInWrite) {
    match write {
        SignInWrite::Insert(sign_in) => batch.insert(SignInRow::from(&**sign_in), Conflict::Fail),
        SignInWrite::Use { session, at } => {
            batch.update("sign_ins", vec![("used_at", (*at).into())], |it| {
                it.sql("digest = ").bind(session.0.to_vec());
            });
        }
        SignInWrite::Delete(digest) => batch.delete("sign_ins", |it| {
            it.sql("digest = ").bind(digest.0.to_vec());
        }),
        SignInWrite::DeleteAll { principal, kind } => batch.delete("sign_ins", |it| {
            it.sql("role = ")
                .bind(principal.role.as_str())
                .sql(" AND visitor = ")
                .bind(principal.name.clone());
            if let Some(kind) = kind {
                it.sql(" AND kind = ").bind(kind.as_str());
            }
        }),
    }
}
