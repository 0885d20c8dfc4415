//! The shapes of all changes, in the order in which they are written.

use registry_core::appliance::{Appliance, Credential};
use registry_core::audit::AuditEntry;
use registry_core::entitlement::Entitlement;
use registry_core::install_code::InstallCode;
use registry_core::mail::QueuedMail;
use registry_core::release::Release;
use registry_core::sign_in::SignIn;
use registry_core::store::ReplayRecord;
use registry_core::tenant::Tenant;

use super::sql::ShapeKind::{Delete, Insert, Replace, Update, Upsert};
use super::sql::{Shape, Text};
use crate::table::Table;
use crate::tables::CurrentRelease;

macro_rules! shapes {
    ($($(#[$doc:meta])* $name:ident: $table:ty => $kind:expr;)+) => {
        pub(super) static ORDER: &[&Shape] = &[$(&$name),+];

        $(
            $(#[$doc])*
            pub(super) static $name: Shape = Shape {
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
    USE_CREDENTIAL: Credential => Update {
        set: "first_used_at = {first_used_at}",
        filter: "digest = {digest} AND first_used_at IS NULL",
    };
    RETIRE_CREDENTIALS: Credential => Delete {
        filter: "tenant_id = {tenant_id} AND appliance_id = {appliance_id} \
                 AND issued_at <= {issued_at} AND digest <> {digest}",
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
}
