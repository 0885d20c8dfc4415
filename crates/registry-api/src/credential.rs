//! What appliances and services do with a credential. Credentials are secrets: no `Debug`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// `POST /check-in`
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "appliance_credential": "9f2b6c0d4e8a1f3b5c7d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d",
    "current_license_sub": "lic_019ab3c45d6e7f809a1b2c3d4e5f6071"
}))]
pub struct CheckInRequest {
    /// What `/register` answered.
    pub appliance_credential: String,
    /// The `sub` of the license that the appliance holds.
    pub current_license_sub: Option<String>,
}

/// How an appliance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckInStatus {
    /// It is entitled.
    Ok,
    /// What it was entitled to has ended; it keeps its license to that one's end.
    Revoked,
}

/// The answer of `POST /check-in`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "status": "ok", "jwt": "eyJhbGciOiJFZERTQSIs", "exp": 1_798_773_840,
    "next_check_in_at": "2026-12-02T03:51:09Z", "server_time": "2026-12-01T03:24:00Z"
}))]
pub struct CheckInResponse {
    /// How the appliance stands.
    pub status: CheckInStatus,
    /// A new license, where one is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<String>,
    /// When it ends, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// When to call again.
    pub next_check_in_at: DateTime<Utc>,
    /// The registry's time: an appliance whose clock is off can tell.
    pub server_time: DateTime<Utc>,
}

/// `POST /verify-appliance`
#[derive(Clone, Deserialize, ToSchema)]
#[schema(example = json!({ "credential": "9f2b6c0d4e8a1f3b5c7d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d" }))]
pub struct VerifyApplianceRequest {
    /// The credential that the service was shown.
    pub credential: String,
}

/// The answer of `POST /verify-appliance`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "tenant_id": "019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071", "edition": "pro", "appliance_id": "appliance-0123456789abcdef",
    "appliance_revoked": false, "entitlement_active": true, "connected_eligible": true
}))]
pub struct VerifyApplianceResponse {
    /// The tenant of the appliance.
    pub tenant_id: Uuid,
    /// The edition that the tenant is entitled to now.
    pub edition: String,
    /// What the appliance calls itself.
    pub appliance_id: String,
    /// Always false: the credential of a revoked appliance is not valid.
    pub appliance_revoked: bool,
    /// Whether the tenant has an active entitlement.
    pub entitlement_active: bool,
    /// Whether the appliance may use connected services.
    pub connected_eligible: bool,
}
