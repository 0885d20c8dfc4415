//! The outbox: leasing, settling, listing.

use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use registry_core::clock::Timestamp;
use registry_core::id::MailId;
use registry_core::mail::{DeliveryOutcome, MailQuery, QueuedMail};
use registry_core::pagination::Cursor;
use registry_core::store::StoreError;

use crate::failure::failure;
use crate::rows::MailRow;
use crate::schema::mails;

/// One statement, which passes over what others are leasing in this moment. The array keeps the
/// inner query from being asked twice.
const LEASE: &str = "UPDATE mails SET due_at = $1 WHERE id = ANY (ARRAY(\
    SELECT id FROM mails WHERE state = 'queued' AND due_at <= $2 ORDER BY queued_at, id LIMIT 1 \
    FOR UPDATE SKIP LOCKED)) RETURNING *";

/// Leases the oldest that nobody else has.
pub(crate) async fn lease(
    connection: &mut AsyncPgConnection,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<QueuedMail>, StoreError> {
    loop {
        let row =
            diesel::sql_query(LEASE).bind::<Timestamptz, _>(until).bind::<Timestamptz, _>(now);
        let row = row
            .get_result::<MailRow>(connection)
            .await
            .optional()
            .map_err(|error| failure(&error))?;
        let Some(row) = row else { return Ok(None) };
        let mail = mails::table.find(row.id);
        match QueuedMail::try_from(row) {
            Ok(readable) => return Ok(Some(readable)),
            // One that cannot be read must not keep all others waiting.
            Err(error) => {
                let set = (
                    mails::state.eq("dead"),
                    mails::settled_at.eq(now),
                    mails::last_error.eq(error.to_string()),
                );
                diesel::update(mail)
                    .set(set)
                    .execute(connection)
                    .await
                    .map_err(|error| failure(&error))?;
            }
        }
    }
}

pub(crate) async fn settle(
    connection: &mut AsyncPgConnection,
    id: MailId,
    until: Timestamp,
    outcome: &DeliveryOutcome,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mail = mails::table.find(id.0).filter(mails::state.eq("queued"));
    let ours = mail.filter(mails::due_at.eq(until));
    let tried = mails::attempts.eq(mails::attempts + 1);
    let settled = match outcome {
        DeliveryOutcome::Sent => {
            let blanked =
                (mails::sealed.eq(None::<Vec<u8>>), mails::sealed_key_id.eq(None::<String>));
            let set = (mails::state.eq("sent"), mails::settled_at.eq(now), tried, blanked);
            let set = (set, mails::last_error.eq(None::<String>));
            // Also one that was discarded while it was on its way.
            let mail = mails::table.find(id.0).filter(mails::state.eq_any(["queued", "discarded"]));
            diesel::update(mail).set(set).execute(connection).await
        }
        DeliveryOutcome::Retry { due_at, error } => {
            let set = (mails::due_at.eq(due_at), mails::last_error.eq(error), tried);
            diesel::update(ours).set(set).execute(connection).await
        }
        DeliveryOutcome::Deferred { error } => {
            let set = (mails::due_at.eq(now), mails::last_error.eq(error));
            diesel::update(ours).set(set).execute(connection).await
        }
        DeliveryOutcome::Dead { error } => {
            let set = (
                mails::state.eq("dead"),
                mails::settled_at.eq(now),
                mails::last_error.eq(error),
                tried,
            );
            diesel::update(ours).set(set).execute(connection).await
        }
    };
    settled.map(drop).map_err(|error| failure(&error))
}

pub(crate) async fn list(
    connection: &mut AsyncPgConnection,
    query: MailQuery,
) -> Result<Vec<QueuedMail>, StoreError> {
    let mut rows = mails::table.select(MailRow::as_select()).into_boxed();
    if let Some(id) = query.id {
        rows = rows.filter(mails::id.eq(id.0));
    }
    if let Some(tenant) = query.tenant {
        rows = rows.filter(mails::tenant_id.eq(tenant.0));
    }
    if let Some(state) = query.state {
        rows = rows.filter(mails::state.eq(state.as_str()));
    }
    if let Some(Cursor { at, id }) = query.after {
        rows = rows
            .filter(mails::queued_at.le(at).and(mails::queued_at.lt(at).or(mails::id.lt(id.0))));
    }
    let newest_first =
        rows.order((mails::queued_at.desc(), mails::id.desc())).limit(query.limit.into());
    let rows = newest_first.load::<MailRow>(connection).await;
    let rows = rows.map_err(|error| failure(&error))?;
    // One that cannot be read must not hide all others; whoever asks for it alone is told.
    let lenient = query.id.is_none();
    let mails = rows.into_iter().map(QueuedMail::try_from);
    mails.filter(|mail| mail.is_ok() || !lenient).collect()
}
