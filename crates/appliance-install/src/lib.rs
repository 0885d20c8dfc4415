//! The first-boot engine of an appliance: redeems an install code once, whatever happens on the
//! way, and hands the identity on as two Secrets.
//!
//! Every step is written down before it is taken ([`Install`]), so that a crash at any point goes
//! on where it was: the code is redeemed under an `Idempotency-Key` that was written down before
//! its first call, and the answer is written down before anything is done with it. Once a code was
//! entered, no failure leads to a tenant of the appliance's own.
//!
//! What the registry says ([`RedeemClient`]) is told apart by what the operator can do: correct the
//! form, or wait.
//!
//! Afterwards a licensed appliance checks in ([`CheckIns`]), when the registry asks it to, and
//! hands each new license on.

mod appliance_id;
mod attempted_codes;
mod check_in;
mod check_in_outcome;
mod client;
mod clock;
mod http_response;
mod install;
mod license_state;
mod network;
mod offline;
mod product;
mod redemption;
mod schedule;
mod secret;
mod secrets;
mod service_error;
mod setup_form;
mod store;
mod trust;

pub use appliance_id::appliance_id;
pub use check_in::{CheckInClient, CheckIns, license_state};
pub use check_in_outcome::CheckInOutcome;
pub use client::{Client, ClientError};
pub use clock::{Clock, SystemClock};
pub use install::{Install, InstallError, Next, PRODUCT, Product, Step, SubmitError};
pub use license_state::{LicenseState, LicenseStatus};
pub use offline::{AnswerError, Answered, RequestError, answer, request};
pub use product::{Files, Image, Job, Kubectl};
pub use redemption::{
    Identity, Licensed, RedeemClient, RedeemOutcome, RedeemRequest, Refused, UnverifiedIdentity,
    UnverifiedLicense,
};
pub use schedule::Schedule;
pub use secret::SecretText;
pub use secrets::{Manifests, manifests};
pub use service_error::ServiceError;
pub use setup_form::{Admin, EditionChoice, ProvisioningMethod, SetupForm};
pub use store::{Lock, StoreError, keep, kept};
pub use trust::{KEYS, Trust};
