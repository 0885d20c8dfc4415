//! Check-in of an appliance, and verification of its credential. Types that hold a credential have
//! no `Debug`, because a credential is a secret.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Request of `POST /check-in`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "appliance_credential": "9f2b6c0d4e8a1f3b5c7d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d",
    "current_license_sub": "lic_019ab3c45d6e7f809a1b2c3d4e5f6071"
}))]
pub struct CheckInRequest {
    /// Credential from the response of `POST /register`, 64 hexadecimal digits.
    pub appliance_credential: String,
    /// The `sub` claim of the license that the appliance holds. If it is missing or outdated, the
    /// response holds a new license.
    pub current_license_sub: Option<String>,
    /// Number of this check-in, higher than in all earlier ones with the same credential. Optional.
    /// It shows two machines that use one identity, for example because a state folder was copied.
    /// The operator sees them, and both keep working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u32>,
}

/// Entitlement status of an appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckInStatus {
    /// The appliance is entitled to a license.
    Ok,
    /// The entitlement was revoked, or the tenant was suspended or cancelled. The appliance's
    /// license stays valid until it expires.
    Revoked,
}

/// Response of `POST /check-in`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "status": "ok", "jwt": "eyJhbGciOiJFZERTQSIs", "exp": 1_798_773_840,
    "next_check_in_at": "2026-12-02T03:51:09Z", "server_time": "2026-12-01T03:24:00Z"
}))]
pub struct CheckInResponse {
    /// Entitlement status of the appliance: `ok` or `revoked`.
    pub status: CheckInStatus,
    /// New license token (compact JWS), if one is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<String>,
    /// Expiry of the new license, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// Time of the next check-in, ISO 8601 in UTC.
    pub next_check_in_at: DateTime<Utc>,
    /// Time of the registry's clock, ISO 8601 in UTC. An appliance can compare its own clock with
    /// it.
    pub server_time: DateTime<Utc>,
}

/// Request of `POST /verify-appliance`.
#[derive(Clone, Deserialize, ToSchema)]
#[schema(example = json!({
    "credential": "9f2b6c0d4e8a1f3b5c7d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"
}))]
pub struct VerifyApplianceRequest {
    /// Credential that an appliance presented to the service, 64 hexadecimal digits.
    pub credential: String,
}

/// Response of `POST /verify-appliance`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "tenant_id": "019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071", "edition": "pro",
    "appliance_id": "appliance-0123456789abcdef",
    "appliance_revoked": false, "entitlement_active": true, "connected_eligible": true
}))]
pub struct VerifyApplianceResponse {
    /// ID of the appliance's tenant.
    pub tenant_id: Uuid,
    /// Edition that the tenant is entitled to at the moment.
    pub edition: String,
    /// ID of the appliance, unique within its tenant.
    pub appliance_id: String,
    /// Always false: the credential of a revoked appliance is not valid.
    pub appliance_revoked: bool,
    /// True if the tenant has an active entitlement.
    pub entitlement_active: bool,
    /// True if the appliance may use connected services.
    pub connected_eligible: bool,
}
