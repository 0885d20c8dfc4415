//! The directory of tenants, health and readiness, and the public keys.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Query of `GET /tenants`.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListTenantsQuery {
    /// Deployment type: `appliance` or `hosted`.
    pub deployment_type: Option<String>,
    /// Part of the company's name or of the contact's email address, in upper or lower case.
    pub query: Option<String>,
    /// Name or alias of an edition.
    pub edition: Option<String>,
    /// Product.
    pub product_code: Option<String>,
    /// Status: `registered`, `installed`, `active`, `suspended` or `cancelled`.
    pub status: Option<String>,
    /// Maximum number of tenants on the page, 1 to 200; 50 by default.
    #[param(value_type = Option<i64>)]
    pub limit: Option<String>,
    /// `next_cursor` of the previous page, opaque.
    pub cursor: Option<String>,
}

/// Page of the list of tenants.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TenantList {
    /// Tenants, newest registration first.
    pub items: Vec<TenantItem>,
    /// Cursor of the next page; `null` on the last page.
    pub next_cursor: Option<String>,
}

/// Tenant in the list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TenantItem {
    /// ID of the tenant.
    pub tenant_id: Uuid,
    /// Name of the company.
    pub company_name: String,
    /// Email address of the contact; empty for an adopted tenant.
    pub contact_email: String,
    /// Edition.
    pub edition: String,
    /// Product.
    pub product_code: String,
    /// Status: `registered`, `installed`, `active`, `suspended` or `cancelled`.
    pub status: String,
    /// Time of the registration, ISO 8601 in UTC.
    pub registered_at: DateTime<Utc>,
    /// Time of the first redemption, ISO 8601 in UTC; `null` before it.
    pub installed_at: Option<DateTime<Utc>>,
    /// ID of the entitlement's subscription; `null` if there is no subscription.
    pub stripe_sub_id: Option<String>,
    /// License tier of the entitlement; `null` without an entitlement.
    pub tier: Option<String>,
    /// Number of seats; `null` if unlimited, or without an entitlement.
    pub seats: Option<u32>,
    /// True if the entitlement is active; `null` without an entitlement.
    pub entitlement_active: Option<bool>,
    /// Time of the latest check-in of the tenant's appliances, ISO 8601 in UTC; `null` before the
    /// first one.
    pub last_checkin_at: Option<DateTime<Utc>>,
    /// Number of the tenant's appliances.
    pub appliance_count: usize,
    /// True if the tenant has an active entitlement and an appliance that is not revoked.
    pub connected: bool,
    /// State of the newest install code: `live`, `consumed`, `revoked` (replaced by a newer code),
    /// `expired` or `none`.
    pub install_code_state: String,
}

/// Tenant with its entitlement, codes and appliances, without any code, token or credential.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TenantDetail {
    /// The tenant itself.
    pub tenant: TenantFields,
    /// The tenant's active entitlement, or else its newest one; `null` without an entitlement.
    pub entitlement: Option<TenantEntitlement>,
    /// Install codes, newest first.
    pub install_codes: Vec<InstallCodeItem>,
    /// Appliances.
    pub appliances: Vec<ApplianceItem>,
}

/// Tenant without its entitlement, codes and appliances.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TenantFields {
    /// ID of the tenant.
    pub tenant_id: Uuid,
    /// Edition.
    pub edition: String,
    /// Product.
    pub product_code: String,
    /// Deployment type: `appliance` or `hosted`.
    pub deployment_type: String,
    /// Region; `null` if none was given.
    pub region: Option<String>,
    /// Status: `registered`, `installed`, `active`, `suspended` or `cancelled`.
    pub status: String,
    /// Name of the company.
    pub company_name: String,
    /// Name of the contact; `null` if none was given.
    pub contact_name: Option<String>,
    /// Email address of the contact; empty for an adopted tenant.
    pub contact_email: String,
    /// ID of the customer at the payment provider; `null` if none was given.
    pub stripe_customer_id: Option<String>,
    /// Time of the registration, ISO 8601 in UTC.
    pub registered_at: DateTime<Utc>,
    /// Time of the first redemption, ISO 8601 in UTC; `null` before it.
    pub installed_at: Option<DateTime<Utc>>,
    /// Time at which the record was created, ISO 8601 in UTC.
    pub created_at: DateTime<Utc>,
    /// Time of the record's last change, ISO 8601 in UTC.
    pub updated_at: DateTime<Utc>,
}

/// Entitlement of a tenant.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TenantEntitlement {
    /// ID of the subscription; empty if an operator sold the entitlement without one.
    pub stripe_sub_id: String,
    /// License tier.
    pub tier: String,
    /// Number of seats; `null` is unlimited.
    pub seats: Option<u32>,
    /// True if the entitlement is not revoked.
    pub active: bool,
    /// The `sub` claim of all licenses of the entitlement.
    pub license_sub: Option<String>,
    /// True if a license that was issued to one of the tenant's appliances has not expired.
    pub has_current_token: bool,
}

/// Install code of a tenant.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct InstallCodeItem {
    /// Last four characters of the code.
    pub code_masked: String,
    /// Expiry of the code, in Unix seconds.
    pub expires_at: i64,
    /// True if the code was redeemed.
    pub consumed: bool,
    /// True if a newer code replaced this one.
    pub revoked: bool,
    /// Time at which the code was issued, ISO 8601 in UTC.
    pub created_at: DateTime<Utc>,
}

/// Appliance of a tenant.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ApplianceItem {
    /// ID of the appliance, unique within its tenant.
    pub appliance_id: String,
    /// Time of the last check-in, ISO 8601 in UTC; `null` before the first one.
    pub last_checkin_at: Option<DateTime<Utc>>,
    /// True if the appliance is revoked.
    pub revoked: bool,
    /// Last time, ISO 8601 in UTC, at which a check-in showed that two machines use this
    /// appliance's identity. Absent if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_seen_at: Option<DateTime<Utc>>,
}

/// Response of `GET /healthz`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `ok`: the process serves requests. `GET /readyz` reports the parts that it depends
    /// on.
    pub status: String,
}

/// Response of `GET /readyz`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Readyz {
    /// `ready`, or `degraded` if requests succeed but a part that is not required is down.
    pub status: String,
    /// Parts of the service with their states.
    pub parts: Vec<ReadyPart>,
}

/// Part of the service.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReadyPart {
    /// Name of the part: `database`, `key_ring`, `blob_store`, `mail` or `release`.
    pub name: String,
    /// True if requests fail while the part is down.
    pub required: bool,
    /// State of the part: `ok` or `down`.
    pub state: String,
    /// Problem of a part that is down, for an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Response of `GET /.well-known/jwks.json`: a JSON Web Key Set (RFC 7517).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Jwks {
    /// Public keys that verify the licenses in the field.
    pub keys: Vec<Jwk>,
    /// The key set, signed with each of its keys: compact JWS of the type `jwk-set+jwt`, with the
    /// claims `iss`, `iat` and `keys`. A client that trusts one of the keys can trust the set.
    #[serde(default)]
    pub signatures: Vec<String>,
}

/// Public key as a JSON Web Key (RFC 7517; RFC 8037 for Ed25519).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Jwk {
    /// Key type: `OKP` for Ed25519, `EC` for P-256.
    pub kty: String,
    /// Curve: `Ed25519` or `P-256`.
    pub crv: String,
    /// Public key (Ed25519) or x coordinate (P-256), base64url without padding.
    pub x: String,
    /// The y coordinate (P-256 only), base64url without padding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// Key ID, as in the header of the licenses that the key signed.
    pub kid: String,
    /// Signature algorithm: `EdDSA` or `ES256`.
    pub alg: String,
    /// Always `sig`.
    pub r#use: String,
}
