//! What happened and what is to happen: mails, audit, recorded answers, releases.

use registry_core::audit::{Action, Actor, AuditDetail, AuditEntry};
use registry_core::blob::BlobKey;
use registry_core::clock::Timestamp;
use registry_core::mail::{MailState, QueuedMail};
use registry_core::release::{Release, SignedManifest};
use registry_core::secret::{KeyId, Sealed};
use registry_core::store::{ReplayRecord, StoreError};
use registry_core::text::{Channel, EmailAddress, Version};
use uuid::Uuid;

use super::{Read, corrupt, number, row};
use crate::schema::{audit, channels, mails, releases, replays};

row!(
    MailRow of mails {
        id: Uuid,
        tenant_id: Uuid,
        recipient: String,
        message: String,
        sealed_key_id: Option<String>,
        sealed: Option<Vec<u8>>,
        state: String,
        attempts: i32,
        queued_at: Timestamp,
        due_at: Timestamp,
        settled_at: Option<Timestamp>,
        last_error: Option<String>,
    }
);

impl TryFrom<&QueuedMail> for MailRow {
    type Error = StoreError;

    fn try_from(mail: &QueuedMail) -> Read<Self> {
        Ok(Self {
            id: mail.id.0,
            tenant_id: mail.tenant_id.0,
            recipient: mail.to.to_string(),
            message: serde_json::to_string(&mail.message).map_err(|_| corrupt("message"))?,
            sealed_key_id: mail.sealed.as_ref().map(|sealed| sealed.key_id.0.clone()),
            sealed: mail.sealed.as_ref().map(|sealed| sealed.bytes.clone()),
            state: mail.state.to_string(),
            attempts: number(mail.attempts)?,
            queued_at: mail.queued_at,
            due_at: mail.due_at,
            settled_at: mail.settled_at,
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
            queued_at: row.queued_at,
            due_at: row.due_at,
            settled_at: row.settled_at,
            last_error: row.last_error,
        })
    }
}

row!(
    AuditRow of audit {
        id: Uuid,
        at: Timestamp,
        actor: String,
        source: String,
        action: String,
        tenant_id: Option<Uuid>,
        code_id: Option<Uuid>,
        mail_id: Option<Uuid>,
        detail: String,
        count: i32,
    }
);

impl TryFrom<&AuditEntry> for AuditRow {
    type Error = StoreError;

    fn try_from(entry: &AuditEntry) -> Read<Self> {
        Ok(Self {
            id: entry.id.0,
            at: entry.at,
            actor: entry.actor.name.clone(),
            source: entry.actor.source.clone(),
            action: entry.action.to_string(),
            tenant_id: entry.tenant_id.map(|id| id.0),
            code_id: entry.code_id.map(|id| id.0),
            mail_id: entry.mail_id.map(|id| id.0),
            detail: entry.detail.to_stored(),
            count: number(entry.count)?,
        })
    }
}

impl TryFrom<AuditRow> for AuditEntry {
    type Error = StoreError;

    fn try_from(row: AuditRow) -> Read<Self> {
        Ok(Self {
            id: row.id.into(),
            at: row.at,
            actor: Actor { name: row.actor, source: row.source },
            action: Action::from_name(&row.action).ok_or_else(|| corrupt("action"))?,
            tenant_id: row.tenant_id.map(Into::into),
            code_id: row.code_id.map(Into::into),
            mail_id: row.mail_id.map(Into::into),
            detail: AuditDetail::from_stored(&row.detail),
            count: number(row.count)?,
        })
    }
}

row!(
    ReplayRow of replays {
        scope: String,
        key_digest: Vec<u8>,
        fingerprint: Vec<u8>,
        sealed_key_id: String,
        sealed: Vec<u8>,
        recorded_at: Timestamp,
        expires_at: Timestamp,
    }
);

impl From<&ReplayRecord> for ReplayRow {
    fn from(record: &ReplayRecord) -> Self {
        Self {
            scope: record.request.scope.clone(),
            key_digest: record.request.key_digest.to_vec(),
            fingerprint: record.request.fingerprint.to_vec(),
            sealed_key_id: record.answer.key_id.0.clone(),
            sealed: record.answer.bytes.clone(),
            recorded_at: record.request.now,
            expires_at: record.expires_at,
        }
    }
}

row!(
    ReleaseRow of releases {
        id: Uuid,
        channel: String,
        version: String,
        blob_key: String,
        file_name: String,
        size: i64,
        sha256: String,
        published_at: Timestamp,
        manifest: Option<String>,
        manifest_signature: Option<Vec<u8>>,
        yanked_at: Option<Timestamp>,
    }
);

impl TryFrom<&Release> for ReleaseRow {
    type Error = StoreError;

    fn try_from(release: &Release) -> Read<Self> {
        Ok(Self {
            id: release.id.0,
            channel: release.channel.to_string(),
            version: release.version.to_string(),
            blob_key: release.key.to_string(),
            file_name: release.file_name.clone(),
            size: number(release.size)?,
            sha256: release.sha256.clone(),
            published_at: release.published_at,
            manifest: release.manifest.as_ref().map(|manifest| manifest.text.clone()),
            manifest_signature: release
                .manifest
                .as_ref()
                .map(|manifest| manifest.signature.to_vec()),
            yanked_at: release.yanked_at,
        })
    }
}

impl TryFrom<ReleaseRow> for Release {
    type Error = StoreError;

    fn try_from(row: ReleaseRow) -> Read<Self> {
        Ok(Self {
            id: row.id.into(),
            channel: Channel::from_stored(row.channel),
            version: Version::from_stored(row.version),
            key: BlobKey::parse(&row.blob_key).ok_or_else(|| corrupt("blob key"))?,
            file_name: row.file_name,
            size: number(row.size)?,
            sha256: row.sha256,
            published_at: row.published_at,
            manifest: manifest(row.manifest, row.manifest_signature)?,
            yanked_at: row.yanked_at,
        })
    }
}

fn manifest(text: Option<String>, signature: Option<Vec<u8>>) -> Read<Option<SignedManifest>> {
    let Some((text, signature)) = text.zip(signature) else { return Ok(None) };
    let signature = signature.try_into().map_err(|_| corrupt("signature of a manifest"))?;
    Ok(Some(SignedManifest { text, signature }))
}

row!(
    ChannelRow of channels {
        name: String,
        release_id: Uuid,
    }
);
