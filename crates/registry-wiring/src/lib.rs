//! Wires the registry: the configuration, the data folder with its keys, the operating system's
//! clock and entropy, the adapters, and the background workers.
//!
//! Only this crate knows which adapter implements which port.

mod backup;
mod blobs;
mod build;
mod check;
pub mod config;
mod data;
mod database;
mod file_system;
mod keys;
mod mail;
mod os;
mod tokens;
mod watch;
mod worker;

pub use backup::{BackedUp, Manifest, backup, restore};
pub use build::{App, build};
pub use check::check;
pub use config::{Algorithm, Config};
pub use data::{DataFolder, Disk};
pub use database::{Migrated, database_clock_skew, migrate};
pub use keys::{LicenseKeys, WatchedRing};
pub use mail::{brand, preview, send_sample};
pub use registry_license::{KeyEntry, RequestError, read_request};
pub use registry_mail_smtp::{MailKind, Rendered};
pub use tokens::{TokenEntry, TokenRole, Tokens};
pub use watch::watch;
pub use worker::{deliver_mail, sweep, sweep_kind};
