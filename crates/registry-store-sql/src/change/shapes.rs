//! The shapes of all changes.

use super::Filter::{Column, Sql};
use super::ShapeKind::{Delete, Insert, Replace, Update, Upsert};
use super::{Set, Shape};
use crate::table::Row as _;
use crate::tables::{
    ApplianceRow, AuditRow, ChannelRow, CodeRow, CredentialRow, EntitlementRow, MailRow,
    ReleaseRow, ReplayRow, SignInRow, TenantRow,
};

/// All shapes, in the order in which their changes are written.
pub(super) static ORDER: [&Shape; 29] = [
    &DELETE_EXPIRED_REPLAY,
    &SUPERSEDE_CODES,
    &SUPERSEDE_ACTIVATION_CODES,
    &INSERT_TENANT,
    &UPDATE_TENANT,
    &INSERT_ENTITLEMENT,
    &UPDATE_ENTITLEMENT,
    &CONSUME_CODE,
    &INSERT_CODE,
    &DELETE_CREDENTIALS,
    &USE_CREDENTIAL,
    &RETIRE_CREDENTIALS,
    &CLEAR_LICENSES,
    &RECORD_CHECK_IN,
    &PUT_APPLIANCE,
    &INSERT_CREDENTIAL,
    &DISCARD_MAILS,
    &UPDATE_MAIL,
    &INSERT_MAIL,
    &PUT_RELEASE,
    &DELETE_CHANNEL,
    &PUT_CHANNEL,
    &USE_SIGN_IN,
    &DELETE_SIGN_IN,
    &DELETE_SIGN_INS,
    &DELETE_SIGN_INS_OF_KIND,
    &INSERT_SIGN_IN,
    &INSERT_REPLAY,
    &INSERT_AUDIT,
];

pub(super) static INSERT_TENANT: Shape = Shape { table: TenantRow::TABLE, kind: Insert };
pub(super) static UPDATE_TENANT: Shape = Shape { table: TenantRow::TABLE, kind: Replace };
pub(super) static INSERT_ENTITLEMENT: Shape = Shape { table: EntitlementRow::TABLE, kind: Insert };
pub(super) static UPDATE_ENTITLEMENT: Shape = Shape { table: EntitlementRow::TABLE, kind: Replace };
pub(super) static INSERT_CODE: Shape = Shape { table: CodeRow::TABLE, kind: Insert };

/// Condition of a code that was neither consumed nor superseded.
const IS_UNUSED: &str = "consumed_at IS NULL AND superseded_at IS NULL";

/// A code that is not unused keeps or gets no `consumed_at`, which violates a constraint of the row
/// because `consumed_by` is set: the change fails.
pub(super) static CONSUME_CODE: Shape = Shape {
    table: CodeRow::TABLE,
    kind: Update {
        set: &[
            ("consumed_at", "CASE WHEN consumed_at IS NULL AND superseded_at IS NULL THEN {} END"),
            ("consumed_by", "{}"),
            ("tenant_id", "{}"),
        ],
        filter: &[Column("id", "=")],
    },
};

const SUPERSEDED: &[Set] = &[("superseded_at", "{}")];

pub(super) static SUPERSEDE_CODES: Shape = Shape {
    table: CodeRow::TABLE,
    kind: Update {
        set: SUPERSEDED,
        filter: &[Column("tenant_id", "="), Sql("kind = 'install'"), Sql(IS_UNUSED)],
    },
};
pub(super) static SUPERSEDE_ACTIVATION_CODES: Shape = Shape {
    table: CodeRow::TABLE,
    kind: Update {
        set: SUPERSEDED,
        filter: &[Column("entitlement_id", "="), Sql("kind = 'activation'"), Sql(IS_UNUSED)],
    },
};

/// The time of the last check-in is only changed by [`RECORD_CHECK_IN`], which needs no lock on the
/// tenant.
pub(super) static PUT_APPLIANCE: Shape = Shape {
    table: ApplianceRow::TABLE,
    kind: Upsert { kept: &["registered_at", "last_check_in_at"] },
};
pub(super) static RECORD_CHECK_IN: Shape = Shape {
    table: ApplianceRow::TABLE,
    kind: Update {
        set: &[(
            "last_check_in_at",
            "CASE WHEN last_check_in_at > {} THEN last_check_in_at ELSE {} END",
        )],
        filter: &[Column("tenant_id", "="), Column("id", "=")],
    },
};
pub(super) static CLEAR_LICENSES: Shape = Shape {
    table: ApplianceRow::TABLE,
    kind: Update {
        set: &[
            ("license_sub", "{}"),
            ("license_customer", "{}"),
            ("license_tier", "{}"),
            ("license_seats", "{}"),
            ("license_expires_at", "{}"),
        ],
        filter: &[Column("tenant_id", "=")],
    },
};

pub(super) static INSERT_CREDENTIAL: Shape = Shape { table: CredentialRow::TABLE, kind: Insert };
pub(super) static DELETE_CREDENTIALS: Shape = Shape {
    table: CredentialRow::TABLE,
    kind: Delete { filter: &[Column("tenant_id", "="), Column("appliance_id", "=")] },
};
pub(super) static USE_CREDENTIAL: Shape = Shape {
    table: CredentialRow::TABLE,
    kind: Update {
        set: &[("first_used_at", "{}")],
        filter: &[Column("digest", "="), Sql("first_used_at IS NULL")],
    },
};
pub(super) static RETIRE_CREDENTIALS: Shape = Shape {
    table: CredentialRow::TABLE,
    kind: Delete {
        filter: &[
            Column("tenant_id", "="),
            Column("appliance_id", "="),
            Column("issued_at", "<="),
            Column("digest", "<>"),
        ],
    },
};

pub(super) static INSERT_MAIL: Shape = Shape { table: MailRow::TABLE, kind: Insert };
pub(super) static UPDATE_MAIL: Shape = Shape { table: MailRow::TABLE, kind: Replace };
pub(super) static DISCARD_MAILS: Shape = Shape {
    table: MailRow::TABLE,
    kind: Update {
        set: &[("state", "{}"), ("settled_at", "{}"), ("sealed", "{}"), ("sealed_key_id", "{}")],
        filter: &[
            Column("tenant_id", "="),
            Sql("state IN ('queued', 'dead')"),
            Sql("kind IN ('install_code', 'install_code_reissued')"),
        ],
    },
};

pub(super) static INSERT_AUDIT: Shape = Shape { table: AuditRow::TABLE, kind: Insert };

pub(super) static DELETE_EXPIRED_REPLAY: Shape = Shape {
    table: ReplayRow::TABLE,
    kind: Delete {
        filter: &[Column("scope", "="), Column("key_digest", "="), Column("expires_at", "<=")],
    },
};
pub(super) static INSERT_REPLAY: Shape = Shape { table: ReplayRow::TABLE, kind: Insert };

pub(super) static PUT_RELEASE: Shape =
    Shape { table: ReleaseRow::TABLE, kind: Upsert { kept: &[] } };
pub(super) static PUT_CHANNEL: Shape =
    Shape { table: ChannelRow::TABLE, kind: Upsert { kept: &[] } };
pub(super) static DELETE_CHANNEL: Shape =
    Shape { table: ChannelRow::TABLE, kind: Delete { filter: &[Column("name", "=")] } };

pub(super) static INSERT_SIGN_IN: Shape = Shape { table: SignInRow::TABLE, kind: Insert };
pub(super) static USE_SIGN_IN: Shape = Shape {
    table: SignInRow::TABLE,
    kind: Update { set: &[("used_at", "{}")], filter: &[Column("digest", "=")] },
};
pub(super) static DELETE_SIGN_IN: Shape =
    Shape { table: SignInRow::TABLE, kind: Delete { filter: &[Column("digest", "=")] } };
pub(super) static DELETE_SIGN_INS: Shape = Shape {
    table: SignInRow::TABLE,
    kind: Delete { filter: &[Column("role", "="), Column("visitor", "=")] },
};
pub(super) static DELETE_SIGN_INS_OF_KIND: Shape = Shape {
    table: SignInRow::TABLE,
    kind: Delete { filter: &[Column("role", "="), Column("visitor", "="), Column("kind", "=")] },
};
