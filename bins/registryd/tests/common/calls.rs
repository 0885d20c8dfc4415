//! The calls of services and appliances.

use appliance_license::{LicenseState, TrustedKeys, Verifier};
use serde_json::{Value, json};

use super::{Answer, Server, answer, text};

/// Without the fields that differ in every answer.
pub(crate) fn lasting(answer: &Answer) -> Answer {
    let mut body = answer.1.clone();
    for field in ["server_time", "request_id"] {
        body.as_object_mut().unwrap().remove(field);
    }
    (answer.0, body)
}

impl Server {
    pub(crate) fn check_in(&self, credential: &str) -> Answer {
        answer(
            self.post("/check-in")
                .json(&json!({ "appliance_credential": credential }))
                .send()
                .unwrap(),
        )
    }

    pub(crate) fn verify(&self, credential: &str) -> Answer {
        self.service("/verify-appliance", &json!({ "credential": credential }))
    }

    pub(crate) fn sign(&self, subscription: &str, seats: &Value) -> Answer {
        let body = json!({
            "stripe_sub_id": subscription, "customer": "Acme Ltd", "tier": "pro", "seats": seats, "transport": "connected",
        });
        self.service("/sign", &body)
    }

    /// Redeems as a running appliance, which names its tenant, or says that it has none.
    pub(crate) fn activate(&self, code: &str, tenant: &Value) -> Answer {
        let body =
            json!({ "claim_code": code, "appliance_id": "appliance-1", "tenant_id": tenant });
        answer(self.post("/register").json(&body).send().unwrap())
    }

    pub(crate) fn claim_code(&self, subscription: &str) -> String {
        let (status, body) =
            self.service("/claim-codes", &json!({ "stripe_sub_id": subscription }));
        assert_eq!(status, 200, "{body}");
        text(&body["code"])
    }

    /// An installed appliance of a paid tenant with this subscription: its tenant and its
    /// credential.
    pub(crate) fn installed(&self, subscription: &str) -> (String, String) {
        let body = json!({
            "company_name": "Acme", "contact_email": "a@example.com", "edition": "pro", "seats": 5,
            "stripe_sub_id": subscription,
        });
        let (status, issued) = self.service("/register-tenant", &body);
        assert_eq!(status, 200, "{issued}");
        let (status, redeemed) = self.redeem(&text(&issued["install_code"]));
        assert_eq!(status, 200, "{redeemed}");
        (text(&issued["tenant_id"]), text(&redeemed["appliance_credential"]))
    }

    /// What a token is worth to this tenant, by the published keys.
    pub(crate) fn state(&self, token: &Value, tenant: &str) -> LicenseState {
        let jwks = self.get("/.well-known/jwks.json").send().unwrap().text().unwrap();
        // The clock is not asked in tests; this file was written a moment ago.
        let now = std::fs::metadata(self.data.join("service-token")).unwrap().modified().unwrap();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 5;
        Verifier::new(TrustedKeys::from_jwks(&jwks).unwrap(), "appliance-registry", tenant)
            .state(&text(token), now)
    }
}
