//! `POST /register`

use axum::Json;
use axum::extract::State;
use registry_api::{ErrorCode, Problem, RegisterRequest, RegisterResponse};
use registry_core::rate_limit::Source;
use registry_core::registry::redeem::{Redeem, RedemptionChannel, Requester};
use registry_core::results::Redeemed;
use registry_core::secret::TypedCode;

use super::{JsonProblems, ServerProblems};
use crate::app::AppState;
use crate::idempotency::Idempotency;
use crate::json::ApiJson;
use crate::problem::ApiError;
use crate::source::Client;

/// Redeems a code. The appliance gets its identity and, for paid editions, a license, a credential
/// and a check-in URL.
#[utoipa::path(
    post, path = "/register", tag = "appliances",
    request_body = RegisterRequest,
    responses(
        (status = 200, description = "Redeemed", body = RegisterResponse),
        (status = 403, description = "`tenant_suspended`, `entitlement_revoked`",
         body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`invalid_claim_code`",
         body = Problem, content_type = "application/problem+json"),
        (status = 409,
         description = "`consumed_claim_code`, `superseded_claim_code`, `tenant_mismatch`",
         body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "`expired_claim_code`",
         body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_request`, `tenant_required`",
         body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_attempts`, with Retry-After",
         body = Problem, content_type = "application/problem+json"),
        JsonProblems, ServerProblems,
    )
)]
pub(crate) async fn register(
    State(app): State<AppState>,
    Client(source): Client,
    idempotency: Idempotency,
    ApiJson(request): ApiJson<RegisterRequest>,
) -> Result<Json<RegisterResponse>, ApiError> {
    let redeem = redeem(source, idempotency, request);
    let requester = redeem.requester;
    let registry = app.registry.clone();
    // An unknown code is counted after the look-up, also if the client hangs up.
    let redeemed = app.complete(async move { registry.code_redeem(redeem).await }).await;
    let redeemed = redeemed.map_err(|error| for_setup(error, requester))?;
    Ok(Json(response(redeemed)))
}

fn redeem(source: Source, idempotency: Idempotency, request: RegisterRequest) -> Redeem {
    // The code is not among them: a keyed digest of it is part of the key's scope.
    let fields = (
        &request.appliance_id,
        request.tenant_id.map(|id| id.map_or("null".to_owned(), |id| id.to_string())),
    );
    let key = idempotency.key("POST /register", "", &fields);
    Redeem {
        typed_code: TypedCode::new(request.claim_code),
        appliance_id: request.appliance_id,
        requester: request
            .tenant_id
            .map_or(Requester::FirstBoot, |id| Requester::Running(id.map(Into::into))),
        channel: RedemptionChannel::Network(source),
        key,
    }
}

fn response(redeemed: Redeemed) -> RegisterResponse {
    let (first_jwt, appliance_credential, check_in_url) = match redeemed.licensed {
        None => (None, None, None),
        Some(licensed) => (
            Some(licensed.token.expose().to_owned()),
            Some(licensed.credential.expose().to_owned()),
            Some(licensed.check_in_url),
        ),
    };
    RegisterResponse {
        tenant_id: redeemed.tenant_id.0,
        edition: redeemed.edition.to_string(),
        company_name: redeemed.company_name,
        contact_email: redeemed.contact_email,
        first_jwt,
        appliance_credential,
        check_in_url,
    }
}

/// Replaces `superseded_claim_code`, which the first-boot wizard does not know, by
/// `consumed_claim_code`, at which it opens its form again.
fn for_setup(mut error: ApiError, requester: Requester) -> ApiError {
    if requester == Requester::FirstBoot && error.code == ErrorCode::SupersededClaimCode {
        error.code = ErrorCode::ConsumedClaimCode;
    }
    error
}
