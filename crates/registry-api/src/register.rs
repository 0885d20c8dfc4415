//! Registration of a tenant, and redemption and re-issue of a code.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Request of `POST /register-tenant`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "company_name": "Acme Ltd", "contact_email": "ada@acme.example", "contact_name": "Ada Lovelace",
    "edition": "pro", "seats": 25, "stripe_sub_id": "sub_1"
}))]
pub struct RegisterTenantRequest {
    /// Name of the company, 1 to 200 characters.
    pub company_name: String,
    /// Email address of the contact, at most 254 characters, without a display name.
    pub contact_email: String,
    /// Name of the contact, 1 to 200 characters.
    pub contact_name: Option<String>,
    /// Edition from the registry's catalogue, for example `essentials` or `pro`.
    pub edition: String,
    /// Product from the registry's catalogue; by default its first one.
    pub product_code: Option<String>,
    /// `appliance` (default) or `hosted`.
    pub deployment_type: Option<String>,
    /// ID of the customer at the payment provider, 1 to 255 characters, opaque to the registry.
    pub stripe_customer_id: Option<String>,
    /// ID of the subscription, 1 to 255 characters, opaque to the registry. The same subscription
    /// always means the same tenant.
    pub stripe_sub_id: Option<String>,
    /// Neutral name of `stripe_customer_id`. If a request has both, they must be equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_customer_id: Option<String>,
    /// Neutral name of `stripe_sub_id`. If a request has both, they must be equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
    /// Number of seats, 1 to 2147483647; `null` is unlimited.
    pub seats: Option<i64>,
    /// Region of the tenant, 1 to 64 characters.
    pub region: Option<String>,
    /// False if the code must not be mailed to the contact; true by default.
    pub send_email: Option<bool>,
}

/// Response of `POST /register-tenant` and of `POST /install-codes/reissue`. The API shows the code
/// only here.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "tenant_id": "019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071", "install_code": "K7QP-M2RX-9TDV",
    "download_url": "https://registry.example/files/stable/019ab3c4/image.iso\
                     ?expires=1795490640&key_id=1f2e&signature=00",
    "expires_at": 1_795_490_640
}))]
pub struct IssuedCode {
    /// ID of the tenant.
    pub tenant_id: Uuid,
    /// New install code, in groups of four characters. It replaces the tenant's unused codes.
    pub install_code: String,
    /// Download link for the image; empty if no image is published.
    pub download_url: String,
    /// Expiry of the code, in Unix seconds.
    pub expires_at: i64,
}

/// Request of `POST /register`.
// No `Debug`: the code is a secret.
#[derive(Clone, Deserialize, ToSchema)]
#[schema(example = json!({
    "claim_code": "K7QP-M2RX-9TDV", "appliance_id": "appliance-0123456789abcdef"
}))]
pub struct RegisterRequest {
    /// Code as typed: spaces, dashes and lower case are allowed.
    pub claim_code: String,
    /// ID of the appliance, 1 to 255 characters, unique within its tenant.
    pub appliance_id: String,
    /// ID of a running appliance's tenant, or `null` if it has none. If the key is absent, the
    /// appliance is in its first boot.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Uuid>)]
    pub tenant_id: Option<Option<Uuid>>,
}

/// Distinguishes a key that is `null` from an absent key.
#[expect(clippy::option_option, reason = "absent, `null` and a value mean different things")]
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Uuid>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Response of `POST /register`. For a paid edition it has all of `first_jwt`,
/// `appliance_credential` and `check_in_url`, for a free edition none of them.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "tenant_id": "019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071", "edition": "essentials",
    "company_name": "Acme Ltd", "contact_email": "ada@acme.example"
}))]
pub struct RegisterResponse {
    /// ID of the tenant that the appliance now belongs to.
    pub tenant_id: Uuid,
    /// Edition that the code carries at the moment.
    pub edition: String,
    /// Name of the tenant's company.
    pub company_name: String,
    /// Email address of the tenant's contact; empty for an adopted tenant.
    pub contact_email: String,
    /// First license token (compact JWS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_jwt: Option<String>,
    /// Credential for check-ins, 64 hexadecimal digits. The API shows it only here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appliance_credential: Option<String>,
    /// Absolute URL of `POST /check-in`, which renews the license.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_in_url: Option<String>,
}

/// Request of `POST /install-codes/reissue`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "contact_email": "ada@acme.example" }))]
pub struct ReissueRequest {
    /// ID of the tenant. It takes precedence over `contact_email`; one of the two is required.
    pub tenant_id: Option<Uuid>,
    /// Email address of the contact, in upper or lower case. It selects the contact's newest
    /// tenant that is not cancelled.
    pub contact_email: Option<String>,
    /// True if a contact with several tenants is refused; false by default.
    pub strict: Option<bool>,
    /// False if the code must not be mailed to the contact; true by default.
    pub send_email: Option<bool>,
}
