//! What operators do to the outbox: look, send again, discard. They never see a code.

use std::sync::Arc;

use chrono::TimeDelta;

use crate::audit::{Action, Actor};
use crate::id::MailId;
use crate::mail::{MailQuery, MailState, QueuedMail, QueuedMessage};
use crate::pagination::{Cursor, paginate};
use crate::refusal::Refusal;
use crate::registry::directory::after;
use crate::registry::{ChangeContext, Error, Registry, refuse};
use crate::store::{Decision, Write};

/// What becomes of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailEdit {
    /// Sent again, now.
    Retry,
    /// Never sent.
    Discard,
}

impl Registry {
    /// The mails that fit the query, newest first.
    pub async fn mail_list(&self, query: MailQuery) -> Result<Vec<QueuedMail>, Error> {
        Ok(self.ports.store.mail_list(query).await?)
    }

    /// A page of the mails that fit the query, after `cursor`; and what to ask for the next one
    /// with.
    pub async fn mail_page(
        &self,
        query: MailQuery,
        cursor: Option<&str>,
    ) -> Result<(Vec<QueuedMail>, Option<String>), Error> {
        let (limit, after) = (query.limit, cursor.map(after).transpose()?);
        let mut mails =
            self.ports.store.mail_list(MailQuery { limit: limit + 1, after, ..query }).await?;
        let next = paginate(&mut mails, limit, |mail| Cursor { at: mail.queued_at, id: mail.id });
        Ok((mails, next))
    }

    /// One mail.
    pub async fn mail_show(&self, id: MailId) -> Result<QueuedMail, Error> {
        let query = MailQuery { id: Some(id), limit: 1, ..MailQuery::default() };
        Ok(self.ports.store.mail_list(query).await?.pop().ok_or(Refusal::MailNotFound)?)
    }

    /// Sends a mail again, or discards it. Repeating it changes nothing.
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
        return Decision::Commit { writes: vec![], outcome: Ok(mail.clone()) };
    }
    if matches!(mail.state, MailState::Sent | MailState::Discarded) {
        return refuse(Refusal::MailSettled { state: mail.state }, None);
    }
    let now = change.now;
    let code_id = match &mail.message {
        QueuedMessage::InstallCode { code_id, .. } => Some(*code_id),
        QueuedMessage::PortalLink { .. } => None,
    };
    // Once somebody sends it again, sending it again once more changes nothing until it was tried.
    let is_under_way =
        mail.state == MailState::Queued && mail.attempts == 0 && mail.due_at <= now + lease;
    if edit == MailEdit::Retry
        && is_under_way
        && mail.last_error.is_none()
        && mail.brings_something_at(now)
    {
        return Decision::Commit { writes: vec![], outcome: Ok(mail.clone()) };
    }
    let (write, action, after) = match edit {
        MailEdit::Retry if !mail.brings_something_at(now) => {
            return refuse(Refusal::MailOutdated { since: mail.message.ends_at() }, None);
        }
        MailEdit::Retry => {
            // One that is due that soon may be being sent in this moment: then it is due when its
            // lease ends.
            let is_leased =
                mail.state == MailState::Queued && mail.due_at > now && mail.due_at <= now + lease;
            let due_at = if is_leased { mail.due_at } else { now };
            let (settled_at, last_error) = (None, None);
            let anew = QueuedMail { state: MailState::Queued, attempts: 0, due_at, ..mail.clone() };
            let after = QueuedMail { settled_at, last_error, ..anew };
            (Write::RequeueMail { mail: mail.id, at: due_at }, Action::MailRetried, after)
        }
        MailEdit::Discard => {
            let settled_at = Some(now);
            let after = QueuedMail {
                state: MailState::Discarded,
                sealed: None,
                settled_at,
                ..mail.clone()
            };
            (Write::DiscardMail { mail: mail.id, at: now }, Action::MailDiscarded, after)
        }
    };
    let mut entry =
        change.audit(action, Some(mail.tenant_id), mail.last_error.as_deref().unwrap_or_default());
    (entry.code_id, entry.mail_id) = (code_id, Some(mail.id));
    Decision::Commit { writes: vec![write, Write::audit(entry)], outcome: Ok(after) }
}
