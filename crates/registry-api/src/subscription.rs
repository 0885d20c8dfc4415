//! What the vendor's store does for a subscription.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// `POST /sign`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the contract says what each field means")]
#[schema(example = json!({
    "stripe_sub_id": "sub_1", "customer": "Acme Ltd", "tier": "pro", "seats": 25, "transport": "connected"
}))]
pub struct SignRequest {
    pub stripe_sub_id: String,
    pub customer: String,
    pub tier: String,
    /// `null` is unlimited.
    pub seats: Option<i64>,
    /// `connected` or `airgap`.
    pub transport: String,
    /// Binds the entitlement to this tenant.
    pub tenant_id: Option<Uuid>,
}

/// The answer of `POST /sign`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "jwt": "eyJhbGciOiJFZERTQSIs", "exp": 1_798_773_840, "sub": "lic_019ab3c45d6e7f809a1b2c3d4e5f6071"
}))]
pub struct SignResponse {
    /// The license.
    pub jwt: String,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// The same for all licenses of the subscription.
    pub sub: String,
}

/// `POST /claim-codes`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the contract says what each field means")]
#[schema(example = json!({ "stripe_sub_id": "sub_1" }))]
pub struct ClaimCodeRequest {
    pub stripe_sub_id: String,
    /// Binds the entitlement to this tenant.
    pub tenant_id: Option<Uuid>,
}

/// The answer of `POST /claim-codes`: the only time the code is shown.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "code": "K7QP-M2RX-9TDV", "expires_at": 1_795_490_640 }))]
pub struct ClaimCodeResponse {
    /// The activation code; the unclaimed ones before it are dead.
    pub code: String,
    /// When it ends, in seconds since 1970.
    pub expires_at: i64,
}

/// `POST /revoke`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the contract says what each field means")]
#[schema(example = json!({ "stripe_sub_id": "sub_1" }))]
pub struct RevokeRequest {
    pub stripe_sub_id: String,
}

/// The answer of `POST /revoke`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "status": "revoked" }))]
pub struct RevokeResponse {
    /// Always `revoked`.
    pub status: String,
}
