//! The changes that each write makes.

use registry_core::appliance::{Appliance, Credential};
use registry_core::audit::AuditEntry;
use registry_core::entitlement::Entitlement;
use registry_core::install_code::InstallCode;
use registry_core::mail::QueuedMail;
use registry_core::release::Release;
use registry_core::sign_in::SignIn;
use registry_core::store::{ReplayRecord, SignInWrite, Write};
use registry_core::tenant::Tenant;

use super::Change;
use super::sql::ShapeKind::{Delete, Insert, InsertOr, Replace, Update, Upsert};
use super::sql::{Shape, Text};
use crate::field::{Converted, Field as _};
use crate::table::Table;
use crate::tables::CurrentRelease;
use crate::value::Value;

macro_rules! shapes {
    ($($(#[$doc:meta])* $name:ident: $table:ty => $kind:expr;)+) => {
        /// All shapes, in the order in which their changes are written.
        pub(super) static ORDER: &[&Shape] = &[$(&$name),+];

        $(
            $(#[$doc])*
            static $name: Shape = Shape {
                table: <$table as Table>::TABLE,
                kind: $kind,
                text: Text::new(),
            };
        )+
    };
}

// A name in braces is a value of the column with this name.
shapes! {
    DELETE_EXPIRED_REPLAY: ReplayRecord => Delete {
        filter: "scope = {scope} AND key_digest = {key_digest} AND expires_at <= {expires_at}",
    };
    SUPERSEDE_CODES: InstallCode => Update {
        set: "superseded_at = {superseded_at}",
        filter: "tenant_id = {tenant_id} AND kind = 'install' \
                 AND consumed_at IS NULL AND superseded_at IS NULL",
    };
    SUPERSEDE_ACTIVATION_CODES: InstallCode => Update {
        set: "superseded_at = {superseded_at}",
        filter: "entitlement_id = {entitlement_id} AND kind = 'activation' \
                 AND consumed_at IS NULL AND superseded_at IS NULL",
    };
    INSERT_TENANT: Tenant => Insert;
    UPDATE_TENANT: Tenant => Replace;
    INSERT_ENTITLEMENT: Entitlement => Insert;
    UPDATE_ENTITLEMENT: Entitlement => Replace;
    /// A code that is not unused keeps or gets no `consumed_at`, which violates a constraint of the
    /// row because `consumed_by` is set: the change fails.
    CONSUME_CODE: InstallCode => Update {
        set: "consumed_at = CASE WHEN consumed_at IS NULL AND superseded_at IS NULL \
              THEN {consumed_at} END, consumed_by = {consumed_by}, tenant_id = {tenant_id}",
        filter: "id = {id}",
    };
    INSERT_CODE: InstallCode => Insert;
    DELETE_CREDENTIALS: Credential => Delete {
        filter: "tenant_id = {tenant_id} AND appliance_id = {appliance_id}",
    };
    UPDATE_CREDENTIAL: Credential => Replace;
    RETIRE_CREDENTIALS: Credential => Delete {
        filter: "tenant_id = {tenant_id} AND appliance_id = {appliance_id} \
                 AND (registration < {registration} \
                      OR registration = {registration} AND issued_at <= {issued_at}) \
                 AND digest <> {digest} AND sequence IS NULL",
    };
    REPLACE_CREDENTIALS: Credential => Update {
        set: "replaced_at = {replaced_at}",
        filter: "tenant_id = {tenant_id} AND appliance_id = {appliance_id} \
                 AND registration < {registration} AND sequence IS NOT NULL",
    };
    CLEAR_LICENSES: Appliance => Update {
        set: "license_sub = NULL, license_customer = NULL, license_tier = NULL, \
              license_seats = NULL, license_expires_at = NULL",
        filter: "tenant_id = {tenant_id}",
    };
    RECORD_CHECK_IN: Appliance => Update {
        set: "last_check_in_at = CASE WHEN last_check_in_at > {last_check_in_at} \
              THEN last_check_in_at ELSE {last_check_in_at} END",
        filter: "tenant_id = {tenant_id} AND id = {id}",
    };
    /// The time of the last check-in is only changed by [`RECORD_CHECK_IN`], which needs no lock on
    /// the tenant.
    PUT_APPLIANCE: Appliance => Upsert { kept: &["registered_at", "last_check_in_at"] };
    INSERT_CREDENTIAL: Credential => Insert;
    DISCARD_MAILS: QueuedMail => Update {
        set: "state = 'discarded', settled_at = {settled_at}, sealed = NULL, sealed_key_id = NULL",
        filter: "tenant_id = {tenant_id} AND state IN ('queued', 'dead') \
                 AND kind IN ('install_code', 'install_code_reissued')",
    };
    UPDATE_MAIL: QueuedMail => Replace;
    INSERT_MAIL: QueuedMail => Insert;
    PUT_RELEASE: Release => Upsert { kept: &[] };
    DELETE_CHANNEL: CurrentRelease => Delete { filter: "name = {name}" };
    PUT_CHANNEL: CurrentRelease => Upsert { kept: &[] };
    USE_SIGN_IN: SignIn => Update { set: "used_at = {used_at}", filter: "digest = {digest}" };
    DELETE_SIGN_IN: SignIn => Delete { filter: "digest = {digest}" };
    DELETE_SIGN_INS: SignIn => Delete { filter: "role = {role} AND visitor = {visitor}" };
    DELETE_SIGN_INS_OF_KIND: SignIn => Delete {
        filter: "role = {role} AND visitor = {visitor} AND kind = {kind}",
    };
    INSERT_SIGN_IN: SignIn => Insert;
    INSERT_REPLAY: ReplayRecord => Insert;
    INSERT_AUDIT: AuditEntry => Insert;
    COUNT_AUDIT: AuditEntry => InsertOr {
        end: "(count_key) WHERE count_key IS NOT NULL DO UPDATE SET count = audit.count + 1",
    };
}

impl Shape {
    fn row(&'static self, row: &impl Table) -> Converted<Vec<Change>> {
        Ok(vec![Change { shape: self, values: row.values()? }])
    }

    fn with<const N: usize>(&'static self, values: [Value; N]) -> Vec<Change> {
        vec![Change { shape: self, values: values.into() }]
    }
}

/// Returns the changes that a write makes, in order.
pub(super) fn changes(write: &Write) -> Converted<Vec<Change>> {
    Ok(match write {
        Write::InsertTenant(it) => INSERT_TENANT.row(&**it)?,
        Write::UpdateTenant(it) => UPDATE_TENANT.row(&**it)?,
        Write::InsertEntitlement(it) => INSERT_ENTITLEMENT.row(&**it)?,
        Write::UpdateEntitlement(it) => UPDATE_ENTITLEMENT.row(&**it)?,
        Write::InsertCode(it) => INSERT_CODE.row(&**it)?,
        Write::ConsumeCode { code, consumption: it, tenant } => CONSUME_CODE.with([
            it.at.into(),
            it.by.as_str().into(),
            (*tenant).into(),
            (*code).into(),
        ]),
        Write::SupersedeCodes { tenant, at } => {
            SUPERSEDE_CODES.with([(*at).into(), (*tenant).into()])
        }
        Write::SupersedeActivationCodes { entitlement, at } => {
            SUPERSEDE_ACTIVATION_CODES.with([(*at).into(), (*entitlement).into()])
        }
        Write::PutAppliance(it) => PUT_APPLIANCE.row(&**it)?,
        Write::RecordCheckIn { tenant, appliance, at } => {
            RECORD_CHECK_IN.with([(*at).into(), (*tenant).into(), appliance.as_str().into()])
        }
        Write::ClearLicenses { tenant } => CLEAR_LICENSES.with([(*tenant).into()]),
        Write::DeleteCredentials { tenant, appliance } => {
            DELETE_CREDENTIALS.with([(*tenant).into(), appliance.as_str().into()])
        }
        Write::InsertCredential(it) => INSERT_CREDENTIAL.row(it)?,
        Write::UpdateCredential(it) => UPDATE_CREDENTIAL.row(&**it)?,
        Write::RetireCredentials { credential: it, at } => {
            let tenant = || Value::from(it.tenant_id);
            let appliance = || Value::from(it.appliance_id.as_str());
            let registration = Value::from(it.registration.store()?);
            let (issued_at, digest) = (it.issued_at.into(), it.digest.0.into());
            let mut changes = RETIRE_CREDENTIALS.with([
                tenant(),
                appliance(),
                registration.clone(),
                issued_at,
                digest,
            ]);
            let replaced = [(*at).into(), tenant(), appliance(), registration];
            changes.extend(REPLACE_CREDENTIALS.with(replaced));
            changes
        }
        Write::EnqueueMail(it) => INSERT_MAIL.row(&**it)?,
        Write::UpdateMail(it) => UPDATE_MAIL.row(&**it)?,
        Write::DiscardMails { tenant, at } => DISCARD_MAILS.with([(*at).into(), (*tenant).into()]),
        Write::AppendAudit(it) if it.count_key().is_some() => COUNT_AUDIT.row(&**it)?,
        Write::AppendAudit(it) => INSERT_AUDIT.row(&**it)?,
        Write::PutReplay(it) => {
            let (key, now) = (it.request.key_digest.into(), it.request.now.into());
            let mut changes =
                DELETE_EXPIRED_REPLAY.with([it.request.scope.as_str().into(), key, now]);
            changes.extend(INSERT_REPLAY.row(&**it)?);
            changes
        }
        Write::PutRelease(it) => PUT_RELEASE.row(&**it)?,
        Write::SetCurrent { channel, release: Some(release) } => {
            PUT_CHANNEL.row(&CurrentRelease { name: channel.clone(), release_id: *release })?
        }
        Write::SetCurrent { channel, release: None } => {
            DELETE_CHANNEL.with([channel.as_str().into()])
        }
        Write::SignIn(SignInWrite::Insert(it)) => INSERT_SIGN_IN.row(&**it)?,
        Write::SignIn(SignInWrite::Use { session, at }) => {
            USE_SIGN_IN.with([(*at).into(), session.0.into()])
        }
        Write::SignIn(SignInWrite::Delete(digest)) => DELETE_SIGN_IN.with([digest.0.into()]),
        Write::SignIn(SignInWrite::DeleteAll { principal: it, kind }) => {
            let (role, visitor) = (it.role.as_str().into(), it.name.as_str().into());
            match kind {
                None => DELETE_SIGN_INS.with([role, visitor]),
                Some(kind) => DELETE_SIGN_INS_OF_KIND.with([role, visitor, kind.as_str().into()]),
            }
        }
    })
}
