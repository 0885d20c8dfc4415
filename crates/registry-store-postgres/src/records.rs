//! What stands for itself: releases, audit, keys, and whether the database is well.

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use registry_core::audit::AuditEntry;
use registry_core::blob::BlobKey;
use registry_core::pagination::Cursor;
use registry_core::release::Release;
use registry_core::secret::KeyId;
use registry_core::store::{AuditQuery, ListedRelease, StoreError};
use registry_core::text::Channel;

use crate::failure::failure;
use crate::rows::{AuditRow, ReleaseRow};
use crate::schema::{audit, channels, install_codes, mails, probes, releases, rings};

pub(crate) async fn release_current(
    connection: &mut AsyncPgConnection,
    channel: Channel,
) -> Result<Option<Release>, StoreError> {
    let current = channels::table.find(channel.as_str()).inner_join(releases::table);
    let current = current.filter(releases::yanked_at.is_null());
    let row = current.select(ReleaseRow::as_select()).first(connection).await.optional();
    row.map_err(|error| failure(&error))?.map(Release::try_from).transpose()
}

pub(crate) async fn releases(
    connection: &mut AsyncPgConnection,
    channel: Option<&Channel>,
) -> Result<Vec<ListedRelease>, StoreError> {
    let current = channels::table.select(channels::release_id).load::<uuid::Uuid>(connection).await;
    let current = current.map_err(|error| failure(&error))?;
    let mut rows = releases::table.select(ReleaseRow::as_select()).into_boxed();
    if let Some(channel) = channel {
        rows = rows.filter(releases::channel.eq(channel.as_str()));
    }
    let rows = rows
        .order((releases::published_at.desc(), releases::id.desc()))
        .load::<ReleaseRow>(connection)
        .await;
    let listed = rows.map_err(|error| failure(&error))?.into_iter().map(|row| {
        let release = Release::try_from(row)?;
        let is_current = release.yanked_at.is_none() && current.contains(&release.id.0);
        Ok(ListedRelease { release, is_current })
    });
    listed.collect()
}

pub(crate) async fn release_of_file(
    connection: &mut AsyncPgConnection,
    key: BlobKey,
) -> Result<Option<Release>, StoreError> {
    let row =
        releases::table.filter(releases::blob_key.eq(key.as_str())).select(ReleaseRow::as_select());
    let row = row.first(connection).await.optional().map_err(|error| failure(&error))?;
    row.map(Release::try_from).transpose()
}

pub(crate) async fn audit_list(
    connection: &mut AsyncPgConnection,
    query: AuditQuery,
) -> Result<Vec<AuditEntry>, StoreError> {
    let mut lines = audit::table.select(AuditRow::as_select()).into_boxed();
    if let Some(tenant) = query.tenant {
        lines = lines.filter(audit::tenant_id.eq(tenant.0));
    }
    if let Some(Cursor { at, id }) = query.after {
        lines = lines.filter(audit::at.le(at).and(audit::at.lt(at).or(audit::id.lt(id.0))));
    }
    let newest_first = lines.order((audit::at.desc(), audit::id.desc())).limit(query.limit.into());
    let lines = newest_first.load::<AuditRow>(connection).await;
    lines.map_err(|error| failure(&error))?.into_iter().map(AuditEntry::try_from).collect()
}

pub(crate) async fn audit_count(
    connection: &mut AsyncPgConnection,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let same = if entry.code_id.is_some() {
        "(code_id, source, action, at) WHERE action IN ('download_started', 'download_refused')"
    } else {
        "(source, at) WHERE action = 'unknown_codes'"
    };
    let count = format!(
        "INSERT INTO audit (id, at, actor, source, action, tenant_id, code_id, detail, count) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1) ON CONFLICT {same} DO UPDATE SET count = audit.count + 1"
    );
    let counted = diesel::sql_query(count)
        .bind::<SqlUuid, _>(entry.id.0)
        .bind::<Timestamptz, _>(entry.at)
        .bind::<Text, _>(&entry.actor.name)
        .bind::<Text, _>(&entry.actor.source)
        .bind::<Text, _>(entry.action.as_str())
        .bind::<Nullable<SqlUuid>, _>(entry.tenant_id.map(|id| id.0))
        .bind::<Nullable<SqlUuid>, _>(entry.code_id.map(|id| id.0))
        .bind::<Text, _>(entry.detail.to_stored())
        .execute(connection)
        .await;
    counted.map(drop).map_err(|error| failure(&error))
}

pub(crate) async fn key_ids_in_use(
    connection: &mut AsyncPgConnection,
) -> Result<Vec<KeyId>, StoreError> {
    let unconsumed =
        install_codes::consumed_at.is_null().and(install_codes::superseded_at.is_null());
    let codes =
        install_codes::table.filter(unconsumed).select(install_codes::digest_key_id).distinct();
    let mut ids: Vec<String> = codes.load(connection).await.map_err(|error| failure(&error))?;
    let sealed = mails::table.select(mails::sealed_key_id.assume_not_null()).distinct();
    let sealed = sealed.filter(mails::sealed_key_id.is_not_null()).load(connection).await;
    ids.extend(sealed.map_err(|error| failure(&error))?);
    ids.sort();
    ids.dedup();
    Ok(ids.into_iter().map(KeyId).collect())
}

pub(crate) async fn register_master_key(
    connection: &mut AsyncPgConnection,
    ring: Vec<KeyId>,
) -> Result<Option<KeyId>, StoreError> {
    let ids: Vec<&str> = ring.iter().map(|key| key.0.as_str()).collect();
    let Some(&current) = ids.as_slice().first() else { return Ok(None) };
    let first =
        diesel::insert_into(rings::table).values((rings::id.eq(1), rings::key_id.eq(current)));
    let first = first
        .on_conflict_do_nothing()
        .execute(connection)
        .await
        .map_err(|error| failure(&error))?;
    let ours = diesel::update(rings::table.filter(rings::key_id.eq_any(&ids)))
        .set(rings::key_id.eq(current));
    if first == 1 || ours.execute(connection).await.map_err(|error| failure(&error))? == 1 {
        return Ok(None);
    }
    let other: String = rings::table
        .select(rings::key_id)
        .first(connection)
        .await
        .map_err(|error| failure(&error))?;
    Ok(Some(KeyId(other)))
}

pub(crate) async fn probe(connection: &mut AsyncPgConnection) -> Result<(), StoreError> {
    let counted = diesel::insert_into(probes::table)
        .values((probes::id.eq(1), probes::writes.eq(1)))
        .on_conflict(probes::id)
        .do_update()
        .set(probes::writes.eq(probes::writes + 1))
        .execute(connection)
        .await;
    counted.map(drop).map_err(|error| failure(&error))
}

diesel::define_sql_function! {
    /// A setting of the server's (PostgreSQL documentation, section 9.27.1).
    fn current_setting(name: diesel::sql_types::Text) -> diesel::sql_types::Text;
}

pub(crate) async fn check_encoding(connection: &mut AsyncPgConnection) -> Result<(), StoreError> {
    let encoding: String = diesel::select(current_setting("server_encoding"))
        .get_result(connection)
        .await
        .map_err(|error| failure(&error))?;
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(StoreError::Corrupt(format!(
        "its encoding is {encoding} and must be UTF8, which can store every name"
    )))
}
