//! Changes as values: what a decision's writes do to the rows of the tables.
//!
//! A change is a [`Shape`], which is the same for each request of a kind, and the values that
//! differ. So the changes of many requests can be written by one statement for each shape.

mod shapes;
mod sql;

use std::collections::BTreeMap;

use registry_core::store::{SignInWrite, StoreError, Write};

use self::shapes as s;
use crate::field::Converted;
use crate::statement::Statement;
use crate::table::Table;
use crate::tables::CurrentRelease;
use crate::value::Value;

pub use sql::Shape;

/// A change of one row, or of the rows that a filter selects.
#[derive(Clone, Debug)]
pub struct Change {
    /// The statement that makes the change.
    pub shape: &'static Shape,
    /// The values of the statement.
    pub values: Vec<Value>,
}

impl Shape {
    fn row(&'static self, row: &impl Table) -> Converted<Vec<Change>> {
        Ok(vec![Change { shape: self, values: row.values()? }])
    }

    fn with<const N: usize>(&'static self, values: [Value; N]) -> Vec<Change> {
        vec![Change { shape: self, values: values.into() }]
    }
}

impl Change {
    /// Returns the changes that a write makes, in order.
    pub fn of(write: &Write) -> Result<Vec<Self>, StoreError> {
        Self::convert(write).map_err(|error| StoreError::Corrupt(error.to_string()))
    }

    fn convert(write: &Write) -> Converted<Vec<Self>> {
        Ok(match write {
            Write::InsertTenant(it) => s::INSERT_TENANT.row(&**it)?,
            Write::UpdateTenant(it) => s::UPDATE_TENANT.row(&**it)?,
            Write::InsertEntitlement(it) => s::INSERT_ENTITLEMENT.row(&**it)?,
            Write::UpdateEntitlement(it) => s::UPDATE_ENTITLEMENT.row(&**it)?,
            Write::InsertCode(it) => s::INSERT_CODE.row(&**it)?,
            Write::ConsumeCode { code, consumption: it, tenant } => s::CONSUME_CODE.with([
                it.at.into(),
                it.by.as_str().into(),
                (*tenant).into(),
                (*code).into(),
            ]),
            Write::SupersedeCodes { tenant, at } => {
                s::SUPERSEDE_CODES.with([(*at).into(), (*tenant).into()])
            }
            Write::SupersedeActivationCodes { entitlement, at } => {
                s::SUPERSEDE_ACTIVATION_CODES.with([(*at).into(), (*entitlement).into()])
            }
            Write::PutAppliance(it) => s::PUT_APPLIANCE.row(&**it)?,
            Write::RecordCheckIn { tenant, appliance, at } => {
                s::RECORD_CHECK_IN.with([(*at).into(), (*tenant).into(), appliance.as_str().into()])
            }
            Write::ClearLicenses { tenant } => s::CLEAR_LICENSES.with([(*tenant).into()]),
            Write::DeleteCredentials { tenant, appliance } => {
                s::DELETE_CREDENTIALS.with([(*tenant).into(), appliance.as_str().into()])
            }
            Write::InsertCredential(it) => s::INSERT_CREDENTIAL.row(it)?,
            Write::UseCredential { credential: it, at } => {
                let mut changes = s::USE_CREDENTIAL.with([(*at).into(), it.digest.0.into()]);
                changes.extend(s::RETIRE_CREDENTIALS.with([
                    it.tenant_id.into(),
                    it.appliance_id.as_str().into(),
                    it.issued_at.into(),
                    it.digest.0.into(),
                ]));
                changes
            }
            Write::EnqueueMail(it) => s::INSERT_MAIL.row(&**it)?,
            Write::UpdateMail(it) => s::UPDATE_MAIL.row(&**it)?,
            Write::DiscardMails { tenant, at } => {
                s::DISCARD_MAILS.with([(*at).into(), (*tenant).into()])
            }
            Write::AppendAudit(it) => s::INSERT_AUDIT.row(&**it)?,
            Write::PutReplay(it) => {
                let (key, now) = (it.request.key_digest.into(), it.request.now.into());
                let mut changes =
                    s::DELETE_EXPIRED_REPLAY.with([it.request.scope.as_str().into(), key, now]);
                changes.extend(s::INSERT_REPLAY.row(&**it)?);
                changes
            }
            Write::PutRelease(it) => s::PUT_RELEASE.row(&**it)?,
            Write::SetCurrent { channel, release: Some(release) } => s::PUT_CHANNEL
                .row(&CurrentRelease { name: channel.clone(), release_id: *release })?,
            Write::SetCurrent { channel, release: None } => {
                s::DELETE_CHANNEL.with([channel.as_str().into()])
            }
            Write::SignIn(SignInWrite::Insert(it)) => s::INSERT_SIGN_IN.row(&**it)?,
            Write::SignIn(SignInWrite::Use { session, at }) => {
                s::USE_SIGN_IN.with([(*at).into(), session.0.into()])
            }
            Write::SignIn(SignInWrite::Delete(digest)) => s::DELETE_SIGN_IN.with([digest.0.into()]),
            Write::SignIn(SignInWrite::DeleteAll { principal: it, kind }) => {
                let (role, visitor) = (it.role.as_str().into(), it.name.as_str().into());
                match kind {
                    None => s::DELETE_SIGN_INS.with([role, visitor]),
                    Some(kind) => {
                        s::DELETE_SIGN_INS_OF_KIND.with([role, visitor, kind.as_str().into()])
                    }
                }
            }
        })
    }

    /// Returns the statement for SQLite.
    #[must_use]
    pub fn sqlite(self) -> Statement {
        self.shape.sqlite(&self.values)
    }
}

/// Changes of several requests that one statement can make.
#[derive(Debug)]
pub struct ChangeSet {
    /// The statement.
    pub shape: &'static Shape,
    /// The values of each change.
    pub rows: Vec<Vec<Value>>,
}

/// Groups the changes of requests that do not touch the same rows. The sets are in a fixed order, in
/// which a row exists before others refer to it, and a unique value is free before it is taken.
/// Only a request that changes rows twice in the same way has two sets of it.
#[must_use]
pub fn group(requests: Vec<Vec<Change>>) -> Vec<ChangeSet> {
    let mut sets: BTreeMap<(usize, usize), ChangeSet> = BTreeMap::new();
    for changes in requests {
        let mut repeated: BTreeMap<usize, usize> = BTreeMap::new();
        for Change { shape, values } in changes {
            let rank = shapes::ORDER.iter().position(|it| std::ptr::eq(*it, shape));
            let rank = rank.unwrap_or(shapes::ORDER.len());
            let times = repeated.entry(rank).or_default();
            let set =
                sets.entry((rank, *times)).or_insert_with(|| ChangeSet { shape, rows: Vec::new() });
            set.rows.push(values);
            // Several new rows fit into one statement.
            *times += usize::from(!shape.is_insert());
        }
    }
    sets.into_values().collect()
}

/// Returns the statements for PostgreSQL. Changes of different tables share a statement, since each
/// statement costs the server and this process a round of messages. The text of a statement does
/// not depend on the number of changes, so a connection prepares it once.
#[must_use]
pub fn postgres(sets: Vec<ChangeSet>) -> Vec<Statement> {
    let mut shared: Vec<Vec<ChangeSet>> = Vec::new();
    for set in sets {
        let table = set.shape.table.name;
        match shared.last_mut().filter(|sets| sets.iter().all(|it| it.shape.table.name != table)) {
            Some(sets) => sets.push(set),
            None => shared.push(vec![set]),
        }
    }
    let statement = |sets: Vec<ChangeSet>| {
        let mut statement = Statement::new("WITH ");
        for (position, set) in sets.into_iter().enumerate() {
            let start = if position == 0 { "" } else { ", " };
            statement = statement.sql(format!("{start}w{position} AS ("));
            statement = set.shape.postgres(statement, set.rows).sql(")");
        }
        statement.sql(" SELECT 1")
    };
    shared.into_iter().map(statement).collect()
}
