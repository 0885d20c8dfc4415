//! The JSON API: one file per endpoint, with its handler, its OpenAPI description and the
//! conversion to and from the wire types.

mod aliases;
mod check_in;
mod claim_codes;
pub(crate) mod docs;
mod download;
mod download_manifest;
mod files;
mod healthz;
mod jwks;
mod list_tenants;
mod metrics;
mod rate_limits;
mod readyz;
mod register;
mod register_tenant;
mod reissue;
mod revoke;
mod show_tenant;
mod sign;
mod verify_appliance;

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::StatusCode;
use registry_api::{ErrorCode, IssuedCode, Problem};
use registry_core::results::Issued;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::AppState;
use crate::problem::ApiError;

fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(register_tenant::register_tenant))
        .routes(routes!(register::register))
        .routes(routes!(check_in::check_in))
        .routes(routes!(reissue::reissue))
        .routes(routes!(sign::sign))
        .routes(routes!(claim_codes::claim_codes))
        .routes(routes!(revoke::revoke))
        .routes(routes!(verify_appliance::verify_appliance))
        .routes(routes!(list_tenants::list_tenants))
        .routes(routes!(show_tenant::show_tenant))
        .routes(routes!(download::follow))
        .routes(routes!(download_manifest::manifest))
        .routes(routes!(files::download))
        .routes(routes!(healthz::healthz))
        .routes(routes!(readyz::readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(rate_limits::list, rate_limits::clear))
        .routes(routes!(jwks::jwks))
}

/// The error of a query that cannot be parsed.
fn unreadable_query(_: QueryRejection) -> ApiError {
    let text = "A query parameter is invalid, or is given twice.";
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::InvalidRequest, text)
}

/// Returns the routes and their OpenAPI description.
pub(crate) fn routes_and_description() -> (axum::Router<AppState>, utoipa::openapi::OpenApi) {
    let (router, mut api) = routes().split_for_parts();
    // The router's pattern for a path with slashes is not valid in OpenAPI.
    if let Some(download) = api.paths.paths.remove("/files/{*key}") {
        api.paths.paths.insert("/files/{key}".to_owned(), download);
    }
    (router, api)
}

/// The OpenAPI description of the whole API.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes_and_description().1
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Appliance Registry",
        description = "Registers tenants, redeems install codes, re-issues them."
    ),
    modifiers(&ServiceBearer),
    components(schemas(Problem))
)]
struct Description;

struct ServiceBearer;

impl Modify for ServiceBearer {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A service token"))
            .build();
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("service", SecurityScheme::Http(bearer));
    }
}

/// Errors of every endpoint that takes JSON.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only describes responses")]
enum JsonProblems {
    #[response(
        status = 400,
        description = "`invalid_request`: not JSON",
        content_type = "application/problem+json"
    )]
    Unparsable(Problem),
    #[response(
        status = 413,
        description = "`payload_too_large`",
        content_type = "application/problem+json"
    )]
    TooLarge(Problem),
    #[response(
        status = 415,
        description = "`unsupported_media_type`",
        content_type = "application/problem+json"
    )]
    MediaType(Problem),
}

/// Errors of every endpoint that uses the store.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only describes responses")]
enum ServerProblems {
    #[response(
        status = 500,
        description = "`internal_error`",
        content_type = "application/problem+json"
    )]
    Internal(Problem),
    #[response(
        status = 503,
        description = "`overloaded`, with Retry-After",
        content_type = "application/problem+json"
    )]
    Overloaded(Problem),
}

/// Errors of every endpoint for services.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only describes responses")]
enum ServiceProblems {
    #[response(
        status = 401,
        description = "`unauthorized`",
        content_type = "application/problem+json"
    )]
    Unauthorized(Problem),
}

/// The response with a new install code.
fn issued_code(issued: Issued) -> Json<IssuedCode> {
    Json(IssuedCode {
        tenant_id: issued.tenant_id.0,
        install_code: issued.code.grouped().to_string(),
        download_url: issued.download.map(|link| link.expose().to_owned()).unwrap_or_default(),
        expires_at: issued.expires_at.timestamp(),
    })
}

/// The text in a path. Text that is not UTF-8 becomes empty, which core refuses like any other text
/// that names nothing.
fn path_text(path: Result<Path<String>, PathRejection>) -> String {
    path.map(|Path(text)| text).unwrap_or_default()
}
