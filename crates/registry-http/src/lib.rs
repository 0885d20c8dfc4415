//! The registry over HTTP: the JSON API of `docs/wire-contract.md` with its OpenAPI description,
//! the download links of a local blob store, and the web pages.
//!
//! Handlers contain no rules. They convert a request into the types of a use case, and its result
//! or refusal into a response. `middleware::errors` gives all errors the same form.
//!
//! To add an endpoint: 1. add its wire types to registry-api; 2. add a file to `api` with its
//! handler and its `#[utoipa::path]`; 3. add one `routes!` line to `api::routes`; 4. add its
//! section to `docs/wire-contract.md`, and tests that cite the section's rules.

mod api;
mod app;
mod auth;
mod idempotency;
mod json;
mod metrics;
mod middleware;
mod origin;
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
pub use tokens::{AcceptedToken, ServiceTokens};
pub use web::{WebPages, WebPagesError, WebSettings};
