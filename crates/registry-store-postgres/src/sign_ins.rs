//! Links that sign in, and sessions.

use diesel::prelude::*;
use diesel::sql_types::{Binary, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use registry_core::clock::Timestamp;
use registry_core::mail::QueuedMail;
use registry_core::secret::SignInDigest;
use registry_core::sign_in::{NewSession, SignIn, Visitor};
use registry_core::store::StoreError;

use crate::batch::{Batch, Conflict};
use crate::change::write;
use crate::failure::{Trouble, failure};
use crate::rows::{MailRow, SignInRow};
use crate::schema::sign_ins;

pub(crate) async fn put(
    connection: &mut AsyncPgConnection,
    sign_in: &SignIn,
    mail: Option<&QueuedMail>,
) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    batch.insert(SignInRow::from(sign_in), Conflict::Fail);
    if let Some(mail) = mail {
        batch.insert(MailRow::try_from(mail)?, Conflict::Fail);
    }
    write(connection, batch).await.map_err(Trouble::into_store)
}

/// One statement: of two that race, the second finds no link any more.
const OPEN: &str = "WITH opened AS (\
    DELETE FROM sign_ins WHERE digest = $1 AND kind = 'link' AND expires_at > $2 RETURNING role, visitor) \
    INSERT INTO sign_ins (digest, kind, role, visitor, issued_at, used_at, expires_at) \
    SELECT $3, 'session', role, visitor, $2, $2, $4 FROM opened RETURNING *";

pub(crate) async fn open(
    connection: &mut AsyncPgConnection,
    link: SignInDigest,
    session: NewSession,
    now: Timestamp,
) -> Result<Option<SignIn>, StoreError> {
    let row = diesel::sql_query(OPEN)
        .bind::<Binary, _>(link.0.to_vec())
        .bind::<Timestamptz, _>(now)
        .bind::<Binary, _>(session.digest.0.to_vec())
        .bind::<Timestamptz, _>(session.expires_at)
        .get_result::<SignInRow>(connection)
        .await
        .optional();
    row.map_err(|error| failure(&error))?.map(SignIn::try_from).transpose()
}

pub(crate) async fn find(
    connection: &mut AsyncPgConnection,
    session: SignInDigest,
    now: Timestamp,
    idle_since: Timestamp,
) -> Result<Option<SignIn>, StoreError> {
    let row = sign_ins::table.find(session.0.to_vec()).filter(sign_ins::kind.eq("session"));
    let alive = row.filter(sign_ins::expires_at.gt(now).and(sign_ins::used_at.ge(idle_since)));
    let row = alive.select(SignInRow::as_select()).first(connection).await.optional();
    row.map_err(|error| failure(&error))?.map(SignIn::try_from).transpose()
}

pub(crate) async fn touch(
    connection: &mut AsyncPgConnection,
    session: SignInDigest,
    now: Timestamp,
) -> Result<(), StoreError> {
    let row = sign_ins::table.find(session.0.to_vec());
    let touched = diesel::update(row).set(sign_ins::used_at.eq(now)).execute(connection).await;
    touched.map(drop).map_err(|error| failure(&error))
}

pub(crate) async fn end(connection: &mut AsyncPgConnection, session: SignInDigest) -> Result<(), StoreError> {
    let ended = diesel::delete(sign_ins::table.find(session.0.to_vec())).execute(connection).await;
    ended.map(drop).map_err(|error| failure(&error))
}

pub(crate) async fn end_all(connection: &mut AsyncPgConnection, visitor: &Visitor) -> Result<(), StoreError> {
    let theirs = sign_ins::role.eq(visitor.role.as_str()).and(sign_ins::visitor.eq(&visitor.name));
    let ended = diesel::delete(sign_ins::table.filter(theirs)).execute(connection).await;
    ended.map(drop).map_err(|error| failure(&error))
}
