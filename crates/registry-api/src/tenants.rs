//! The directory, and the service's own state.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// The query of `GET /tenants`.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListTenantsQuery {
    /// `appliance` or `hosted`.
    pub deployment_type: Option<String>,
    /// Part of the company or the e-mail, in any case.
    pub query: Option<String>,
    /// An edition.
    pub edition: Option<String>,
    /// A product.
    pub product_code: Option<String>,
    /// `registered`, `installed`, `active`, `suspended` or `cancelled`.
    pub status: Option<String>,
    /// How many at most, 1 to 200; 50 by default.
    #[param(value_type = Option<i64>)]
    pub limit: Option<String>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// A page of tenants.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TenantList {
    /// The tenants, newest first.
    pub items: Vec<TenantItem>,
    /// What to ask for the next page with; `null` on the last.
    pub next_cursor: Option<String>,
}

/// A tenant in the list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the contract says what each field means")]
pub struct TenantItem {
    pub tenant_id: Uuid,
    pub company_name: String,
    pub contact_email: String,
    pub edition: String,
    pub product_code: String,
    pub status: String,
    pub registered_at: DateTime<Utc>,
    pub installed_at: Option<DateTime<Utc>>,
    pub stripe_sub_id: Option<String>,
    pub tier: Option<String>,
    pub seats: Option<u32>,
    pub entitlement_active: Option<bool>,
    pub last_checkin_at: Option<DateTime<Utc>>,
    pub appliance_count: usize,
    pub connected: bool,
    pub install_code_state: String,
}

/// One tenant with everything, and without a code, token or credential.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the contract says what each field means")]
pub struct TenantDetail {
    pub tenant: TenantFields,
    pub entitlement: Option<TenantEntitlement>,
    pub install_codes: Vec<InstallCodeItem>,
    pub appliances: Vec<ApplianceItem>,
}

/// The tenant itself.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the contract says what each field means")]
pub struct TenantFields {
    pub tenant_id: Uuid,
    pub edition: String,
    pub product_code: String,
    pub deployment_type: String,
    pub region: Option<String>,
    pub status: String,
    pub company_name: String,
    pub contact_name: Option<String>,
    pub contact_email: String,
    pub stripe_customer_id: Option<String>,
    pub registered_at: DateTime<Utc>,
    pub installed_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// The entitlement that speaks for it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the contract says what each field means")]
pub struct TenantEntitlement {
    /// Empty where an operator sold it without a subscription.
    pub stripe_sub_id: String,
    pub tier: String,
    pub seats: Option<u32>,
    pub active: bool,
    pub license_sub: Option<String>,
    pub has_current_token: bool,
}

/// A code of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct InstallCodeItem {
    /// Its last four characters.
    pub code_masked: String,
    /// When it ends, in seconds since 1970.
    pub expires_at: i64,
    /// Whether it was redeemed.
    pub consumed: bool,
    /// Whether a newer one replaced it.
    pub revoked: bool,
    /// When it was minted.
    pub created_at: DateTime<Utc>,
}

/// An appliance of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the contract says what each field means")]
pub struct ApplianceItem {
    pub appliance_id: String,
    pub last_checkin_at: Option<DateTime<Utc>>,
    pub revoked: bool,
}

/// `GET /healthz`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`: the process is alive. It says nothing about what it needs.
    pub status: String,
}

/// `GET /readyz`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Readyz {
    /// `ready`, or `degraded`: requests succeed, and something is missing.
    pub status: String,
    /// Each part with its state.
    pub parts: Vec<ReadyPart>,
}

/// A part of the service.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReadyPart {
    /// `database`, `key_ring`, `blob_store`, `mail` or `release`.
    pub name: String,
    /// Whether requests fail without it.
    pub required: bool,
    /// `ok` or `down`.
    pub state: String,
    /// What is wrong, for an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// `GET /.well-known/jwks.json` (RFC 7517)
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Jwks {
    /// The keys that licenses in the field may be verified with.
    pub keys: Vec<Jwk>,
}

/// A public key (RFC 7517; RFC 8037 for Ed25519).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the RFCs say what each member means")]
pub struct Jwk {
    pub kty: String,
    pub crv: String,
    pub x: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    pub kid: String,
    pub alg: String,
    pub r#use: String,
}
