//! The first-boot engine of an appliance. It redeems an install code exactly once, even after
//! crashes and network failures, and passes the identity to the product as two Kubernetes Secrets.
//!
//! [`Install`] stores each step on disk before it takes the step, so an installation continues
//! after a crash at any point. The code is redeemed under an `Idempotency-Key` that was stored
//! before the first request, and the response is stored before it is used. Once a code was entered,
//! no failure lets the appliance create a tenant without the registry.
//!
//! [`RedeemClient`] separates errors that the installer can correct (a refused code) from errors
//! that a retry may resolve ([`ServiceError`]).
//!
//! After the installation, a licensed appliance checks in ([`CheckIns`]) at the time that the
//! registry requests, and delivers each new license to the product.

mod address;
mod appliance_id;
mod attempted_codes;
mod check_in;
mod check_in_outcome;
mod client;
mod clock;
mod http_response;
mod install;
mod json;
mod license_state;
mod network;
mod offline;
mod product;
mod proxy;
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
pub use install::{Install, InstallError, Next, PRODUCT, Step, SubmitError};
pub use license_state::{LicenseState, LicenseStatus};
pub use offline::{AnswerError, RequestError, VerifiedAnswer, answer, request};
pub use product::{Files, Image, Job, Kubectl, Product};
pub use redemption::{
    Identity, Licensed, RedeemClient, RedeemOutcome, RedeemRequest, Refusal, UnverifiedIdentity,
    UnverifiedLicense,
};
pub use schedule::Schedule;
pub use secret::SecretText;
pub use secrets::{Manifests, manifests};
pub use service_error::ServiceError;
pub use setup_form::{Admin, EditionChoice, ProvisioningMethod, SetupForm};
pub use store::{Lock, StoreError, load_state, save_state};
pub use trust::{KEYS, Trust};
