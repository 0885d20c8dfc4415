//! The reference bootstrap of an appliance: what a product does with the two Secrets at its first
//! start, in its own database ([rules](../../../docs/wire-contract.md#bootstrap)). A product takes
//! it over, or does the same in its own way.
//!
//! [`Environment`] reads the Secrets' values, [`plan`] decides what is missing, [`bootstrap`]
//! writes that in one transaction: the tenant under the registry's id, its administrator, and the
//! one row of `license_state`. Run again, it does nothing. [`effective_tier`] then says what the
//! product may do.
//!
//! It knows no cluster and no registry.

mod database;
mod environment;
mod plan;
mod tier;

pub use database::{BootstrapError, Bootstrapped, bootstrap, license_row};
pub use environment::{EditionChoice, Environment, EnvironmentError};
pub use plan::{Draws, Found, NewTenant, Plan, Refusal, plan};
pub use tier::{Because, LicenseRow, Tier, effective_tier};
