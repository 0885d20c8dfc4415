//! Changes as values: what a decision's writes do to the rows of the tables.
//!
//! A change is a [`Shape`], which is the same for each request of a kind, and the values that
//! differ. So the changes of many requests can be written by one statement for each shape.

use std::collections::BTreeMap;

use registry_core::store::{SignInWrite, Write};

use crate::statement::Statement;
use crate::table::{Read, Row as _, TableInfo};
use crate::tables::{
    ApplianceRow, AuditRow, ChannelRow, CodeRow, CredentialRow, EntitlementRow, MailRow,
    ReleaseRow, ReplayRow, SignInRow, TenantRow,
};
use crate::value::Value;

mod shapes;
mod sql;

/// A change of one row, or of the rows that a filter selects.
#[derive(Clone, Debug)]
pub struct Change {
    /// The statement that makes the change.
    pub shape: &'static Shape,
    /// The values of the statement.
    pub values: Vec<Value>,
}

/// A statement without its values.
#[derive(Debug)]
pub struct Shape {
    table: &'static TableInfo,
    kind: ShapeKind,
}

#[derive(Debug)]
enum ShapeKind {
    /// Inserts a row, and fails if its key exists.
    Insert,
    /// Inserts a row, or replaces the columns that are not listed.
    Upsert { kept: &'static [&'static str] },
    /// Replaces all columns of the row with the same key.
    Replace,
    /// Sets columns of the selected rows.
    Update { set: &'static [Set], filter: &'static [Filter] },
    /// Deletes the selected rows.
    Delete { filter: &'static [Filter] },
}

/// A column that an update sets: to a value, or to an expression in which `{}` is the value.
type Set = (&'static str, &'static str);

/// A condition on a row.
#[derive(Debug)]
enum Filter {
    /// The column compares to a value with this operator.
    Column(&'static str, &'static str),
    /// A condition without a value.
    Sql(&'static str),
}

impl Change {
    fn new(shape: &'static Shape, values: Vec<Value>) -> Self {
        Self { shape, values }
    }

    /// Returns the changes that a write makes, in order.
    pub fn of(write: &Write) -> Read<Vec<Self>> {
        use shapes as s;
        let change = match write {
            Write::InsertTenant(it) => {
                Self::new(&s::INSERT_TENANT, TenantRow::from(&**it).values())
            }
            Write::UpdateTenant(it) => {
                Self::new(&s::UPDATE_TENANT, TenantRow::from(&**it).values())
            }
            Write::InsertEntitlement(it) => {
                Self::new(&s::INSERT_ENTITLEMENT, EntitlementRow::try_from(&**it)?.values())
            }
            Write::UpdateEntitlement(it) => {
                Self::new(&s::UPDATE_ENTITLEMENT, EntitlementRow::try_from(&**it)?.values())
            }
            Write::InsertCode(it) => Self::new(&s::INSERT_CODE, CodeRow::from(&**it).values()),
            Write::ConsumeCode { code, consumption, tenant } => {
                let by = consumption.by.as_str();
                let values =
                    vec![consumption.at.into(), by.into(), (*tenant).into(), (*code).into()];
                Self::new(&s::CONSUME_CODE, values)
            }
            Write::SupersedeCodes { tenant, at } => {
                Self::new(&s::SUPERSEDE_CODES, vec![(*at).into(), (*tenant).into()])
            }
            Write::SupersedeActivationCodes { entitlement, at } => {
                Self::new(&s::SUPERSEDE_ACTIVATION_CODES, vec![(*at).into(), (*entitlement).into()])
            }
            Write::PutAppliance(it) => {
                Self::new(&s::PUT_APPLIANCE, ApplianceRow::try_from(&**it)?.values())
            }
            Write::RecordCheckIn { tenant, appliance, at } => {
                let values = vec![(*at).into(), (*tenant).into(), appliance.as_str().into()];
                Self::new(&s::RECORD_CHECK_IN, values)
            }
            Write::ClearLicenses { tenant } => {
                let mut values = vec![None::<String>.into(); 3];
                values.extend([None::<i32>.into(), Value::Time(None), (*tenant).into()]);
                Self::new(&s::CLEAR_LICENSES, values)
            }
            Write::DeleteCredentials { tenant, appliance } => {
                let values = vec![(*tenant).into(), appliance.as_str().into()];
                Self::new(&s::DELETE_CREDENTIALS, values)
            }
            Write::InsertCredential(it) => {
                Self::new(&s::INSERT_CREDENTIAL, CredentialRow::from(it).values())
            }
            Write::UseCredential { credential, at } => {
                let used = vec![(*at).into(), credential.digest.0.into()];
                let others = vec![
                    credential.tenant_id.into(),
                    credential.appliance_id.as_str().into(),
                    credential.issued_at.into(),
                    credential.digest.0.into(),
                ];
                return Ok(vec![
                    Self::new(&s::USE_CREDENTIAL, used),
                    Self::new(&s::RETIRE_CREDENTIALS, others),
                ]);
            }
            Write::EnqueueMail(it) => {
                Self::new(&s::INSERT_MAIL, MailRow::try_from(&**it)?.values())
            }
            Write::UpdateMail(it) => Self::new(&s::UPDATE_MAIL, MailRow::try_from(&**it)?.values()),
            Write::DiscardMails { tenant, at } => {
                let discarded = ["discarded".into(), (*at).into(), Value::Bytes(None)];
                let mut values = Vec::from(discarded);
                values.extend([Value::Text(None), (*tenant).into()]);
                Self::new(&s::DISCARD_MAILS, values)
            }
            Write::AppendAudit(it) => {
                Self::new(&s::INSERT_AUDIT, AuditRow::try_from(&**it)?.values())
            }
            Write::PutReplay(it) => {
                let key = [Value::from(it.request.scope.as_str()), it.request.key_digest.into()];
                let expired = key.into_iter().chain([it.request.now.into()]).collect();
                return Ok(vec![
                    Self::new(&s::DELETE_EXPIRED_REPLAY, expired),
                    Self::new(&s::INSERT_REPLAY, ReplayRow::from(&**it).values()),
                ]);
            }
            Write::PutRelease(it) => {
                Self::new(&s::PUT_RELEASE, ReleaseRow::try_from(&**it)?.values())
            }
            Write::SetCurrent { channel, release: Some(release) } => {
                let row = ChannelRow { name: channel.to_string(), release_id: (*release).into() };
                Self::new(&s::PUT_CHANNEL, row.values())
            }
            Write::SetCurrent { channel, release: None } => {
                Self::new(&s::DELETE_CHANNEL, vec![channel.as_str().into()])
            }
            Write::SignIn(write) => Self::of_sign_in(write),
        };
        Ok(vec![change])
    }

    fn of_sign_in(write: &SignInWrite) -> Self {
        match write {
            SignInWrite::Insert(it) => {
                Self::new(&shapes::INSERT_SIGN_IN, SignInRow::from(&**it).values())
            }
            SignInWrite::Use { session, at } => {
                Self::new(&shapes::USE_SIGN_IN, vec![(*at).into(), session.0.into()])
            }
            SignInWrite::Delete(digest) => {
                Self::new(&shapes::DELETE_SIGN_IN, vec![digest.0.into()])
            }
            SignInWrite::DeleteAll { principal, kind } => {
                let owner = [principal.role.as_str().into(), principal.name.as_str().into()];
                let kind = kind.map(|kind| Value::from(kind.as_str()));
                let shape = if kind.is_some() {
                    &shapes::DELETE_SIGN_INS_OF_KIND
                } else {
                    &shapes::DELETE_SIGN_INS
                };
                Self::new(shape, owner.into_iter().chain(kind).collect())
            }
        }
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
            debug_assert!(rank.is_some(), "a shape is missing in the order: {shape:?}");
            let rank = rank.unwrap_or(shapes::ORDER.len());
            let times = repeated.entry(rank).or_default();
            let set =
                sets.entry((rank, *times)).or_insert_with(|| ChangeSet { shape, rows: Vec::new() });
            set.rows.push(values);
            // Several new rows fit into one statement.
            *times += usize::from(!matches!(shape.kind, ShapeKind::Insert));
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
        match shared.last_mut().filter(|sets| sets.iter().all(|it| !it.has_same_table(&set))) {
            Some(sets) => sets.push(set),
            None => shared.push(vec![set]),
        }
    }
    let statement = |sets: Vec<ChangeSet>| {
        let mut statement = Statement::new("WITH ");
        for (position, set) in sets.into_iter().enumerate() {
            let start = if position == 0 { "" } else { ", " };
            statement = set.append_to(statement.sql(format!("{start}w{position} AS ("))).sql(")");
        }
        statement.sql(" SELECT 1")
    };
    shared.into_iter().map(statement).collect()
}

impl ChangeSet {
    fn has_same_table(&self, other: &Self) -> bool {
        self.shape.table.name == other.shape.table.name
    }

    /// Appends the statement of this set. Rows are written in the order of their keys, so that two
    /// transactions with the same keys do not wait for each other.
    fn append_to(mut self, mut statement: Statement) -> Statement {
        let shape = self.shape;
        let positions = shape.key_positions();
        let key = |row: &[Value]| -> Vec<Option<Value>> {
            positions.iter().map(|position| row.get(*position).cloned()).collect()
        };
        self.rows.sort_by_cached_key(|row| key(row));
        let types = shape.value_types();
        let mut columns: Vec<_> = types.iter().map(|it| it.column()).collect();
        for row in self.rows {
            for (column, value) in columns.iter_mut().zip(row) {
                column.push(value);
            }
        }
        let (start, end) = shape.postgres();
        statement = statement.sql(start).sql("unnest(");
        for (position, column) in columns.into_iter().enumerate() {
            statement = statement.sql(if position == 0 { "" } else { ", " }).bind_column(column);
        }
        statement.sql(end)
    }
}

impl Change {
    /// Returns the statement for SQLite.
    #[must_use]
    pub fn sqlite(self) -> Statement {
        self.shape.sqlite(&self.values)
    }
}

#[cfg(test)]
mod tests;
