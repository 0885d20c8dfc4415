//! What a redemption comes to, and how an answer is read.

use appliance_license::License;
use async_trait::async_trait;
use registry_api::RegisterResponse;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::http_response::HttpResponse;
use crate::secret::{SecretText, write_down};
use crate::service_error::ServiceError;

/// A code to redeem.
#[derive(Clone, Debug)]
pub struct RedeemRequest {
    /// The code as typed.
    pub code: SecretText,
    /// What this appliance calls itself.
    pub appliance_id: String,
    /// The same in every try of this code, so that a lost answer is had again.
    pub idempotency_key: String,
}

/// Redeems codes.
#[async_trait]
pub trait RedeemClient: Send + Sync {
    /// Redeems a code, or says why not.
    async fn redeem(&self, request: &RedeemRequest) -> RedeemOutcome;

    /// Verifies what a redemption answered. MUST be repeatable: the answer was written down before.
    async fn believe(&self, claimed: &UnverifiedIdentity) -> Result<Identity, ServiceError>;
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedeemOutcome {
    /// The registry answered with an identity.
    Answered(Box<UnverifiedIdentity>),
    /// The code is no good: the operator corrects it.
    Refused(Refused),
    /// Trying again helps.
    ServiceError(ServiceError),
}

/// Who this appliance is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The tenant.
    pub tenant_id: Uuid,
    /// The edition that the code carried.
    pub edition: String,
    /// What paid editions bring.
    pub licensed: Option<Licensed>,
}

/// What paid editions bring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Licensed {
    /// The license.
    #[serde(serialize_with = "write_down")]
    pub license: SecretText,
    /// Its `sub`, the same over all renewals.
    pub sub: String,
    /// When it ends, in Unix seconds.
    pub expires_at: u64,
    /// What the appliance proves itself with.
    #[serde(serialize_with = "write_down")]
    pub credential: SecretText,
    /// Where the license is renewed.
    pub check_in_url: String,
}

/// A refusal, in the registry's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What a program can branch on.
    pub code: String,
    /// What the operator reads.
    pub text: String,
}

/// The refusals that the operator can do something about, by another code or a word with the
/// vendor.
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

/// What an answer says of an identity, its license not believed yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnverifiedIdentity {
    /// The tenant.
    pub tenant_id: Uuid,
    /// The edition that the code carried.
    pub edition: String,
    /// What paid editions bring.
    pub paid: Option<UnverifiedLicense>,
}

/// What an answer says of a paid edition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnverifiedLicense {
    /// The license.
    #[serde(serialize_with = "write_down")]
    pub license: SecretText,
    /// What the appliance proves itself with.
    #[serde(serialize_with = "write_down")]
    pub credential: SecretText,
    /// Where the license is renewed.
    pub check_in_url: String,
}

impl UnverifiedIdentity {
    /// The identity, once its license is believed: `license` is what that says, where there is one.
    pub(crate) fn believed(&self, license: Option<License>) -> Identity {
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

/// Reads an answer. What does not look like the registry's is none of its: no answer of another may
/// bind the appliance, or tell the operator that a good code is bad. Nor is it a refusal where the
/// same request may be answered later.
pub(crate) fn read(answer: &HttpResponse, free_edition: &str) -> RedeemOutcome {
    let body = answer.body.as_deref().unwrap_or_default();
    let read = match answer.status {
        200 => {
            claimed(body, free_edition).map(|claimed| RedeemOutcome::Answered(Box::new(claimed)))
        }
        408 | 429 => None,
        400..500 => {
            let known = refused(body).filter(|refused| REFUSALS.contains(&refused.code.as_str()));
            known.map(RedeemOutcome::Refused)
        }
        _ => None,
    };
    read.unwrap_or_else(|| RedeemOutcome::ServiceError(answer.service_error()))
}

/// The identity in an answer: whole, or none. A paid edition without its license would start a
/// trial.
pub(crate) fn claimed(body: &[u8], free_edition: &str) -> Option<UnverifiedIdentity> {
    let answer: RegisterResponse = serde_json::from_slice(body).ok()?;
    let fields = (answer.first_jwt, answer.appliance_credential, answer.check_in_url);
    let paid = match fields {
        (Some(license), Some(credential), Some(check_in_url)) => {
            let is_whole =
                [&license, &credential, &check_in_url].iter().all(|field| !field.is_empty());
            let (license, credential) = (SecretText::new(license), SecretText::new(credential));
            is_whole.then_some(Some(UnverifiedLicense { license, credential, check_in_url }))?
        }
        (None, None, None) if answer.edition == free_edition => None,
        _ => return None,
    };
    let is_somebody = !answer.tenant_id.is_nil() && !answer.edition.is_empty();
    is_somebody.then_some(UnverifiedIdentity {
        tenant_id: answer.tenant_id,
        edition: answer.edition,
        paid,
    })
}

pub(crate) fn refused(body: &[u8]) -> Option<Refused> {
    /// What old and new registries both say.
    #[derive(Deserialize)]
    struct CheckInOutcome {
        error: String,
        code: String,
        #[serde(default)]
        retryable: bool,
    }
    let outcome: CheckInOutcome = serde_json::from_slice(body).ok()?;
    (!outcome.retryable && !outcome.error.is_empty() && !outcome.code.is_empty())
        .then_some(Refused { code: outcome.code, text: outcome.error })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const TENANT: &str = "019b0a51-7d1e-7c3a-9b52-4f0e8d6a1c73";

    fn answer(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut body = json!({
            "tenant_id": TENANT, "edition": "pro", "company_name": "Acme", "contact_email": "a@example.com",
            "first_jwt": "a.b.c", "appliance_credential": "00ff", "check_in_url": "https://registry.example/check-in",
            "server_time": "unknown fields are fine",
        });
        change(&mut body);
        body.to_string().into_bytes()
    }

    fn read(status: u16, body: &[u8]) -> RedeemOutcome {
        let location = Some("https://login.example/".to_owned());
        super::read(
            &HttpResponse { status, retry_after: Some(7), location, body: Some(body.to_owned()) },
            "essentials",
        )
    }

    #[test]
    fn an_identity_is_whole_or_none() {
        let whole = read(200, &answer(|_| {}));
        assert!(matches!(&whole, RedeemOutcome::Answered(it) if it.paid.is_some()), "{whole:?}");
        let free = answer(|body| {
            *body = json!({
                "tenant_id": TENANT, "edition": "essentials", "company_name": "Acme", "contact_email": "",
            });
        });
        assert!(matches!(read(200, &free), RedeemOutcome::Answered(it) if it.paid.is_none()));
        for lacking in ["tenant_id", "first_jwt", "appliance_credential", "check_in_url", "edition"]
        {
            let body = answer(|body| drop(body.as_object_mut().unwrap().remove(lacking)));
            assert_eq!(
                read(200, &body),
                RedeemOutcome::ServiceError(ServiceError::NotTheService { status: 200 }),
                "{lacking}"
            );
        }
        let nil = answer(|body| body["tenant_id"] = json!("00000000-0000-0000-0000-000000000000"));
        assert!(matches!(read(200, &nil), RedeemOutcome::ServiceError(_)));
    }

    #[test]
    fn an_answer_is_a_refusal_only_in_the_registrys_own_form() {
        let problem = json!({ "error": "Install code has expired.", "code": "expired_claim_code", "status": 410 });
        let problem = problem.to_string().into_bytes();
        let refused =
            Refused { code: "expired_claim_code".into(), text: "Install code has expired.".into() };
        let proxy = json!({ "error": "Who are you?", "code": "proxy" }).to_string().into_bytes();
        let again = json!({ "error": "Not now.", "code": "busy", "retryable": true })
            .to_string()
            .into_bytes();
        let html = b"<html>404 Not Found</html>".to_vec();
        for (status, body, expected) in [
            (410, &problem, RedeemOutcome::Refused(refused.clone())),
            (404, &problem, RedeemOutcome::Refused(refused)),
            (404, &html, RedeemOutcome::ServiceError(ServiceError::NotTheService { status: 404 })),
            (200, &html, RedeemOutcome::ServiceError(ServiceError::NotTheService { status: 200 })),
            (
                204,
                &Vec::new(),
                RedeemOutcome::ServiceError(ServiceError::NotTheService { status: 204 }),
            ),
            (
                301,
                &html,
                RedeemOutcome::ServiceError(ServiceError::Redirected {
                    to: "https://login.example/".into(),
                }),
            ),
            (500, &problem, RedeemOutcome::ServiceError(ServiceError::Failing { status: 500 })),
            (502, &html, RedeemOutcome::ServiceError(ServiceError::Failing { status: 502 })),
            (503, &html, RedeemOutcome::ServiceError(ServiceError::Busy { retry_after: Some(7) })),
            (408, &problem, RedeemOutcome::ServiceError(ServiceError::TimedOut)),
            (
                429,
                &problem,
                RedeemOutcome::ServiceError(ServiceError::Throttled { retry_after: Some(7) }),
            ),
            (401, &proxy, RedeemOutcome::ServiceError(ServiceError::NotTheService { status: 401 })),
            (409, &again, RedeemOutcome::ServiceError(ServiceError::NotTheService { status: 409 })),
        ] {
            assert_eq!(read(status, body), expected, "{status}");
        }
    }
}
