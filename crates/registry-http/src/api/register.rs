//! `POST /register`

use axum::Json;
use axum::extract::State;
use registry_api::{ErrorCode, Problem, RegisterRequest, RegisterResponse};
use registry_core::registry::redeem::{Redeem, RedemptionChannel, Requester};
use registry_core::secret::TypedCode;

use super::{JsonProblems, ServerProblems};
use crate::app::AppState;
use crate::idempotency::Idempotency;
use crate::json::ApiJson;
use crate::problem::ApiError;
use crate::source::Client;

/// Redeems a code: the appliance gets its identity and, for paid editions, license, credential and
/// check-in URL.
#[utoipa::path(
    post, path = "/register", tag = "appliances",
    request_body = RegisterRequest,
    responses(
        (status = 200, description = "Redeemed", body = RegisterResponse),
        (status = 403, description = "`tenant_suspended`, `entitlement_revoked`", body = Problem,
         content_type = "application/problem+json"),
        (status = 404, description = "`invalid_claim_code`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`consumed_claim_code`, `superseded_claim_code`, `tenant_mismatch`", body = Problem,
         content_type = "application/problem+json"),
        (status = 410, description = "`expired_claim_code`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`, `tenant_required`", body = Problem,
         content_type = "application/problem+json"),
        (status = 429, description = "`too_many_attempts`, with Retry-After", body = Problem,
         content_type = "application/problem+json"),
        JsonProblems, ServerProblems,
    )
)]
pub(crate) async fn register(
    State(app): State<AppState>,
    Client(source): Client,
    idempotency: Idempotency,
    ApiJson(request): ApiJson<RegisterRequest>,
) -> Result<Json<RegisterResponse>, ApiError> {
    // Without the code: it is part of the key's scope, as a keyed digest.
    let fields = (
        &request.appliance_id,
        request.tenant_id.map(|named| named.map_or("null".to_owned(), |id| id.to_string())),
    );
    let key = idempotency.key("POST /register", "", &fields);
    let requester = request
        .tenant_id
        .map_or(Requester::FirstBoot, |named| Requester::Running(named.map(Into::into)));
    let typed_code = TypedCode::new(request.claim_code);
    let redeem = Redeem {
        typed_code,
        appliance_id: request.appliance_id,
        requester,
        channel: RedemptionChannel::Network(source),
        key,
    };
    let redeemed = app.registry.code_redeem(redeem).await;
    let redeemed = redeemed.map_err(|error| for_setup(error.into(), requester))?;
    let (first_jwt, appliance_credential, check_in_url) = match redeemed.licensed {
        None => (None, None, None),
        Some(licensed) => (
            Some(licensed.token.expose().to_owned()),
            Some(licensed.credential.expose().to_owned()),
            Some(licensed.check_in_url),
        ),
    };
    Ok(Json(RegisterResponse {
        tenant_id: redeemed.tenant_id.0,
        edition: redeemed.edition.to_string(),
        company_name: redeemed.company_name,
        contact_email: redeemed.contact_email,
        first_jwt,
        appliance_credential,
        check_in_url,
    }))
}

/// The first-boot wizard does not know `superseded_claim_code`; it reopens its form at a consumed
/// one.
fn for_setup(mut error: ApiError, requester: Requester) -> ApiError {
    if requester == Requester::FirstBoot && error.code == ErrorCode::SupersededClaimCode {
        error.code = ErrorCode::ConsumedClaimCode;
    }
    error
}
