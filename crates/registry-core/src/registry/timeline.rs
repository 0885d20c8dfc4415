//! What happened: the audit, and what became of the mails.

use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::id::TenantId;
use crate::mail::{MailQuery, QueuedMail};
use crate::place::{Place, cut};
use crate::registry::directory::after;
use crate::registry::{Error, Registry};
use crate::store::AuditQuery;

/// The most mails of a tenant that its timeline tells of: the newest.
const MAILS: u32 = 200;

/// Something that happened to a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A line of the audit.
    Audited(AuditEntry),
    /// A mail, at the time that it was settled, or queued.
    Mailed(Box<QueuedMail>),
}

impl Event {
    /// When.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Audited(entry) => entry.at,
            Self::Mailed(mail) => mail.settled_at.unwrap_or(mail.queued_at),
        }
    }
}

impl Registry {
    /// A page of the audit, newest first: about a tenant; without a tenant, all of it. And what to ask for the next page
    /// with.
    pub async fn audit_page(
        &self,
        tenant: Option<TenantId>,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Vec<AuditEntry>, Option<String>), Error> {
        let after = cursor.map(after).transpose()?;
        let mut entries = self.ports.store.audit_list(AuditQuery { tenant, limit: limit + 1, after }).await?;
        let next = cut(&mut entries, limit, |entry| Place { at: entry.at, id: entry.id });
        Ok((entries, next))
    }

    /// A page of what happened to a tenant, newest first: at most `limit` lines of the audit, and the mails of the time that
    /// they span. And what to ask for the next page with.
    pub async fn tenant_timeline(
        &self,
        tenant: TenantId,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Vec<Event>, Option<String>), Error> {
        let (entries, next) = self.audit_page(Some(tenant), limit, cursor).await?;
        let query = MailQuery { tenant: Some(tenant), limit: MAILS, ..MailQuery::default() };
        let mails = self.ports.store.mail_list(query).await?;
        let before = cursor.map(after::<TenantId>).transpose()?.map(|place| place.at);
        let since = entries.last().filter(|_| next.is_some()).map(|entry| entry.at);
        Ok((merged(entries, mails, before, since), next))
    }
}

/// Newest first. Of the mails, those from `since` on and `before` then: each stands on one page.
fn merged(
    entries: Vec<AuditEntry>,
    mails: Vec<QueuedMail>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
) -> Vec<Event> {
    let mails = mails.into_iter().map(|mail| Event::Mailed(Box::new(mail))).filter(|event| {
        before.is_none_or(|before| event.at() < before) && since.is_none_or(|since| event.at() >= since)
    });
    let mut events: Vec<Event> = mails.chain(entries.into_iter().map(Event::Audited)).collect();
    events.sort_by_key(|event| std::cmp::Reverse(event.at()));
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Action, Actor};
    use crate::id::{AuditId, MailId};
    use crate::mail::{MailState, QueuedMessage};
    use crate::text::EmailAddress;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn entry(second: i64) -> AuditEntry {
        AuditEntry {
            id: AuditId(uuid::Uuid::nil()),
            at: at(second),
            actor: Actor { name: String::new(), source: String::new() },
            action: Action::CodeIssued,
            tenant_id: None,
            code_id: None,
            mail_id: None,
            detail: String::new(),
            count: 1,
        }
    }

    fn mail(queued: i64, settled: Option<i64>) -> QueuedMail {
        QueuedMail {
            id: MailId(uuid::Uuid::nil()),
            tenant_id: TenantId(uuid::Uuid::nil()),
            to: EmailAddress::from_stored("a@example.com".to_owned()),
            message: QueuedMessage::PortalLink { expires_at: at(0) },
            sealed: None,
            state: MailState::Queued,
            attempts: 0,
            queued_at: at(queued),
            due_at: at(queued),
            settled_at: settled.map(at),
            last_error: None,
        }
    }

    #[test]
    fn each_mail_stands_on_the_page_of_its_time() {
        let mails = || vec![mail(0, Some(9)), mail(1, None), mail(2, Some(5)), mail(3, Some(4))];
        let seconds = |events: Vec<Event>| -> Vec<i64> {
            events.iter().map(|event| event.at().timestamp() - 1_800_000_000).collect()
        };
        let first = merged(vec![entry(8), entry(5)], mails(), None, Some(at(5)));
        assert_eq!(seconds(first), [9, 8, 5, 5]);
        let second = merged(vec![entry(3), entry(0)], mails(), Some(at(5)), None);
        assert_eq!(seconds(second), [4, 3, 1, 0]);
        assert_eq!(seconds(merged(vec![], mails(), None, None)), [9, 5, 4, 1]);
    }
}
