//! The outbox: leasing, settling, listing.

use diesel::prelude::*;
use registry_core::clock::Timestamp;
use registry_core::id::{MailId, TenantId};
use registry_core::mail::{QueuedMail, Settlement};
use registry_core::store::StoreError;

use crate::connection::failure;
use crate::facts::all;
use crate::rows::MailRow;
use crate::schema::mails;

/// Whether a lease would find anything: asked of a reader, so that an idle worker keeps no writer waiting.
pub(crate) fn any_due(connection: &mut SqliteConnection, now: Timestamp) -> Result<bool, StoreError> {
    let due = mails::table.filter(mails::state.eq("queued").and(mails::due_at.le(now.timestamp_micros())));
    diesel::select(diesel::dsl::exists(due)).get_result(connection).map_err(|error| failure(&error))
}

pub(crate) fn lease(
    connection: &mut SqliteConnection,
    now: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Result<Vec<QueuedMail>, StoreError> {
    let due = mails::state.eq("queued").and(mails::due_at.le(now.timestamp_micros()));
    let rows = mails::table.filter(due).order((mails::queued_at, mails::id)).limit(i64::from(limit));
    let rows: Vec<MailRow> = rows.select(MailRow::as_select()).load(connection).map_err(|error| failure(&error))?;
    let mut leased = Vec::new();
    for row in rows {
        let mail = mails::table.find(row.id.clone());
        let marked = match QueuedMail::try_from(row) {
            Ok(readable) => {
                leased.push(readable);
                diesel::update(mail).set(mails::due_at.eq(until.timestamp_micros())).execute(connection)
            }
            // One that cannot be read must not keep all others waiting.
            Err(error) => {
                let set = (mails::state.eq("dead"), mails::settled_at.eq(now.timestamp_micros()));
                diesel::update(mail).set((set, mails::last_error.eq(error.to_string()))).execute(connection)
            }
        };
        marked.map_err(|error| failure(&error))?;
    }
    Ok(leased)
}

pub(crate) fn settle(
    connection: &mut SqliteConnection,
    id: MailId,
    settlement: &Settlement,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mail = mails::table.find(id.to_string()).filter(mails::state.eq("queued"));
    let (now, tried) = (now.timestamp_micros(), mails::attempts.eq(mails::attempts + 1));
    let settled = match settlement {
        Settlement::Sent => {
            let blanked = (mails::sealed.eq(None::<Vec<u8>>), mails::sealed_key_id.eq(None::<String>));
            let set = (mails::state.eq("sent"), mails::settled_at.eq(now), tried, blanked.0, blanked.1);
            diesel::update(mail).set(set).execute(connection)
        }
        Settlement::Retry { due_at, error } => {
            let set = (mails::due_at.eq(due_at.timestamp_micros()), mails::last_error.eq(error), tried);
            diesel::update(mail).set(set).execute(connection)
        }
        Settlement::Dead { error } => {
            let set = (mails::state.eq("dead"), mails::settled_at.eq(now), mails::last_error.eq(error), tried);
            diesel::update(mail).set(set).execute(connection)
        }
    };
    settled.map(drop).map_err(|error| failure(&error))
}

pub(crate) fn list(connection: &mut SqliteConnection, tenant: TenantId) -> Result<Vec<QueuedMail>, StoreError> {
    let rows = mails::table.filter(mails::tenant_id.eq(tenant.to_string()));
    all(rows.order((mails::queued_at, mails::id)).select(MailRow::as_select()).load(connection))
}
