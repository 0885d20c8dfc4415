//! The outbox for operators: list mails, send one again, discard one. Operators never see a code.

use std::sync::Arc;

use chrono::TimeDelta;

use crate::audit::{Action, Actor, AuditDetail};
use crate::id::MailId;
use crate::mail::{MailQuery, MailState, QueuedMail, QueuedMessage};
use crate::pagination::{Cursor, paginate};
use crate::refusal::Refusal;
use crate::registry::directory::parse_cursor;
use crate::registry::{ChangeContext, Error, Registry, refuse};
use crate::store::{Decision, Write};

/// A change of a mail in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailEdit {
    /// Send the mail again, now.
    Retry,
    /// Never send the mail.
    Discard,
}

impl Registry {
    /// Returns the mails that match the query, newest first.
    pub async fn mail_list(&self, query: MailQuery) -> Result<Vec<QueuedMail>, Error> {
        Ok(self.ports.store.mail_list(query).await?)
    }

    /// Returns the page of matching mails after `cursor`, and the cursor of the next page.
    pub async fn mail_page(
        &self,
        query: MailQuery,
        cursor: Option<&str>,
    ) -> Result<(Vec<QueuedMail>, Option<String>), Error> {
        let (limit, after) = (query.limit, cursor.map(parse_cursor).transpose()?);
        let mut mails =
            self.ports.store.mail_list(MailQuery { limit: limit + 1, after, ..query }).await?;
        let next = paginate(&mut mails, limit, |mail| Cursor { at: mail.queued_at, id: mail.id });
        Ok((mails, next))
    }

    /// Returns one mail.
    pub async fn mail_show(&self, id: MailId) -> Result<QueuedMail, Error> {
        let query = MailQuery { id: Some(id), limit: 1, ..MailQuery::default() };
        Ok(self.ports.store.mail_list(query).await?.pop().ok_or(Refusal::MailNotFound)?)
    }

    /// Queues a mail again, or discards it. Repeating the change writes nothing.
    pub async fn mail_edit(
        &self,
        id: MailId,
        edit: MailEdit,
        actor: Actor,
    ) -> Result<QueuedMail, Error> {
        let (change, lease) = (self.change_context(actor), self.lease());
        let decide = Arc::new(move |mail: &Option<QueuedMail>| {
            decide(change.clone(), edit, lease, mail.as_ref())
        });
        self.ports.store.mail_change(id, decide).await?.into_result()
    }
}

fn decide(
    mut change: ChangeContext,
    edit: MailEdit,
    lease: TimeDelta,
    mail: Option<&QueuedMail>,
) -> Decision<QueuedMail> {
    let Some(mail) = mail else { return refuse(Refusal::MailNotFound, None) };
    if edit == MailEdit::Discard && mail.state == MailState::Discarded {
        return Decision::commit(vec![], Ok(mail.clone()));
    }
    let now = change.now;
    let checked = match edit {
        MailEdit::Retry => mail.check_retry(now),
        MailEdit::Discard => mail.check_unsettled(),
    };
    if let Err(refusal) = checked {
        return refuse(refusal, None);
    }
    let code_id = match &mail.message {
        QueuedMessage::InstallCode { code_id, .. } => Some(*code_id),
        QueuedMessage::PortalLink { .. } => None,
    };
    // After a retry was requested, a second request changes nothing until the next attempt.
    let is_already_due =
        mail.state == MailState::Queued && mail.attempts == 0 && mail.due_at <= now + lease;
    if edit == MailEdit::Retry && is_already_due && mail.last_error.is_none() {
        return Decision::commit(vec![], Ok(mail.clone()));
    }
    let (after, action) = match edit {
        MailEdit::Retry => {
            // A queued mail that becomes due within the time of a lease may be leased, and sent at
            // this moment. It becomes due when that lease ends.
            let may_be_leased =
                mail.state == MailState::Queued && mail.due_at > now && mail.due_at <= now + lease;
            let due_at = if may_be_leased { mail.due_at } else { now };
            (mail.requeued(due_at), Action::MailRetried)
        }
        MailEdit::Discard => (mail.discarded(now), Action::MailDiscarded),
    };
    let mut entry = change.audit(
        action,
        Some(mail.tenant_id),
        AuditDetail::value(mail.last_error.as_deref().unwrap_or_default()),
    );
    (entry.code_id, entry.mail_id) = (code_id, Some(mail.id));
    let writes = vec![Write::UpdateMail(Box::new(after.clone())), Write::audit(entry)];
    Decision::commit(writes, Ok(after))
}
