//! Check-ins: a licensed appliance sends its credential and receives a new license if one is due.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use registry_api::{CheckInResponse, CheckInStatus};

use crate::check_in_outcome::CheckInOutcome;
use crate::http_response::HttpResponse;
use crate::install::InstallError;
use crate::json::object;
use crate::license_state::{FILE, LicenseState};
use crate::product::Product;
use crate::redemption::read_refusal;
use crate::secret::SecretText;
use crate::store::{Folder, Lock, StoreError};

/// Sends check-ins to the registry.
#[async_trait]
pub trait CheckInClient: Send + Sync {
    /// Sends the credential and returns the outcome. A license in it is verified.
    async fn check_in(&self, license_state: &LicenseState) -> CheckInOutcome;
}

/// The error code for a credential that the registry does not accept.
const REVOKED: &str = "revoked_appliance";

/// A response to a check-in. A new license is not verified yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UnverifiedCheckIn {
    NewLicense { license: SecretText, next_check_in: Option<Duration> },
    Outcome(CheckInOutcome),
}

/// Parses the response to a check-in.
pub(crate) fn read_check_in(response: &HttpResponse) -> UnverifiedCheckIn {
    let body = response.body.as_deref().unwrap_or_default();
    let check_in = match response.status {
        200 => object(body).map(unverified),
        401 => read_refusal(body)
            .filter(|refusal| refusal.code == REVOKED)
            .map(|_| UnverifiedCheckIn::Outcome(CheckInOutcome::CredentialRevoked)),
        _ => None,
    };
    check_in.unwrap_or_else(|| {
        UnverifiedCheckIn::Outcome(CheckInOutcome::ServiceError(response.service_error()))
    })
}

fn unverified(response: CheckInResponse) -> UnverifiedCheckIn {
    // Both times are the registry's: this machine's clock may be wrong.
    let next_check_in = (response.next_check_in_at - response.server_time).to_std().ok();
    match (response.status, response.jwt) {
        (CheckInStatus::Ok, Some(license)) => {
            UnverifiedCheckIn::NewLicense { license: SecretText::new(license), next_check_in }
        }
        (CheckInStatus::Ok, None) => {
            UnverifiedCheckIn::Outcome(CheckInOutcome::Current { next_check_in })
        }
        (CheckInStatus::Revoked, _) => {
            UnverifiedCheckIn::Outcome(CheckInOutcome::Revoked { next_check_in })
        }
    }
}

/// The check-ins of an appliance, with the license state in its state folder. While this value
/// exists, no other program changes the license state.
pub struct CheckIns {
    folder: Folder,
    license_state: LicenseState,
    _lock: Lock,
}

impl CheckIns {
    /// Locks and reads the license state. Returns `None` if the appliance is not installed or has
    /// no license to renew.
    pub fn open(folder: &Path) -> Result<Option<Self>, StoreError> {
        let folder = Folder::open(folder)?;
        let lock = folder.lock(FILE)?;
        folder.sweep()?;
        let license_state = folder.read(FILE)?;
        Ok(license_state.map(|license_state| Self { folder, license_state, _lock: lock }))
    }

    /// Returns the license state.
    #[must_use]
    pub fn license_state(&self) -> &LicenseState {
        &self.license_state
    }

    /// Checks in at `now`, in Unix seconds, and delivers a new license to the product. The license
    /// is stored before the delivery, so a crash in between does not lose it. The caller draws
    /// `nonce` at random.
    pub async fn check_in(
        &mut self,
        registry: &dyn CheckInClient,
        product: &dyn Product,
        now: u64,
        nonce: [u8; 16],
    ) -> Result<(), InstallError> {
        self.license_state.begin_check_in(nonce);
        self.folder.write(FILE, &self.license_state)?;
        let jitter = u16::from_be_bytes([nonce[0], nonce[1]]);
        let outcome = registry.check_in(&self.license_state).await;
        self.license_state.apply(outcome, now, jitter);
        self.folder.write(FILE, &self.license_state)?;
        self.deliver(product).await
    }

    /// Delivers the license to the product, unless the product has it already.
    pub async fn deliver(&mut self, product: &dyn Product) -> Result<(), InstallError> {
        if !self.license_state.delivered {
            product
                .renew(&self.license_state.license_seed(product.namespace()))
                .await
                .map_err(InstallError::Product)?;
            self.license_state.delivered = true;
            self.folder.write(FILE, &self.license_state)?;
        }
        Ok(())
    }
}

/// Reads the license state without a lock.
pub fn license_state(folder: &Path) -> Result<Option<LicenseState>, StoreError> {
    Folder::open(folder)?.read(FILE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::service_error::ServiceError;

    fn read_body(status: u16, body: &serde_json::Value) -> UnverifiedCheckIn {
        read_check_in(&HttpResponse {
            status,
            retry_after: None,
            location: None,
            body: Some(body.to_string().into_bytes()),
        })
    }

    #[test]
    fn each_response_has_its_outcome() {
        // Both times are in the past: only their difference counts.
        let response = |status: &str, jwt: Option<&str>| {
            json!({
                "status": status, "jwt": jwt, "exp": jwt.map(|_| 1_800_000_000),
                "server_time": "2001-01-01T00:00:00Z", "next_check_in_at": "2001-01-01T20:00:00Z",
            })
        };
        let server_time = "2001-01-01T00:00:00Z";
        let next_check_in = Some(Duration::from_hours(20));
        let license = SecretText::new("a.b.c".into());
        let renewed = UnverifiedCheckIn::NewLicense { license, next_check_in };
        let unknown = json!({ "error": "Not known.", "code": "revoked_appliance" });
        let proxy = json!({ "error": "Who are you?", "code": "proxy" });
        let outcome = UnverifiedCheckIn::Outcome;
        let not_the_service =
            |status| outcome(CheckInOutcome::ServiceError(ServiceError::NotTheService { status }));
        let server_error =
            outcome(CheckInOutcome::ServiceError(ServiceError::ServerError { status: 500 }));
        for (status, body, expected) in [
            (200, response("ok", Some("a.b.c")), renewed),
            (200, response("ok", None), outcome(CheckInOutcome::Current { next_check_in })),
            (200, response("revoked", None), outcome(CheckInOutcome::Revoked { next_check_in })),
            (200, json!({ "status": "fine" }), not_the_service(200)),
            (200, json!(["ok", null, null, server_time, server_time]), not_the_service(200)),
            (401, unknown.clone(), outcome(CheckInOutcome::CredentialRevoked)),
            (401, proxy, not_the_service(401)),
            (403, unknown, not_the_service(403)),
            (500, json!({}), server_error),
        ] {
            assert_eq!(read_body(status, &body), expected, "{status} {body}");
        }
    }
}
