//! The outbox: leasing, settling, listing.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use registry_core::clock::Timestamp;
use registry_core::id::{MailId, TenantId};
use registry_core::mail::{DeliveryOutcome, MailQuery, QueuedMail};
use registry_core::store::StoreError;

use crate::connection::failure;
use crate::facts::one;
use crate::rows::MailRow;
use crate::schema::mails;

/// What can still be sent.
const UNSENT: [&str; 2] = ["queued", "dead"];

/// Whether a lease would find anything: asked of a reader, so that an idle worker keeps no writer
/// waiting.
pub(crate) fn any_due(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let due = mails::table
        .filter(mails::state.eq("queued").and(mails::due_at.le(now.timestamp_micros())));
    diesel::select(diesel::dsl::exists(due)).get_result(connection).map_err(|error| failure(&error))
}

pub(crate) fn lease(
    connection: &mut SqliteConnection,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<QueuedMail>, StoreError> {
    loop {
        let due = mails::state.eq("queued").and(mails::due_at.le(now.timestamp_micros()));
        let row = mails::table
            .filter(due)
            .order((mails::queued_at, mails::id))
            .select(MailRow::as_select());
        let row: Option<MailRow> =
            row.first(connection).optional().map_err(|error| failure(&error))?;
        let Some(row) = row else { return Ok(None) };
        let mail = mails::table.find(row.id.clone());
        match QueuedMail::try_from(row) {
            Ok(readable) => {
                let leased = diesel::update(mail)
                    .set(mails::due_at.eq(until.timestamp_micros()))
                    .execute(connection);
                return leased.map(|_| Some(readable)).map_err(|error| failure(&error));
            }
            // One that cannot be read must not keep all others waiting.
            Err(error) => {
                let set = (mails::state.eq("dead"), mails::settled_at.eq(now.timestamp_micros()));
                let set = (set, mails::last_error.eq(error.to_string()));
                diesel::update(mail)
                    .set(set)
                    .execute(connection)
                    .map_err(|error| failure(&error))?;
            }
        }
    }
}

pub(crate) fn settle(
    connection: &mut SqliteConnection,
    id: MailId,
    until: Timestamp,
    outcome: &DeliveryOutcome,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mail = mails::table.find(id.to_string()).filter(mails::state.eq("queued"));
    let ours = mail.clone().filter(mails::due_at.eq(until.timestamp_micros()));
    let (now, tried) = (now.timestamp_micros(), mails::attempts.eq(mails::attempts + 1));
    let settled = match outcome {
        DeliveryOutcome::Sent => {
            let blanked =
                (mails::sealed.eq(None::<Vec<u8>>), mails::sealed_key_id.eq(None::<String>));
            let set = (mails::state.eq("sent"), mails::settled_at.eq(now), tried, blanked);
            let set = (set, mails::last_error.eq(None::<String>));
            // Also one that was discarded while it was on its way.
            let mail = mails::table
                .find(id.to_string())
                .filter(mails::state.eq_any(["queued", "discarded"]));
            diesel::update(mail).set(set).execute(connection)
        }
        DeliveryOutcome::Retry { due_at, error } => {
            let set =
                (mails::due_at.eq(due_at.timestamp_micros()), mails::last_error.eq(error), tried);
            diesel::update(ours).set(set).execute(connection)
        }
        DeliveryOutcome::Deferred { error } => {
            let set = (mails::due_at.eq(now), mails::last_error.eq(error));
            diesel::update(ours).set(set).execute(connection)
        }
        DeliveryOutcome::Dead { error } => {
            let set = (
                mails::state.eq("dead"),
                mails::settled_at.eq(now),
                mails::last_error.eq(error),
                tried,
            );
            diesel::update(ours).set(set).execute(connection)
        }
    };
    settled.map(drop).map_err(|error| failure(&error))
}

pub(crate) fn list(
    connection: &mut SqliteConnection,
    query: MailQuery,
) -> Result<Vec<QueuedMail>, StoreError> {
    let mut rows = mails::table.select(MailRow::as_select()).into_boxed();
    if let Some(id) = query.id {
        rows = rows.filter(mails::id.eq(id.to_string()));
    }
    if let Some(tenant) = query.tenant {
        rows = rows.filter(mails::tenant_id.eq(tenant.to_string()));
    }
    if let Some(state) = query.state {
        rows = rows.filter(mails::state.eq(state.as_str()));
    }
    if let Some(place) = query.after {
        let (at, id) = (place.at.timestamp_micros(), place.id.to_string());
        rows =
            rows.filter(mails::queued_at.lt(at).or(mails::queued_at.eq(at).and(mails::id.lt(id))));
    }
    let newest_first = rows.order((mails::queued_at.desc(), mails::id.desc()));
    let rows: Vec<MailRow> =
        newest_first.limit(query.limit.into()).load(connection).map_err(|error| failure(&error))?;
    // One that cannot be read must not hide all others; whoever asks for it alone is told.
    let lenient = query.id.is_none();
    let mails = rows.into_iter().map(QueuedMail::try_from);
    mails.filter(|mail| mail.is_ok() || !lenient).collect()
}

pub(crate) fn show(
    connection: &mut SqliteConnection,
    id: MailId,
) -> Result<Option<QueuedMail>, StoreError> {
    one(mails::table.find(id.to_string()).select(MailRow::as_select()).first(connection).optional())
}

pub(crate) fn requeue(
    connection: &mut SqliteConnection,
    id: MailId,
    at: Timestamp,
) -> QueryResult<usize> {
    let mail = mails::table.find(id.to_string()).filter(mails::state.eq_any(UNSENT));
    let set = (
        mails::state.eq("queued"),
        mails::attempts.eq(0),
        mails::due_at.eq(at.timestamp_micros()),
        mails::settled_at.eq(None::<i64>),
        mails::last_error.eq(None::<String>),
    );
    diesel::update(mail).set(set).execute(connection)
}

/// What a discarded mail is left with.
#[derive(AsChangeset)]
#[diesel(table_name = mails, treat_none_as_null = true)]
struct Discarded {
    state: &'static str,
    settled_at: i64,
    sealed: Option<Vec<u8>>,
    sealed_key_id: Option<String>,
}

fn discarded(at: Timestamp) -> Discarded {
    Discarded {
        state: "discarded",
        settled_at: at.timestamp_micros(),
        sealed: None,
        sealed_key_id: None,
    }
}

pub(crate) fn discard(
    connection: &mut SqliteConnection,
    id: MailId,
    at: Timestamp,
) -> QueryResult<usize> {
    let mail = mails::table.find(id.to_string()).filter(mails::state.eq_any(UNSENT));
    diesel::update(mail).set(discarded(at)).execute(connection)
}

pub(crate) fn discard_all(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    at: Timestamp,
) -> QueryResult<usize> {
    let theirs = mails::tenant_id.eq(tenant.to_string()).and(mails::state.eq_any(UNSENT));
    let brings_a_code = sql::<Bool>("message ->> '$.kind' = 'install_code'");
    diesel::update(mails::table.filter(theirs).filter(brings_a_code))
        .set(discarded(at))
        .execute(connection)
}
