use registry_core::clock::Timestamp;
use registry_core::id::{MailId, TenantId};
use registry_core::mail::{MailState, QueuedMail, QueuedMessage};
use registry_core::secret::{KeyId, Sealed};
use registry_core::text::EmailAddress;

use crate::table::table;

table!(
    QueuedMail of "mails", key ["id"] {
        id: MailId,
        tenant_id: TenantId,
        message: QueuedMessage,
        state: MailState,
        attempts: u32,
        queued_at: Timestamp,
        due_at: Timestamp,
        settled_at: Option<Timestamp>,
        last_error: Option<String>,
    } and |mail| {
        recipient: EmailAddress = mail.to,
        kind: String = mail.message.kind().to_owned(),
        priority: u32 = u32::from(mail.is_for_stranger),
        sealed_key_id: Option<KeyId> = mail.sealed.as_ref().map(|it| it.key_id.clone()),
        sealed: Option<Vec<u8>> = mail.sealed.as_ref().map(|it| it.bytes.clone()),
    } as {
        to: recipient,
        is_for_stranger: priority > 0,
        sealed: sealed_key_id.zip(sealed).map(|(key_id, bytes)| Sealed { key_id, bytes }),
    }
);
