//! The registry over HTTP: the JSON API of `docs/wire-contract.md`, the download links of a local
//! blob store, OpenAPI.
//!
//! Handlers hold no rule: they turn wire types into a use case's words, and its result or refusal
//! back. Every answer that is an error leaves in one form, whoever made it (the module `frame`).
//!
//! To add an endpoint: 1. its wire types in registry-api; 2. a file in `endpoints` with its handler
//! and its `#[utoipa::path]`; 3. one `routes!` line in `endpoints::routes`; 4. its section in
//! `docs/wire-contract.md`, and tests that cite it.

mod api;
mod app;
mod auth;
mod idempotency;
mod json;
mod metrics;
mod middleware;
mod problem;
mod problem_page;
mod router;
mod serve;
mod source;
mod tokens;
mod web;

pub use api::openapi;
pub use app::{AppState, HttpSettings};
pub use router::router;
pub use serve::serve;
pub use tokens::{AdmittedToken, ServiceTokens};
pub use web::{WebPages, WebPagesError, WebSettings};
