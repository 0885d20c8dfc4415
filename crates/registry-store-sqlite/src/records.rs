//! What stands for itself: releases, audit, keys, and whether the database is well.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use registry_core::audit::AuditEntry;
use registry_core::blob::BlobKey;
use registry_core::release::Release;
use registry_core::secret::KeyId;
use registry_core::store::{AuditQuery, ListedRelease, StoreError};
use registry_core::text::Channel;

use crate::connection::failure;
use crate::facts::{all, one};
use crate::rows::{AuditRow, ReleaseRow};
use crate::schema::{audit, channels, install_codes, mails, releases, rings};

pub(crate) fn release_current(
    connection: &mut SqliteConnection,
    channel: &Channel,
) -> Result<Option<Release>, StoreError> {
    let current = channels::table.find(channel.as_str()).select(channels::release_id);
    let release =
        releases::table.filter(releases::id.eq_any(current).and(releases::yanked_at.is_null()));
    one(release.select(ReleaseRow::as_select()).first(connection).optional())
}

pub(crate) fn releases(
    connection: &mut SqliteConnection,
    channel: Option<&Channel>,
) -> Result<Vec<ListedRelease>, StoreError> {
    let current: Vec<String> = channels::table
        .select(channels::release_id)
        .load(connection)
        .map_err(|error| failure(&error))?;
    let mut rows = releases::table.select(ReleaseRow::as_select()).into_boxed();
    if let Some(channel) = channel {
        rows = rows.filter(releases::channel.eq(channel.as_str()));
    }
    let listed: Vec<Release> =
        all(rows.order((releases::published_at.desc(), releases::id.desc())).load(connection))?;
    let listed = listed.into_iter().map(|release| {
        let is_current = release.yanked_at.is_none() && current.contains(&release.id.to_string());
        ListedRelease { release, is_current }
    });
    Ok(listed.collect())
}

pub(crate) fn release_of_file(
    connection: &mut SqliteConnection,
    key: &BlobKey,
) -> Result<Option<Release>, StoreError> {
    let release = releases::table.filter(releases::blob_key.eq(key.as_str()));
    one(release.select(ReleaseRow::as_select()).first(connection).optional())
}

pub(crate) fn audit_list(
    connection: &mut SqliteConnection,
    query: AuditQuery,
) -> Result<Vec<AuditEntry>, StoreError> {
    let mut lines = audit::table.select(AuditRow::as_select()).into_boxed();
    if let Some(tenant) = query.tenant {
        lines = lines.filter(audit::tenant_id.eq(tenant.to_string()));
    }
    if let Some(place) = query.after {
        let (at, id) = (place.at.timestamp_micros(), place.id.to_string());
        lines = lines.filter(audit::at.lt(at).or(audit::at.eq(at).and(audit::id.lt(id))));
    }
    all(lines
        .order((audit::at.desc(), audit::id.desc()))
        .limit(query.limit.into())
        .load(connection))
}

pub(crate) fn audit_count(
    connection: &mut SqliteConnection,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let same = if entry.code_id.is_some() {
        "(code_id, source, action, at) WHERE action IN ('download_started', 'download_refused')"
    } else {
        "(source, at) WHERE action = 'unknown_codes'"
    };
    let count = format!(
        "INSERT INTO audit (id, at, actor, source, action, tenant_id, code_id, detail, count) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT {same} DO UPDATE SET count = count + 1"
    );
    let counted = diesel::sql_query(count)
        .bind::<Text, _>(entry.id.to_string())
        .bind::<BigInt, _>(entry.at.timestamp_micros())
        .bind::<Text, _>(&entry.actor.name)
        .bind::<Text, _>(&entry.actor.source)
        .bind::<Text, _>(entry.action.as_str())
        .bind::<Nullable<Text>, _>(entry.tenant_id.map(|id| id.to_string()))
        .bind::<Nullable<Text>, _>(entry.code_id.map(|id| id.to_string()))
        .bind::<Text, _>(entry.detail.to_stored())
        .execute(connection);
    counted.map(drop).map_err(|error| failure(&error))
}

pub(crate) fn key_ids_in_use(connection: &mut SqliteConnection) -> Result<Vec<KeyId>, StoreError> {
    let unconsumed =
        install_codes::consumed_at.is_null().and(install_codes::superseded_at.is_null());
    let codes =
        install_codes::table.filter(unconsumed).select(install_codes::digest_key_id).distinct();
    let mut ids: Vec<String> = codes.load(connection).map_err(|error| failure(&error))?;
    let sealed = mails::table.select(mails::sealed_key_id).distinct().load(connection);
    let sealed: Vec<Option<String>> = sealed.map_err(|error| failure(&error))?;
    ids.extend(sealed.into_iter().flatten());
    ids.sort();
    ids.dedup();
    Ok(ids.into_iter().map(KeyId).collect())
}

pub(crate) fn register_master_key(
    connection: &mut SqliteConnection,
    ring: &[KeyId],
) -> Result<Option<KeyId>, StoreError> {
    let recorded: QueryResult<Option<String>> =
        rings::table.select(rings::key_id).first(connection).optional();
    let recorded = recorded.map_err(|error| failure(&error))?.map(KeyId);
    let current = match (&recorded, ring.first()) {
        (Some(recorded), _) if !ring.contains(recorded) => return Ok(Some(recorded.clone())),
        (_, None) => return Ok(None),
        (_, Some(current)) => current,
    };
    let row = (rings::id.eq(1), rings::key_id.eq(&current.0));
    let written = diesel::replace_into(rings::table).values(row).execute(connection);
    written.map(|_| None).map_err(|error| failure(&error))
}

pub(crate) fn probe(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let counted = "INSERT INTO probes (id, writes) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET writes = writes + 1";
    diesel::sql_query(counted).execute(connection).map(drop).map_err(|error| failure(&error))
}
