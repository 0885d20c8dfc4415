//! The first-boot engine of an appliance: redeems an install code once, whatever happens on the
//! way, and hands the identity on as two Secrets.
//!
//! Every step is written down before it is taken ([`Install`]), so that a crash at any point goes
//! on where it was: the code is redeemed under an `Idempotency-Key` that was written down before
//! its first call, and the answer is written down before anything is done with it. Once a code was
//! entered, no failure leads to a tenant of the appliance's own.
//!
//! What the registry says ([`Redeeming`]) is told apart by what the operator can do: correct the
//! form, or wait.
//!
//! Afterwards a licensed appliance checks in ([`CheckIns`]), when the registry asks it to, and
//! hands each new license on.

mod answer;
mod appliance_id;
mod check_in;
mod client;
mod clock;
mod entered;
mod held;
mod install;
mod network;
mod offline;
mod outcome;
mod product;
mod said;
mod schedule;
mod secret;
mod secrets;
mod store;
mod tried;
mod trouble;
mod trust;

pub use appliance_id::appliance_id;
pub use check_in::{CheckIns, CheckingIn, held};
pub use client::{Client, ClientError};
pub use clock::{Clock, SystemClock};
pub use entered::{Admin, EditionChoice, Entered, Way};
pub use held::{Held, Standing};
pub use install::{Install, InstallError, Next, PRODUCT, Product, Step, SubmitError};
pub use offline::{AnswerError, Answered, RequestError, answer, request};
pub use outcome::{Claimed, Identity, Licensed, Outcome, Paid, Redeeming, Refused, Request};
pub use product::{Files, Image, Job, Kubectl};
pub use said::Said;
pub use schedule::Schedule;
pub use secret::SecretText;
pub use secrets::{Manifests, manifests};
pub use store::{Lock, StoreError, keep, kept};
pub use trouble::Trouble;
pub use trust::{KEYS, Trust};
