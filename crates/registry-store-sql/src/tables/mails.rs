//! The outbox.

use registry_core::mail::{MailState, QueuedMail};
use registry_core::secret::{KeyId, Sealed};
use registry_core::store::StoreError;
use registry_core::text::EmailAddress;

use crate::table::{Read, corrupt, number, table};
use crate::types::{SqlId, SqlTime};

table!(
    /// A row of `mails`.
    MailRow of "mails", key ["id"] {
        id: SqlId,
        tenant_id: SqlId,
        recipient: String,
        kind: String,
        message: String,
        sealed_key_id: Option<String>,
        sealed: Option<Vec<u8>>,
        state: String,
        attempts: i32,
        queued_at: SqlTime,
        due_at: SqlTime,
        settled_at: Option<SqlTime>,
        last_error: Option<String>,
    }
);

impl TryFrom<&QueuedMail> for MailRow {
    type Error = StoreError;

    fn try_from(mail: &QueuedMail) -> Read<Self> {
        Ok(Self {
            id: mail.id.into(),
            tenant_id: mail.tenant_id.into(),
            recipient: mail.to.to_string(),
            kind: mail.message.kind().to_owned(),
            message: serde_json::to_string(&mail.message).map_err(|_| corrupt("message"))?,
            sealed_key_id: mail.sealed.as_ref().map(|sealed| sealed.key_id.0.clone()),
            sealed: mail.sealed.as_ref().map(|sealed| sealed.bytes.clone()),
            state: mail.state.to_string(),
            attempts: number(mail.attempts)?,
            queued_at: mail.queued_at.into(),
            due_at: mail.due_at.into(),
            settled_at: mail.settled_at.map(Into::into),
            last_error: mail.last_error.clone(),
        })
    }
}

impl TryFrom<MailRow> for QueuedMail {
    type Error = StoreError;

    fn try_from(row: MailRow) -> Read<Self> {
        let sealed = row.sealed_key_id.zip(row.sealed);
        Ok(Self {
            id: row.id.into(),
            tenant_id: row.tenant_id.into(),
            to: EmailAddress::from_stored(row.recipient),
            message: serde_json::from_str(&row.message).map_err(|_| corrupt("message"))?,
            sealed: sealed.map(|(key_id, bytes)| Sealed { key_id: KeyId(key_id), bytes }),
            state: MailState::from_name(&row.state).ok_or_else(|| corrupt("state of a mail"))?,
            attempts: number(row.attempts)?,
            queued_at: row.queued_at.into(),
            due_at: row.due_at.into(),
            settled_at: row.settled_at.map(Into::into),
            last_error: row.last_error,
        })
    }
}
