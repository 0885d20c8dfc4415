//! One file for each table: its row, and the conversions from and to domain values. A row that
//! cannot be converted is reported as damage.

mod appliances;
mod audit;
mod credentials;
mod entitlements;
mod install_codes;
mod mails;
mod releases;
mod replays;
mod sign_ins;
mod tenants;

use crate::table::{Row, TableInfo, table};
use crate::types::SqlId;

pub use appliances::ApplianceRow;
pub use audit::AuditRow;
pub use credentials::CredentialRow;
pub use entitlements::EntitlementRow;
pub use install_codes::CodeRow;
pub use mails::MailRow;
pub use releases::ReleaseRow;
pub use replays::ReplayRow;
pub use sign_ins::SignInRow;
pub use tenants::TenantRow;

table!(
    /// The current release of a channel.
    ChannelRow of "channels", key ["name"] {
        name: String,
        release_id: SqlId,
    }
);

table!(
    /// The only row of `probes`, which readiness writes to find out whether the database accepts a
    /// write.
    ProbeRow of "probes", key ["id"] {
        id: i32,
        writes: i64,
    }
);

table!(
    /// The only row of `rings`: the master key of the process that started last. Every other
    /// process must have it in its ring.
    RingRow of "rings", key ["id"] {
        id: i32,
        key_id: String,
    }
);

/// The schema: all tables.
pub const TABLES: [&TableInfo; 13] = [
    TenantRow::TABLE,
    EntitlementRow::TABLE,
    CodeRow::TABLE,
    ApplianceRow::TABLE,
    CredentialRow::TABLE,
    MailRow::TABLE,
    AuditRow::TABLE,
    ReplayRow::TABLE,
    ReleaseRow::TABLE,
    ChannelRow::TABLE,
    SignInRow::TABLE,
    ProbeRow::TABLE,
    RingRow::TABLE,
];
