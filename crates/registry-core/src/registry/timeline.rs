//! What happened: the audit, and what became of the mails.

use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::id::TenantId;
use crate::mail::{MailQuery, QueuedMail};
use crate::pagination::{Cursor, paginate};
use crate::registry::directory::after;
use crate::registry::{Error, Registry};
use crate::store::AuditQuery;

/// Something that happened to a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A line of the audit.
    Audited(AuditEntry),
    /// A mail, at the time that it was queued; and what became of it since.
    Mailed(Box<QueuedMail>),
}

impl Event {
    /// When.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.place().at
    }

    /// Its place among the lines of the audit and the mails together.
    fn place(&self) -> Cursor<Uuid> {
        match self {
            Self::Audited(entry) => Cursor { at: entry.at, id: entry.id.0 },
            Self::Mailed(mail) => Cursor { at: mail.queued_at, id: mail.id.0 },
        }
    }
}

impl Registry {
    /// A page of the audit, newest first: about a tenant; without a tenant, all of it. And what to
    /// ask for the next page with.
    pub async fn audit_page(
        &self,
        tenant: Option<TenantId>,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Vec<AuditEntry>, Option<String>), Error> {
        let after = cursor.map(after).transpose()?;
        let mut entries =
            self.ports.store.audit_list(AuditQuery { tenant, limit: limit + 1, after }).await?;
        let next = paginate(&mut entries, limit, |entry| Cursor { at: entry.at, id: entry.id });
        Ok((entries, next))
    }

    /// A page of what happened to a tenant, newest first, at most `limit` events. And what to ask
    /// for the next page with.
    pub async fn tenant_timeline(
        &self,
        tenant: TenantId,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Vec<Event>, Option<String>), Error> {
        let place = cursor.map(after::<Uuid>).transpose()?;
        let (tenant, limit_each) = (Some(tenant), limit + 1);
        let lines = AuditQuery { tenant, limit: limit_each, after: place.map(Cursor::of) };
        let mails = MailQuery {
            tenant,
            limit: limit_each,
            after: place.map(Cursor::of),
            ..MailQuery::default()
        };
        let (lines, mails) =
            (self.ports.store.audit_list(lines).await?, self.ports.store.mail_list(mails).await?);
        let mut events = merged(lines, mails);
        let next = paginate(&mut events, limit, Event::place);
        Ok((events, next))
    }
}

/// Newest first; ties by descending id.
fn merged(lines: Vec<AuditEntry>, mails: Vec<QueuedMail>) -> Vec<Event> {
    let mails = mails.into_iter().map(|mail| Event::Mailed(Box::new(mail)));
    let mut events: Vec<Event> = lines.into_iter().map(Event::Audited).chain(mails).collect();
    events.sort_by_key(|event| std::cmp::Reverse(event.place()));
    events
}
