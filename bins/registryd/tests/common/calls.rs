//! The requests of services and appliances.

use appliance_license::{LicenseState, TrustedKeys, Verifier};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{ApiResponse, Server, read_response, text};

/// Returns a response without the fields that differ in every response.
pub(crate) fn lasting(response: &ApiResponse) -> ApiResponse {
    let mut body = response.1.clone();
    for field in ["server_time", "request_id"] {
        body.as_object_mut().unwrap().remove(field);
    }
    (response.0, body)
}

/// Returns the header of a license token.
pub(crate) fn token_header(token: &Value) -> Value {
    token_part(token, 0)
}

/// Returns the claims of a license token.
pub(crate) fn token_claims(token: &Value) -> Value {
    token_part(token, 1)
}

fn token_part(token: &Value, index: usize) -> Value {
    let text = text(token);
    let part = text.split('.').nth(index).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

impl Server {
    pub(crate) fn check_in(&self, credential: &str) -> ApiResponse {
        let body = json!({ "appliance_credential": credential });
        read_response(self.post("/check-in").json(&body).send().unwrap())
    }

    /// Checks in, and shows the license with this `sub`.
    pub(crate) fn check_in_with(&self, credential: &str, sub: &Value) -> ApiResponse {
        let body = json!({ "appliance_credential": credential, "current_license_sub": sub });
        read_response(self.post("/check-in").json(&body).send().unwrap())
    }

    pub(crate) fn verify(&self, credential: &str) -> ApiResponse {
        self.post_as_service("/verify-appliance", &json!({ "credential": credential }))
    }

    /// Signs a connected `pro` license for a subscription.
    pub(crate) fn sign(&self, subscription: &str, seats: &Value) -> ApiResponse {
        let body = json!({
            "stripe_sub_id": subscription, "customer": "Acme Ltd", "tier": "pro", "seats": seats,
            "transport": "connected",
        });
        self.post_as_service("/sign", &body)
    }

    /// Redeems as a running appliance, which names its tenant or sends `null`.
    pub(crate) fn activate(&self, code: &str, tenant: &Value) -> ApiResponse {
        let body =
            json!({ "claim_code": code, "appliance_id": "appliance-1", "tenant_id": tenant });
        read_response(self.post("/register").json(&body).send().unwrap())
    }

    /// Issues an activation code for a subscription.
    pub(crate) fn claim_code(&self, subscription: &str) -> String {
        let (status, body) =
            self.post_as_service("/claim-codes", &json!({ "stripe_sub_id": subscription }));
        assert_eq!(status, 200, "{body}");
        text(&body["code"])
    }

    /// Registers a paid tenant with this subscription.
    pub(crate) fn subscribe(&self, subscription: &str) -> Value {
        let body = json!({
            "company_name": "Acme", "contact_email": "a@example.com", "edition": "pro", "seats": 5,
            "stripe_sub_id": subscription,
        });
        let (status, issued) = self.post_as_service("/register-tenant", &body);
        assert_eq!(status, 200, "{issued}");
        issued
    }

    /// Installs an appliance of a paid tenant with this subscription, and returns the tenant and
    /// the credential.
    pub(crate) fn installed(&self, subscription: &str) -> (String, String) {
        let issued = self.subscribe(subscription);
        let (status, redeemed) = self.redeem(&text(&issued["install_code"]));
        assert_eq!(status, 200, "{redeemed}");
        (text(&issued["tenant_id"]), text(&redeemed["appliance_credential"]))
    }

    /// Returns the state of a license token for a tenant, by the published keys.
    pub(crate) fn state(&self, token: &Value, tenant: &str) -> LicenseState {
        let jwks = self.get("/.well-known/jwks.json").send().unwrap().text().unwrap();
        // Tests must not read the clock; this file was written a moment ago.
        let now = std::fs::metadata(self.data.join("service-token")).unwrap().modified().unwrap();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 5;
        Verifier::new(TrustedKeys::from_jwks(&jwks).unwrap(), "appliance-registry", tenant)
            .state(&text(token), now)
    }
}
