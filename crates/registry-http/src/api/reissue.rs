//! `POST /install-codes/reissue`

use axum::Json;
use axum::extract::State;
use registry_api::{IssuedCode, Problem, ReissueRequest};
use registry_core::registry::reissue::Reissue;
use registry_core::store::TenantSelector;

use super::{JsonProblems, ServerProblems, ServiceProblems, issued_code};
use crate::app::AppState;
use crate::auth::Service;
use crate::idempotency::Idempotency;
use crate::json::ApiJson;
use crate::problem::ApiError;

/// Re-issues a tenant's install code. The new code installs the same tenant again, and replaces the
/// tenant's unused codes.
#[utoipa::path(
    post, path = "/install-codes/reissue", tag = "services", security(("service" = [])),
    request_body = ReissueRequest,
    responses(
        (status = 200, description = "Re-issued", body = IssuedCode),
        (status = 403, description = "`tenant_suspended`",
         body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`tenant_not_found`",
         body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`ambiguous_contact`",
         body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`; `reason` names the field",
         body = Problem, content_type = "application/problem+json"),
        JsonProblems, ServerProblems, ServiceProblems,
    )
)]
pub(crate) async fn reissue(
    State(app): State<AppState>,
    Service(actor): Service,
    idempotency: Idempotency,
    ApiJson(request): ApiJson<ReissueRequest>,
) -> Result<Json<IssuedCode>, ApiError> {
    let key = idempotency.key("POST /install-codes/reissue", &actor.name, &request);
    let reissue = Reissue {
        selector: TenantSelector::parse(
            request.tenant_id.map(Into::into),
            request.contact_email.as_deref(),
        )?,
        strict: request.strict.unwrap_or(false),
        send_email: request.send_email.unwrap_or(true),
        mail_only: false,
        key,
    };
    Ok(issued_code(app.registry.code_reissue(reissue, actor).await?))
}
