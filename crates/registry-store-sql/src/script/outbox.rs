//! The outbox: leases and lists.

use registry_core::clock::Timestamp;
use registry_core::mail::{LONGEST_DELAY, MailCounts, MailQuery, MailState, QueuedMail};
use registry_core::store::StoreError;
use uuid::Uuid;

use super::{Read, Script, Session, and_after, and_is};
use crate::field::Converted;
use crate::statement::{Dialect, Record, Statement};
use crate::table::{Part as _, Table};
use crate::types::Id;

/// A mail that may be unreadable, which must not hide or block all others. Its id comes first.
type Readable = (Uuid, Converted<QueuedMail>);

impl Record for Readable {
    type Sql = (Id, <QueuedMail as Table>::Sql);
    type Raw = (Uuid, <QueuedMail as Table>::Raw);

    fn read((id, mail): Self::Raw) -> Converted<Self> {
        Ok((id, <QueuedMail as Table>::read(mail)))
    }
}

fn columns() -> String {
    format!("id, {}", QueuedMail::columns("mails"))
}

/// Returns whether a lease would find a mail.
pub struct IsMailDue(pub Timestamp);

impl Script for IsMailDue {
    type Output = bool;

    async fn run<S: Session>(&self, session: &mut S) -> Read<bool> {
        Ok(!session.load::<i64>(self.statement(session.dialect())).await?.is_empty())
    }
}

impl IsMailDue {
    fn statement(&self, dialect: Dialect) -> Statement {
        let table = indexed(dialect, "mails_due");
        let due = format!("SELECT 1 FROM {table} WHERE state = 'queued' AND due_at");
        Statement::new(format!("SELECT 1 WHERE EXISTS ({due} <= "))
            .bind(self.0)
            .sql(format!(") OR EXISTS ({due} > "))
            .bind(self.0 + LONGEST_DELAY)
            .sql(")")
    }
}

/// Returns the table of mails, by an index. SQLite would take the one by state, and look at all mails
/// that wait.
fn indexed(dialect: Dialect, index: &str) -> String {
    match dialect {
        Dialect::Postgres => "mails".to_owned(),
        Dialect::Sqlite => format!("mails INDEXED BY {index}"),
    }
}

/// Leases the mail that has been due for longest, a customer's before a stranger's. The index by
/// priority and time finds it at once, however many mails wait for a later attempt.
pub struct LeaseMail {
    /// The present time.
    pub now: Timestamp,
    /// End of the lease.
    pub until: Timestamp,
}

impl LeaseMail {
    /// Returns the texts of all statements of a lease, with `?` for each value. Tests explain them:
    /// none may look at mails that are not due.
    #[must_use]
    pub fn texts(&self, dialect: Dialect) -> [String; 3] {
        [
            IsMailDue(self.now).statement(dialect).text(),
            self.statement(dialect, 0, "<=", self.now).text(),
            self.statement(dialect, 1, ">", self.now).text(),
        ]
    }

    /// Returns the statement that leases a mail with this priority whose time compares like this.
    fn statement(
        &self,
        dialect: Dialect,
        priority: i32,
        comparison: &str,
        time: Timestamp,
    ) -> Statement<Readable> {
        // Mails that other transactions are leasing at this moment are passed over.
        let skip = match dialect {
            Dialect::Postgres => " FOR UPDATE SKIP LOCKED",
            Dialect::Sqlite => "",
        };
        let table = indexed(dialect, "mails_due_by_priority");
        Statement::new("UPDATE mails SET due_at = ")
            .bind(self.until)
            .sql(format!(
                " WHERE id = (SELECT id FROM {table} \
                 WHERE state = 'queued' AND priority = {priority} AND due_at {comparison} "
            ))
            .bind(time)
            .sql(format!(" ORDER BY due_at LIMIT 1{skip}) RETURNING "))
            .sql(columns())
    }
}

impl Script for LeaseMail {
    type Output = Option<QueuedMail>;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Option<QueuedMail>> {
        loop {
            let misplaced = self.now + LONGEST_DELAY;
            let mut leased = None;
            for (priority, comparison, time) in
                [(0, "<=", self.now), (1, "<=", self.now), (0, ">", misplaced), (1, ">", misplaced)]
            {
                let due = self.statement(session.dialect(), priority, comparison, time);
                leased = session.load(due).await?.pop();
                if leased.is_some() {
                    break;
                }
            }
            let (id, error) = match leased {
                None => return Ok(None),
                Some((_, Ok(mail))) => return Ok(Some(mail)),
                Some((id, Err(error))) => (id, error),
            };
            let give_up = Statement::new("UPDATE mails SET state = 'dead', settled_at = ")
                .bind(self.now)
                .sql(", last_error = ")
                .bind(error.to_string())
                .sql(" WHERE id = ")
                .bind(id);
            session.execute(give_up).await?;
        }
    }
}

/// Lists the mails that match a query.
pub struct ListMails(pub MailQuery);

impl Script for ListMails {
    type Output = Vec<QueuedMail>;
    const IS_PLANNED_ANEW: bool = true;

    async fn run<S: Session>(&self, session: &mut S) -> Read<Vec<QueuedMail>> {
        let MailQuery { id, tenant, state, limit, after } = self.0;
        let mut rows = Statement::new(format!("SELECT {} FROM mails WHERE 1 = 1", columns()));
        rows = and_is(rows, "id", id);
        rows = and_is(rows, "tenant_id", tenant);
        rows = and_is(rows, "state", state.map(MailState::as_str));
        rows = and_after(rows, ("queued_at", "id"), after.map(|it| (it.at, it.id)));
        let rows = rows.sql(" ORDER BY queued_at DESC, id DESC LIMIT ").bind(i64::from(limit));
        let mails = session.load::<Readable>(rows).await?.into_iter().map(|(_, mail)| mail);
        // A query for an unreadable mail alone reports it.
        let mails = mails.filter(|mail| mail.is_ok() || id.is_some()).collect::<Converted<_>>();
        mails.map_err(|error| StoreError::Corrupt(error.to_string()))
    }
}

/// Counts mails. Those that were queued before this time are delayed.
pub struct CountMails(pub Timestamp);

impl Script for CountMails {
    type Output = MailCounts;

    async fn run<S: Session>(&self, session: &mut S) -> Read<MailCounts> {
        let count = |state: &str| {
            Statement::new(format!("SELECT count(*) FROM mails WHERE state = '{state}'"))
        };
        let delayed = count("queued").sql(" AND queued_at < ").bind(self.0);
        let (queued, delayed, dead) =
            session.load_three((count("queued"), delayed, count("dead"))).await?;
        let sum = |counts: Vec<i64>| counts.into_iter().sum::<i64>().unsigned_abs();
        Ok(MailCounts { queued: sum(queued), delayed: sum(delayed), dead: sum(dead) })
    }
}
