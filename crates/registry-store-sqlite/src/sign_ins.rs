//! Links that sign in, and sessions.

use diesel::prelude::*;
use registry_core::clock::Timestamp;
use registry_core::mail::QueuedMail;
use registry_core::secret::SignInDigest;
use registry_core::sign_in::{NewSession, SignIn, SignInKind, Visitor};
use registry_core::store::StoreError;

use crate::connection::failure;
use crate::rows::{MailRow, SignInRow};
use crate::schema::{mails, sign_ins};

pub(crate) fn put(
    connection: &mut SqliteConnection,
    sign_in: &SignIn,
    mail: Option<&QueuedMail>,
) -> Result<(), StoreError> {
    let kept = diesel::insert_into(sign_ins::table).values(SignInRow::from(sign_in)).execute(connection);
    kept.map_err(|error| failure(&error))?;
    if let Some(mail) = mail {
        let queued = diesel::insert_into(mails::table).values(MailRow::try_from(mail)?).execute(connection);
        queued.map_err(|error| failure(&error))?;
    }
    Ok(())
}

pub(crate) fn open(
    connection: &mut SqliteConnection,
    link: SignInDigest,
    session: NewSession,
    now: Timestamp,
) -> Result<Option<SignIn>, StoreError> {
    let row = sign_ins::table.find(link.0.to_vec()).filter(sign_ins::kind.eq("link"));
    let alive = row.filter(sign_ins::expires_at.gt(now.timestamp_micros()));
    let row: Option<SignInRow> =
        alive.select(SignInRow::as_select()).first(connection).optional().map_err(|error| failure(&error))?;
    let Some(opened) = row.map(SignIn::try_from).transpose()? else { return Ok(None) };
    end(connection, link)?;
    let session = SignIn::new(session.digest, SignInKind::Session, opened.visitor, now, session.expires_at);
    put(connection, &session, None)?;
    Ok(Some(session))
}

pub(crate) fn find(
    connection: &mut SqliteConnection,
    session: SignInDigest,
    now: Timestamp,
    idle_since: Timestamp,
) -> Result<Option<SignIn>, StoreError> {
    let row = sign_ins::table.find(session.0.to_vec()).filter(sign_ins::kind.eq("session"));
    let (now, idle_since) = (now.timestamp_micros(), idle_since.timestamp_micros());
    let alive = row.filter(sign_ins::expires_at.gt(now).and(sign_ins::used_at.ge(idle_since)));
    let row: Option<SignInRow> =
        alive.select(SignInRow::as_select()).first(connection).optional().map_err(|error| failure(&error))?;
    row.map(SignIn::try_from).transpose()
}

pub(crate) fn touch(
    connection: &mut SqliteConnection,
    session: SignInDigest,
    now: Timestamp,
) -> Result<(), StoreError> {
    let row = sign_ins::table.find(session.0.to_vec());
    let touched = diesel::update(row).set(sign_ins::used_at.eq(now.timestamp_micros())).execute(connection);
    touched.map(drop).map_err(|error| failure(&error))
}

pub(crate) fn end(connection: &mut SqliteConnection, session: SignInDigest) -> Result<(), StoreError> {
    let ended = diesel::delete(sign_ins::table.find(session.0.to_vec())).execute(connection);
    ended.map(drop).map_err(|error| failure(&error))
}

pub(crate) fn end_all(connection: &mut SqliteConnection, visitor: &Visitor) -> Result<(), StoreError> {
    let theirs = sign_ins::role.eq(visitor.role.as_str()).and(sign_ins::visitor.eq(&visitor.name));
    let ended = diesel::delete(sign_ins::table.filter(theirs)).execute(connection);
    ended.map(drop).map_err(|error| failure(&error))
}
