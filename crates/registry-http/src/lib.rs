//! The registry over HTTP: the JSON API of `docs/wire-contract.md`, the download links of a local
//! blob store, OpenAPI.
//!
//! Handlers hold no rule: they turn wire types into a use case's words, and its result or refusal
//! back. Every answer that is an error leaves in one form, whoever made it (the module `frame`).
//!
//! To add an endpoint: 1. its wire types in registry-api; 2. a file in `endpoints` with its handler
//! and its `#[utoipa::path]`; 3. one `routes!` line in `endpoints::routes`; 4. its section in
//! `docs/wire-contract.md`, and tests that cite it.

mod app;
mod auth;
mod door;
mod endpoints;
mod frame;
mod idempotency;
mod json;
mod metrics;
mod page;
mod problem;
mod router;
mod serve;
mod source;
mod tokens;

pub use app::{App, HttpSettings};
pub use door::{Door, DoorError, DoorSettings};
pub use endpoints::openapi;
pub use router::router;
pub use serve::serve;
pub use tokens::{AdmittedToken, ServiceTokens};
