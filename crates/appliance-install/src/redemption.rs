//! Redeeming an install code, and parsing the response.

use appliance_license::License;
use async_trait::async_trait;
use registry_api::RegisterResponse;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::http_response::HttpResponse;
use crate::json::object;
use crate::secret::{SecretText, serialize_secret};
use crate::service_error::ServiceError;

/// A request to redeem a code.
#[derive(Clone, Debug)]
pub struct RedeemRequest {
    /// The code as typed.
    pub code: SecretText,
    /// Id of the appliance.
    pub appliance_id: String,
    /// Key of all attempts with this code: a response that was lost is received again.
    pub idempotency_key: String,
}

/// Redeems codes at the registry.
#[async_trait]
pub trait RedeemClient: Send + Sync {
    /// Redeems a code.
    async fn redeem(&self, request: &RedeemRequest) -> RedeemOutcome;

    /// Verifies the identity in the response to a redemption. MUST be repeatable: after a crash the
    /// stored response is verified again.
    async fn verify(&self, unverified: &UnverifiedIdentity) -> Result<Identity, ServiceError>;
}

/// Outcome of an attempt to redeem a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedeemOutcome {
    /// The code was redeemed. The identity is not verified yet.
    Redeemed(Box<UnverifiedIdentity>),
    /// The registry refused the code. The installer corrects it.
    Refused(Refusal),
    /// The attempt failed. A retry may succeed.
    ServiceError(ServiceError),
}

/// Identity of the appliance, as the registry assigned it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The tenant.
    pub tenant_id: Uuid,
    /// Edition of the redeemed code.
    pub edition: String,
    /// License and credential; `None` for the free edition.
    pub licensed: Option<Licensed>,
}

/// License and credential of a paid edition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Licensed {
    /// The license.
    #[serde(serialize_with = "serialize_secret")]
    pub license: SecretText,
    /// The `sub` of the license. Renewals keep it.
    pub sub: String,
    /// Expiry time of the license, in Unix seconds.
    pub expires_at: u64,
    /// Credential that authenticates check-ins.
    #[serde(serialize_with = "serialize_secret")]
    pub credential: SecretText,
    /// URL for check-ins.
    pub check_in_url: String,
}

/// A refusal by the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Error code for programs.
    pub code: String,
    /// The registry's text for the installer.
    pub text: String,
}

/// Error codes that the installer can resolve, with another code or through the vendor.
const REFUSALS: [&str; 9] = [
    "invalid_claim_code",
    "expired_claim_code",
    "consumed_claim_code",
    "superseded_claim_code",
    "tenant_mismatch",
    "tenant_suspended",
    "entitlement_revoked",
    "tenant_required",
    "invalid_request",
];

/// Identity in a response, before its license is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnverifiedIdentity {
    /// The tenant.
    pub tenant_id: Uuid,
    /// Edition of the redeemed code.
    pub edition: String,
    /// License and credential; `None` for the free edition.
    pub paid: Option<UnverifiedLicense>,
}

/// License and credential in a response, before the license is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnverifiedLicense {
    /// The license.
    #[serde(serialize_with = "serialize_secret")]
    pub license: SecretText,
    /// Credential that authenticates check-ins.
    #[serde(serialize_with = "serialize_secret")]
    pub credential: SecretText,
    /// URL for check-ins.
    pub check_in_url: String,
}

impl UnverifiedIdentity {
    /// Returns the verified identity. `license` holds the claims of the verified license, if the
    /// edition has one.
    pub(crate) fn to_identity(&self, license: Option<License>) -> Identity {
        let licensed = self.paid.clone().zip(license).map(|(paid, license)| Licensed {
            license: paid.license,
            sub: license.sub,
            expires_at: license.expires_at,
            credential: paid.credential,
            check_in_url: paid.check_in_url,
        });
        Identity { tenant_id: self.tenant_id, edition: self.edition.clone(), licensed }
    }
}

/// Parses the response to a redemption. Only a response in the registry's form counts: a proxy must
/// neither bind the appliance nor report a good code as bad. An error is not a refusal if the same
/// request may succeed later.
pub(crate) fn read_redemption(response: &HttpResponse, free_edition: &str) -> RedeemOutcome {
    let body = response.body.as_deref().unwrap_or_default();
    let outcome = match response.status {
        200 => read_identity(body, free_edition)
            .map(|identity| RedeemOutcome::Redeemed(Box::new(identity))),
        408 | 429 => None,
        400..500 => read_refusal(body)
            .filter(|refusal| REFUSALS.contains(&refusal.code.as_str()))
            .map(RedeemOutcome::Refused),
        _ => None,
    };
    outcome.unwrap_or_else(|| RedeemOutcome::ServiceError(response.service_error()))
}

/// Parses the identity in a response; `None` if it is incomplete. Without its license, a paid
/// edition would start a trial.
pub(crate) fn read_identity(body: &[u8], free_edition: &str) -> Option<UnverifiedIdentity> {
    let response: RegisterResponse = object(body)?;
    let fields = (response.first_jwt, response.appliance_credential, response.check_in_url);
    let paid = match fields {
        (Some(license), Some(credential), Some(check_in_url)) => {
            let is_complete =
                [&license, &credential, &check_in_url].iter().all(|field| !field.is_empty());
            let (license, credential) = (SecretText::new(license), SecretText::new(credential));
            is_complete.then_some(Some(UnverifiedLicense { license, credential, check_in_url }))?
        }
        (None, None, None) if response.edition == free_edition => None,
        _ => return None,
    };
    let is_complete = !response.tenant_id.is_nil() && !response.edition.is_empty();
    is_complete.then_some(UnverifiedIdentity {
        tenant_id: response.tenant_id,
        edition: response.edition,
        paid,
    })
}

/// Parses an error that is final; `None` if a retry may succeed, or if the body has another form.
pub(crate) fn read_refusal(body: &[u8]) -> Option<Refusal> {
    /// The fields of an error that all versions of the registry send.
    #[derive(Deserialize)]
    struct Problem {
        error: String,
        code: String,
        #[serde(default)]
        retryable: bool,
    }
    let problem: Problem = object(body)?;
    (!problem.retryable && !problem.error.is_empty() && !problem.code.is_empty())
        .then_some(Refusal { code: problem.code, text: problem.error })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const TENANT: &str = "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73";

    fn paid_identity(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut body = json!({
            "tenant_id": TENANT, "edition": "pro", "company_name": "Acme",
            "contact_email": "a@example.com", "first_jwt": "a.b.c",
            "appliance_credential": "00ff", "check_in_url": "https://registry.example/check-in",
            "server_time": "unknown fields are ignored",
        });
        change(&mut body);
        body.to_string().into_bytes()
    }

    fn read(status: u16, body: &[u8]) -> RedeemOutcome {
        let location = Some("https://login.example/".to_owned());
        let response =
            HttpResponse { status, retry_after: Some(7), location, body: Some(body.to_owned()) };
        read_redemption(&response, "essentials")
    }

    #[test]
    fn incomplete_identity_is_rejected() {
        let paid = read(200, &paid_identity(|_| {}));
        assert!(matches!(&paid, RedeemOutcome::Redeemed(it) if it.paid.is_some()), "{paid:?}");
        let free = paid_identity(|body| {
            *body = json!({
                "tenant_id": TENANT, "edition": "essentials", "company_name": "Acme",
                "contact_email": "",
            });
        });
        assert!(matches!(read(200, &free), RedeemOutcome::Redeemed(it) if it.paid.is_none()));
        for missing in ["tenant_id", "first_jwt", "appliance_credential", "check_in_url", "edition"]
        {
            let body = paid_identity(|body| drop(body.as_object_mut().unwrap().remove(missing)));
            assert_eq!(
                read(200, &body),
                RedeemOutcome::ServiceError(ServiceError::NotTheService { status: 200 }),
                "{missing}"
            );
        }
        let nil =
            paid_identity(|body| body["tenant_id"] = json!("00000000-0000-0000-0000-000000000000"));
        assert!(matches!(read(200, &nil), RedeemOutcome::ServiceError(_)));
        let array = json!([TENANT, "essentials", "Acme", ""]).to_string();
        assert!(matches!(read(200, array.as_bytes()), RedeemOutcome::ServiceError(_)));
    }

    #[test]
    fn only_registry_errors_are_refusals() {
        let bytes = |body: Value| body.to_string().into_bytes();
        let text = "Install code has expired.";
        let problem = bytes(json!({ "error": text, "code": "expired_claim_code", "status": 410 }));
        let refusal = Refusal { code: "expired_claim_code".into(), text: text.into() };
        let proxy = bytes(json!({ "error": "Who are you?", "code": "proxy" }));
        let retryable = bytes(json!({ "error": "Not now.", "code": "busy", "retryable": true }));
        let array = bytes(json!([text, "expired_claim_code", false]));
        let html = b"<html>404 Not Found</html>".to_vec();
        let failed = RedeemOutcome::ServiceError;
        let redirected = ServiceError::Redirected { to: "https://login.example/".into() };
        for (status, body, expected) in [
            (410, &problem, RedeemOutcome::Refused(refusal.clone())),
            (404, &problem, RedeemOutcome::Refused(refusal)),
            (404, &html, failed(ServiceError::NotTheService { status: 404 })),
            (200, &html, failed(ServiceError::NotTheService { status: 200 })),
            (204, &Vec::new(), failed(ServiceError::NotTheService { status: 204 })),
            (301, &html, failed(redirected)),
            (500, &problem, failed(ServiceError::ServerError { status: 500 })),
            (502, &html, failed(ServiceError::ServerError { status: 502 })),
            (503, &html, failed(ServiceError::Busy { retry_after: Some(7) })),
            (408, &problem, failed(ServiceError::TimedOut)),
            (429, &problem, failed(ServiceError::RateLimited { retry_after: Some(7) })),
            (401, &proxy, failed(ServiceError::NotTheService { status: 401 })),
            (409, &retryable, failed(ServiceError::NotTheService { status: 409 })),
            (410, &array, failed(ServiceError::NotTheService { status: 410 })),
        ] {
            assert_eq!(read(status, body), expected, "{status}");
        }
    }
}
