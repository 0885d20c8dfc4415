//! Applies writes, in their order, within the transaction that the caller opened.

use diesel::prelude::*;
use registry_core::id::TenantId;
use registry_core::store::{StoreError, Write};

use crate::connection::failure;
use crate::outbox;
use crate::rows::{
    ApplianceRow, AuditRow, CodeRow, CredentialRow, EntitlementRow, MailRow, ReleaseRow, ReplayRow,
    TenantRow,
};
use crate::schema::{
    appliances, audit, channels, credentials, entitlements, install_codes, mails, releases,
    replays, tenants,
};
use crate::sign_ins;

pub(crate) fn apply(connection: &mut SqliteConnection, writes: &[Write]) -> Result<(), StoreError> {
    writes.iter().try_for_each(|write| apply_one(connection, write))
}

#[expect(clippy::too_many_lines, reason = "one short arm for each kind of write")]
fn apply_one(connection: &mut SqliteConnection, write: &Write) -> Result<(), StoreError> {
    match write {
        Write::PutTenant(tenant) => {
            let row = TenantRow::from(&**tenant);
            let insert = diesel::insert_into(tenants::table).values(&row);
            insert.on_conflict(tenants::id).do_update().set(&row).execute(connection)
        }
        Write::PutEntitlement(entitlement) => {
            let row = EntitlementRow::try_from(&**entitlement)?;
            let insert = diesel::insert_into(entitlements::table).values(&row);
            insert.on_conflict(entitlements::id).do_update().set(&row).execute(connection)
        }
        Write::InsertCode(code) => diesel::insert_into(install_codes::table)
            .values(CodeRow::from(&**code))
            .execute(connection),
        Write::ConsumeCode { code, consumption, tenant } => {
            let code = install_codes::table.find(code.to_string());
            let live =
                install_codes::consumed_at.is_null().and(install_codes::superseded_at.is_null());
            let set = (
                install_codes::consumed_at.eq(consumption.at.timestamp_micros()),
                install_codes::consumed_by.eq(consumption.by.as_str()),
                install_codes::tenant_id.eq(tenant.to_string()),
            );
            let changed = diesel::update(code.filter(live))
                .set(set)
                .execute(connection)
                .map_err(|error| failure(&error))?;
            return exactly_one(changed, "a code that is not live was consumed");
        }
        Write::SupersedeCodes { tenant, at } => {
            let unused = install_codes::tenant_id
                .eq(tenant.to_string())
                .and(install_codes::kind.eq("install"))
                .and(install_codes::consumed_at.is_null())
                .and(install_codes::superseded_at.is_null());
            let set = install_codes::superseded_at.eq(at.timestamp_micros());
            diesel::update(install_codes::table.filter(unused)).set(set).execute(connection)
        }
        Write::SupersedeActivationCodes { entitlement, at } => {
            let unused = install_codes::entitlement_id
                .eq(entitlement.to_string())
                .and(install_codes::kind.eq("activation"))
                .and(install_codes::consumed_at.is_null())
                .and(install_codes::superseded_at.is_null());
            let set = install_codes::superseded_at.eq(at.timestamp_micros());
            diesel::update(install_codes::table.filter(unused)).set(set).execute(connection)
        }
        Write::PutAppliance(appliance) => {
            let row = ApplianceRow::try_from(&**appliance)?;
            let insert = diesel::insert_into(appliances::table).values(&row);
            insert
                .on_conflict((appliances::tenant_id, appliances::id))
                .do_update()
                .set(&row)
                .execute(connection)
        }
        Write::ClearLicenses { tenant } => forget_licenses(connection, *tenant),
        Write::DeleteCredentials { tenant, appliance } => {
            let theirs = credentials::tenant_id
                .eq(tenant.to_string())
                .and(credentials::appliance_id.eq(appliance.as_str()));
            diesel::delete(credentials::table.filter(theirs)).execute(connection)
        }
        Write::InsertCredential(credential) => diesel::insert_into(credentials::table)
            .values(CredentialRow::from(credential))
            .execute(connection),
        Write::UseCredential { credential, at } => {
            let row = credentials::table.find(credential.digest.0.as_slice());
            let unused = row.filter(credentials::first_used_at.is_null());
            let used =
                diesel::update(unused).set(credentials::first_used_at.eq(at.timestamp_micros()));
            used.execute(connection).map_err(|error| failure(&error))?;
            let others = credentials::tenant_id
                .eq(credential.tenant_id.to_string())
                .and(credentials::appliance_id.eq(credential.appliance_id.as_str()))
                .and(credentials::issued_at.le(credential.issued_at.timestamp_micros()))
                .and(credentials::digest.ne(credential.digest.0.as_slice()));
            diesel::delete(credentials::table.filter(others)).execute(connection)
        }
        Write::EnqueueMail(mail) => diesel::insert_into(mails::table)
            .values(MailRow::try_from(&**mail)?)
            .execute(connection),
        Write::DiscardMails { tenant, at } => outbox::discard_all(connection, *tenant, *at),
        Write::RequeueMail { mail, at } => outbox::requeue(connection, *mail, *at),
        Write::DiscardMail { mail, at } => outbox::discard(connection, *mail, *at),
        Write::AppendAudit(entry) => diesel::insert_into(audit::table)
            .values(AuditRow::try_from(&**entry)?)
            .execute(connection),
        Write::PutReplay(record) => diesel::replace_into(replays::table)
            .values(ReplayRow::from(&**record))
            .execute(connection),
        Write::SignIn(write) => sign_ins::apply(connection, write),
        Write::PutRelease(release) => {
            let row = ReleaseRow::try_from(&**release)?;
            let insert = diesel::insert_into(releases::table).values(&row);
            insert.on_conflict(releases::id).do_update().set(&row).execute(connection)
        }
        Write::SetCurrent { channel, release: Some(release) } => {
            let row =
                (channels::name.eq(channel.as_str()), channels::release_id.eq(release.to_string()));
            diesel::replace_into(channels::table).values(row).execute(connection)
        }
        Write::SetCurrent { channel, release: None } => {
            diesel::delete(channels::table.find(channel.as_str())).execute(connection)
        }
    }
    .map(drop)
    .map_err(|error| failure(&error))
}

fn forget_licenses(connection: &mut SqliteConnection, tenant: TenantId) -> QueryResult<usize> {
    let none = (
        appliances::license_sub.eq(None::<String>),
        appliances::license_customer.eq(None::<String>),
        appliances::license_tier.eq(None::<String>),
        appliances::license_seats.eq(None::<i32>),
        appliances::license_expires_at.eq(None::<i64>),
    );
    diesel::update(appliances::table.filter(appliances::tenant_id.eq(tenant.to_string())))
        .set(none)
        .execute(connection)
}

fn exactly_one(changed: usize, problem: &str) -> Result<(), StoreError> {
    if changed == 1 { Ok(()) } else { Err(StoreError::Corrupt(problem.to_owned())) }
}
