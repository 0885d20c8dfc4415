//! Turns the writes of a decision into one batch.

use registry_core::clock::Timestamp;
use registry_core::entitlement::Entitlement;
use registry_core::id::{EntitlementId, TenantId};
use registry_core::store::{StoreError, Write};
use registry_core::tenant::Tenant;

use crate::batch::{Batch, Bind, Columns as _, Conflict};
use crate::rows::{
    ApplianceRow, AuditRow, ChannelRow, CodeRow, CredentialRow, EntitlementRow, MailRow,
    ReleaseRow, ReplayRow, TenantRow,
};
use crate::sign_ins;

/// What of the database the facts were, with the versions they had then. Everything that hangs on a
/// tenant (its entitlement, codes and appliances) changes only together with the tenant's version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LockSet {
    pub(crate) tenant: Root,
    /// An entitlement that is not bound to `tenant`.
    pub(crate) unbound: Option<(EntitlementId, i64)>,
}

/// What is known of the tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Root {
    /// None was asked for.
    #[default]
    Unknown,
    /// It was asked for, and is not there.
    Absent,
    /// It is there.
    Known(TenantId, i64),
}

/// Whether only the audit is written: nothing that others could have changed meanwhile.
pub(crate) fn only_audit(writes: &[Write]) -> bool {
    writes.iter().all(|write| matches!(write, Write::AppendAudit(_)))
}

/// All writes of a decision as one batch, guarded by what it was decided on.
pub(crate) fn batch(writes: &[Write], roots: LockSet) -> Result<Batch, StoreError> {
    let mut batch = Batch::default();
    if !only_audit(writes) {
        guard(&mut batch, writes, roots)?;
    }
    for write in writes {
        add(&mut batch, write, roots)?;
    }
    let lines = writes.iter().filter_map(|write| match write {
        Write::AppendAudit(entry) => Some(AuditRow::try_from(&**entry)),
        _ => None,
    });
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    if !lines.is_empty() {
        batch.insert_all(lines);
    }
    Ok(batch)
}

/// A guard sets the row's new values too: a statement can change a row only once.
fn guard(batch: &mut Batch, writes: &[Write], roots: LockSet) -> Result<(), StoreError> {
    if let Root::Known(id, version) = roots.tenant {
        let put = writes.iter().find_map(|write| match write {
            Write::PutTenant(tenant) if tenant.id == id => {
                Some(TenantRow::from(&**tenant).columns())
            }
            _ => None,
        });
        batch.guard("tenants", put.unwrap_or_default(), id.0, version);
    }
    if let Some((id, version)) = roots.unbound {
        let put = writes.iter().find_map(|write| match write {
            Write::PutEntitlement(entitlement) if entitlement.id == id => {
                Some(EntitlementRow::try_from(&**entitlement))
            }
            _ => None,
        });
        let columns = put.transpose()?.map(EntitlementRow::columns).unwrap_or_default();
        batch.guard("entitlements", columns, id.0, version);
    }
    Ok(())
}

fn is_in_guard(write: &Write, roots: LockSet) -> bool {
    match write {
        Write::PutTenant(tenant) => matches!(roots.tenant, Root::Known(id, _) if tenant.id == id),
        Write::PutEntitlement(entitlement) => {
            roots.unbound.is_some_and(|(id, _)| entitlement.id == id)
        }
        _ => false,
    }
}

#[expect(clippy::too_many_lines, reason = "one short arm for each kind of write")]
fn add(batch: &mut Batch, write: &Write, roots: LockSet) -> Result<(), StoreError> {
    match write {
        write if is_in_guard(write, roots) => {}
        Write::PutTenant(tenant) => put_tenant(batch, tenant, roots),
        Write::PutEntitlement(entitlement) => put_entitlement(batch, entitlement)?,
        Write::InsertCode(code) => batch.insert(CodeRow::from(&**code), Conflict::Fail),
        Write::ConsumeCode { code, consumption, tenant } => {
            batch.consume(code.0, consumption.at, consumption.by.as_str(), tenant.0);
        }
        Write::SupersedeCodes { tenant, at } => {
            batch.update("install_codes", vec![("superseded_at", (*at).into())], |it| {
                it.sql("tenant_id = ").bind(tenant.0);
                it.sql(" AND kind = 'install' AND consumed_at IS NULL AND superseded_at IS NULL");
            });
        }
        Write::SupersedeActivationCodes { entitlement, at } => {
            batch.update("install_codes", vec![("superseded_at", (*at).into())], |it| {
                it.sql("entitlement_id = ").bind(entitlement.0);
                it.sql(
                    " AND kind = 'activation' AND consumed_at IS NULL AND superseded_at IS NULL",
                );
            });
        }
        Write::PutAppliance(appliance) => {
            batch.insert(ApplianceRow::try_from(&**appliance)?, Conflict::Replace("tenant_id, id"));
        }
        Write::ClearLicenses { tenant } => {
            let none = vec![
                ("license_sub", None::<String>.into()),
                ("license_customer", None::<String>.into()),
                ("license_tier", None::<String>.into()),
                ("license_seats", None::<i32>.into()),
                ("license_expires_at", None::<Timestamp>.into()),
            ];
            batch.update("appliances", none, |it| {
                it.sql("tenant_id = ").bind(tenant.0);
            });
        }
        Write::DeleteCredentials { tenant, appliance } => batch.delete("credentials", |it| {
            it.sql("tenant_id = ")
                .bind(tenant.0)
                .sql(" AND appliance_id = ")
                .bind(appliance.as_str());
        }),
        Write::InsertCredential(credential) => {
            batch.insert(CredentialRow::from(credential), Conflict::Fail);
        }
        Write::UseCredential { credential, at } => {
            batch.update("credentials", vec![("first_used_at", (*at).into())], |it| {
                it.sql("digest = ")
                    .bind(credential.digest.0.to_vec())
                    .sql(" AND first_used_at IS NULL");
            });
            batch.delete("credentials", |it| {
                it.sql("tenant_id = ").bind(credential.tenant_id.0);
                it.sql(" AND appliance_id = ").bind(credential.appliance_id.as_str());
                it.sql(" AND issued_at <= ").bind(credential.issued_at);
                it.sql(" AND digest <> ").bind(credential.digest.0.to_vec());
            });
        }
        Write::EnqueueMail(mail) => batch.insert(MailRow::try_from(&**mail)?, Conflict::Fail),
        Write::DiscardMails { tenant, at } => batch.update("mails", discarded(*at), |it| {
            it.sql("tenant_id = ")
                .bind(tenant.0)
                .sql(UNSENT)
                .sql(" AND message::json ->> 'kind' = 'install_code'");
        }),
        Write::RequeueMail { mail, at } => {
            let queued = vec![
                ("state", "queued".into()),
                ("attempts", 0.into()),
                ("due_at", (*at).into()),
                ("settled_at", None::<Timestamp>.into()),
                ("last_error", None::<String>.into()),
            ];
            batch.update("mails", queued, |it| {
                it.sql("id = ").bind(mail.0).sql(UNSENT);
            });
        }
        Write::DiscardMail { mail, at } => batch.update("mails", discarded(*at), |it| {
            it.sql("id = ").bind(mail.0).sql(UNSENT);
        }),
        Write::AppendAudit(_) => {}
        Write::PutReplay(record) => {
            batch.insert_over_ended(
                ReplayRow::from(&**record),
                "scope, key_digest",
                record.request.now,
            );
        }
        Write::SignIn(write) => sign_ins::add(batch, write),
        Write::PutRelease(release) => {
            batch.insert(ReleaseRow::try_from(&**release)?, Conflict::Replace("id"));
        }
        Write::SetCurrent { channel, release } => match release {
            Some(release) => {
                let row = ChannelRow { name: channel.to_string(), release_id: release.0 };
                batch.insert(row, Conflict::Replace("name"));
            }
            None => batch.delete("channels", |it| {
                it.sql("name = ").bind(channel.as_str());
            }),
        },
    }
    Ok(())
}

/// What can still be sent.
const UNSENT: &str = " AND state IN ('queued', 'dead')";

/// What a discarded mail is left with.
fn discarded(at: Timestamp) -> Vec<(&'static str, Bind)> {
    vec![
        ("state", "discarded".into()),
        ("settled_at", at.into()),
        ("sealed", None::<Vec<u8>>.into()),
        ("sealed_key_id", None::<String>.into()),
    ]
}

/// A tenant that was looked for and is not there is new: one that came meanwhile must not be
/// replaced.
fn put_tenant(batch: &mut Batch, tenant: &Tenant, roots: LockSet) {
    let conflict = match roots.tenant {
        Root::Absent => Conflict::Fail,
        Root::Unknown | Root::Known(..) => Conflict::ReplaceVersioned("id"),
    };
    batch.insert(TenantRow::from(tenant), conflict);
}

fn put_entitlement(batch: &mut Batch, entitlement: &Entitlement) -> Result<(), StoreError> {
    batch.insert(EntitlementRow::try_from(entitlement)?, Conflict::ReplaceVersioned("id"));
    Ok(())
}
