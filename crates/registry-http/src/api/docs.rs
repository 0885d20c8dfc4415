//! `/openapi.json`, and `/docs`: the API's documentation for a browser.

use axum::Router;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

use crate::app::AppState;

pub(crate) fn routes(api: OpenApi) -> Router<AppState> {
    SwaggerUi::new("/docs").url("/openapi.json", api).into()
}
