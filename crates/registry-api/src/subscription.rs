//! Calls of the vendor's store for a subscription.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Request of `POST /sign`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "stripe_sub_id": "sub_1", "customer": "Acme Ltd", "tier": "pro", "seats": 25,
    "transport": "connected"
}))]
pub struct SignRequest {
    /// ID of the subscription, 1 to 255 characters, opaque to the registry. Required, under this
    /// name or as `subscription_id`.
    pub stripe_sub_id: Option<String>,
    /// Neutral name of `stripe_sub_id`. If a request has both, they must be equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
    /// Name of the customer, 1 to 200 characters.
    pub customer: String,
    /// License tier: a paid edition from the registry's catalogue, for example `pro`.
    pub tier: String,
    /// Number of seats, 1 to 2147483647; `null` is unlimited.
    pub seats: Option<i64>,
    /// `connected` for an appliance that checks in, or `airgap` for one that never does.
    pub transport: String,
    /// ID of the tenant to bind the entitlement to.
    pub tenant_id: Option<Uuid>,
}

/// Response of `POST /sign`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "jwt": "eyJhbGciOiJFZERTQSIs", "exp": 1_798_773_840,
    "sub": "lic_019ab3c45d6e7f809a1b2c3d4e5f6071"
}))]
pub struct SignResponse {
    /// License token (compact JWS).
    pub jwt: String,
    /// Expiry of the license, in Unix seconds.
    pub exp: i64,
    /// The `sub` claim, the same for all licenses of the subscription.
    pub sub: String,
}

/// Request of `POST /claim-codes`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "stripe_sub_id": "sub_1" }))]
pub struct ClaimCodeRequest {
    /// ID of the subscription, 1 to 255 characters, opaque to the registry. Required, under this
    /// name or as `subscription_id`.
    pub stripe_sub_id: Option<String>,
    /// Neutral name of `stripe_sub_id`. If a request has both, they must be equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
    /// ID of the tenant to bind the entitlement to.
    pub tenant_id: Option<Uuid>,
}

/// Response of `POST /claim-codes`. The API shows the code only here.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "code": "K7QP-M2RX-9TDV", "expires_at": 1_795_490_640 }))]
pub struct ClaimCodeResponse {
    /// New activation code, in groups of four characters. It replaces the entitlement's unclaimed
    /// codes.
    pub code: String,
    /// Expiry of the code, in Unix seconds.
    pub expires_at: i64,
}

/// Request of `POST /revoke`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "stripe_sub_id": "sub_1" }))]
pub struct RevokeRequest {
    /// ID of the subscription, 1 to 255 characters, opaque to the registry. Required, under this
    /// name or as `subscription_id`.
    pub stripe_sub_id: Option<String>,
    /// Neutral name of `stripe_sub_id`. If a request has both, they must be equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
}

/// Response of `POST /revoke`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "status": "revoked" }))]
pub struct RevokeResponse {
    /// Always `revoked`.
    pub status: String,
}
