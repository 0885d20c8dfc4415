//! The tables: one file for each one whose rows are values of the domain.

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

use registry_core::appliance::{Appliance, Credential};
use registry_core::audit::AuditEntry;
use registry_core::entitlement::Entitlement;
use registry_core::id::ReleaseId;
use registry_core::install_code::InstallCode;
use registry_core::mail::QueuedMail;
use registry_core::release::Release;
use registry_core::secret::KeyId;
use registry_core::sign_in::SignIn;
use registry_core::store::ReplayRecord;
use registry_core::tenant::Tenant;
use registry_core::text::Channel;

use crate::table::{Table, TableInfo, table};

/// The current release of a channel.
#[derive(Debug)]
pub struct CurrentRelease {
    /// The channel.
    pub name: Channel,
    /// The release.
    pub release_id: ReleaseId,
}

table!(
    CurrentRelease of "channels", key ["name"] {
        name: Channel,
        release_id: ReleaseId,
    }
);

/// The only row of `probes`, which readiness writes to find out whether the database accepts a
/// write.
#[derive(Debug)]
pub struct ProbeRow {
    id: i32,
    writes: i64,
}

table!(
    ProbeRow of "probes", key ["id"] {
        id: i32,
        writes: i64,
    }
);

/// The only row of `rings`: the master key of the process that started last. Every other process
/// must have it in its ring.
#[derive(Debug)]
pub struct RingRow {
    id: i32,
    key_id: KeyId,
}

table!(
    RingRow of "rings", key ["id"] {
        id: i32,
        key_id: KeyId,
    }
);

/// The schema: all tables.
pub const TABLES: [&TableInfo; 13] = [
    Tenant::TABLE,
    Entitlement::TABLE,
    InstallCode::TABLE,
    Appliance::TABLE,
    Credential::TABLE,
    QueuedMail::TABLE,
    AuditEntry::TABLE,
    ReplayRecord::TABLE,
    Release::TABLE,
    CurrentRelease::TABLE,
    SignIn::TABLE,
    ProbeRow::TABLE,
    RingRow::TABLE,
];
