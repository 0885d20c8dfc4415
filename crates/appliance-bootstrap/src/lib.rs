//! The reference bootstrap of an appliance: at its first start, a product writes the values of the
//! two Secrets to its own database ([rules](../../../docs/wire-contract.md#bootstrap)). A product
//! uses this crate, or implements the same rules itself.
//!
//! [`Environment`] reads the values of the Secrets. [`plan`] decides what is missing.
//! [`bootstrap`] writes it in one transaction: the tenant under the registry's id, its
//! administrator, and the one row of `license_state`. A second run writes nothing.
//! [`effective_tier`] returns the tier that the product may offer.
//!
//! The crate calls neither the cluster nor the registry.

mod database;
mod environment;
mod plan;
mod tier;

pub use database::{BootstrapError, BootstrapOutcome, bootstrap, license_row};
pub use environment::{EditionChoice, Environment, EnvironmentError};
pub use plan::{ExistingData, GeneratedValues, NewTenant, Plan, Refusal, plan};
pub use tier::{LicenseRow, Tier, TierReason, effective_tier};
