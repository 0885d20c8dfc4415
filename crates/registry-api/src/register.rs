//! Registering a tenant, redeeming a code, re-issuing one.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// `POST /register-tenant`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the contract says what each field means")]
#[schema(example = json!({
    "company_name": "Acme Ltd", "contact_email": "ada@acme.example", "contact_name": "Ada Lovelace",
    "edition": "pro", "seats": 25, "stripe_sub_id": "sub_1"
}))]
pub struct RegisterTenantRequest {
    pub company_name: String,
    pub contact_email: String,
    pub contact_name: Option<String>,
    pub edition: String,
    pub product_code: Option<String>,
    pub deployment_type: Option<String>,
    pub stripe_customer_id: Option<String>,
    pub stripe_sub_id: Option<String>,
    pub seats: Option<i64>,
    pub region: Option<String>,
    /// Whether the code is mailed to the contact; by default it is.
    pub send_email: Option<bool>,
}

/// The answer of `POST /register-tenant` and of `POST /install-codes/reissue`: the only time the
/// code is shown.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "tenant_id": "019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071", "install_code": "K7QP-M2RX-9TDV",
    "download_url": "https://registry.example/files/stable/019ab3c4/image.iso?expires=1795490640&key_id=1f2e&signature=00",
    "expires_at": 1_795_490_640
}))]
pub struct IssuedCode {
    /// The tenant.
    pub tenant_id: Uuid,
    /// Its new install code; the unused ones before it are dead.
    pub install_code: String,
    /// Where the image is; empty where none is published.
    pub download_url: String,
    /// When the code ends, in seconds since 1970.
    pub expires_at: i64,
}

/// `POST /register`. The code is a secret: no `Debug`.
#[derive(Clone, Deserialize, ToSchema)]
#[schema(example = json!({ "claim_code": "K7QP-M2RX-9TDV", "appliance_id": "appliance-0123456789abcdef" }))]
pub struct RegisterRequest {
    /// The code as typed.
    pub claim_code: String,
    /// What the appliance calls itself.
    pub appliance_id: String,
    /// The key present, even as `null`, means a running appliance; absent means first boot.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Uuid>)]
    pub tenant_id: Option<Option<Uuid>>,
}

/// Tells a key that is `null` from one that is absent.
#[expect(clippy::option_option, reason = "absent, null and a value are three things here")]
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Uuid>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The answer of `POST /register`. For paid editions the three last fields are there, all of them;
/// else none is.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "tenant_id": "019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071", "edition": "essentials", "company_name": "Acme Ltd",
    "contact_email": "ada@acme.example"
}))]
pub struct RegisterResponse {
    /// The tenant that the appliance now is of.
    pub tenant_id: Uuid,
    /// The edition that the code carries now.
    pub edition: String,
    /// The company.
    pub company_name: String,
    /// The contact; empty for an adopted tenant.
    pub contact_email: String,
    /// The first license.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_jwt: Option<String>,
    /// What the appliance proves itself with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appliance_credential: Option<String>,
    /// Where the license is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_in_url: Option<String>,
}

/// `POST /install-codes/reissue`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "contact_email": "ada@acme.example" }))]
pub struct ReissueRequest {
    /// The tenant; goes before `contact_email`.
    pub tenant_id: Option<Uuid>,
    /// The contact, in any case: its newest tenant that is not cancelled.
    pub contact_email: Option<String>,
    /// Whether several tenants of the contact are refused.
    pub strict: Option<bool>,
    /// Whether the code is mailed to the contact; by default it is.
    pub send_email: Option<bool>,
}
