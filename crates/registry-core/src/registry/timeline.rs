//! The timeline of a tenant: its audit entries and its mails.

use uuid::Uuid;

use crate::audit::{Action, AuditEntry};
use crate::clock::Timestamp;
use crate::id::TenantId;
use crate::mail::{MailQuery, QueuedMail};
use crate::pagination::{Cursor, paginate};
use crate::registry::directory::parse_cursor;
use crate::registry::{Error, Registry};
use crate::store::AuditQuery;

/// An event in a tenant's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An audit entry.
    Audited(AuditEntry),
    /// A mail with its present state, listed at the time when it was queued.
    Mailed(Box<QueuedMail>),
}

impl Event {
    /// Time of the event.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.cursor().at
    }

    /// Returns the event's position in the merged list of audit entries and mails.
    fn cursor(&self) -> Cursor<Uuid> {
        match self {
            Self::Audited(entry) => Cursor { at: entry.at, id: entry.id.0 },
            Self::Mailed(mail) => Cursor { at: mail.queued_at, id: mail.id.0 },
        }
    }
}

impl Registry {
    /// Returns a page of the audit, newest first, and the cursor of the next page: of the whole
    /// audit, or only of one tenant or action.
    pub async fn audit_page(
        &self,
        tenant: Option<TenantId>,
        action: Option<Action>,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Vec<AuditEntry>, Option<String>), Error> {
        let after = cursor.map(parse_cursor).transpose()?;
        let query = AuditQuery { tenant, action, limit: limit + 1, after };
        let mut entries = self.ports.store.audit_list(query).await?;
        let next = paginate(&mut entries, limit, |entry| Cursor { at: entry.at, id: entry.id });
        Ok((entries, next))
    }

    /// Returns a page of a tenant's timeline, newest first, at most `limit` events, and the cursor
    /// of the next page.
    pub async fn tenant_timeline(
        &self,
        tenant: TenantId,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Vec<Event>, Option<String>), Error> {
        let after = cursor.map(parse_cursor::<Uuid>).transpose()?;
        let (tenant, limit_each) = (Some(tenant), limit + 1);
        let after_entry = after.map(Cursor::of);
        let entries = AuditQuery { tenant, action: None, limit: limit_each, after: after_entry };
        let mails = MailQuery {
            tenant,
            limit: limit_each,
            after: after.map(Cursor::of),
            ..MailQuery::default()
        };
        let (entries, mails) =
            (self.ports.store.audit_list(entries).await?, self.ports.store.mail_list(mails).await?);
        let mut events = merge(entries, mails);
        let next = paginate(&mut events, limit, Event::cursor);
        Ok((events, next))
    }
}

/// Merges audit entries and mails, newest first, ties by descending id.
fn merge(entries: Vec<AuditEntry>, mails: Vec<QueuedMail>) -> Vec<Event> {
    let mails = mails.into_iter().map(|mail| Event::Mailed(Box::new(mail)));
    let mut events: Vec<Event> = entries.into_iter().map(Event::Audited).chain(mails).collect();
    events.sort_by_key(|event| std::cmp::Reverse(event.cursor()));
    events
}
