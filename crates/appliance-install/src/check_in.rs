//! Checking in: a licensed appliance shows its credential, and takes the license that comes back.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use registry_api::{CheckInResponse, CheckInStatus};

use crate::check_in_outcome::CheckInOutcome;
use crate::http_response::HttpResponse;
use crate::install::{InstallError, Product};
use crate::license_state::{FILE, LicenseState};
use crate::redemption::refused;
use crate::secret::SecretText;
use crate::store::{Folder, Lock, StoreError};

/// Checks in.
#[async_trait]
pub trait CheckInClient: Send + Sync {
    /// Shows the credential, and says what came back. A license in it is verified.
    async fn check_in(&self, license_state: &LicenseState) -> CheckInOutcome;
}

/// What the registry says of a credential that it does not know.
const REVOKED: &str = "revoked_appliance";

/// What an answer comes to; its license is not believed yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CheckedIn {
    New { license: SecretText, asked: Option<Duration> },
    CheckInOutcome(CheckInOutcome),
}

/// Reads an answer.
pub(crate) fn read(answer: &HttpResponse) -> CheckedIn {
    let body = answer.body.as_deref().unwrap_or_default();
    let outcome = match answer.status {
        200 => serde_json::from_slice(body).ok().map(checked_in),
        401 => refused(body)
            .filter(|refused| refused.code == REVOKED)
            .map(|_| CheckedIn::CheckInOutcome(CheckInOutcome::CredentialRevoked)),
        _ => None,
    };
    outcome.unwrap_or_else(|| {
        CheckedIn::CheckInOutcome(CheckInOutcome::ServiceError(answer.service_error()))
    })
}

fn checked_in(answer: CheckInResponse) -> CheckedIn {
    // By the registry's clock, both: this machine's may be off.
    let asked = (answer.next_check_in_at - answer.server_time).to_std().ok();
    match (answer.status, answer.jwt) {
        (CheckInStatus::Ok, Some(license)) => {
            CheckedIn::New { license: SecretText::new(license), asked }
        }
        (CheckInStatus::Ok, None) => CheckedIn::CheckInOutcome(CheckInOutcome::Current { asked }),
        (CheckInStatus::Revoked, _) => CheckedIn::CheckInOutcome(CheckInOutcome::Revoked { asked }),
    }
}

/// The check-ins of an appliance, out of its state folder. While it is there, no other program
/// changes what is held.
pub struct CheckIns {
    folder: Folder,
    license_state: LicenseState,
    _lock: Lock,
}

impl CheckIns {
    /// What the appliance holds; `None` where it is not installed, or has no license to renew.
    pub fn open(folder: &Path) -> Result<Option<Self>, StoreError> {
        let folder = Folder::open(folder)?;
        let lock = folder.lock(FILE)?;
        folder.sweep()?;
        let license_state = folder.read(FILE)?;
        Ok(license_state.map(|license_state| Self { folder, license_state, _lock: lock }))
    }

    /// What is held.
    #[must_use]
    pub fn license_state(&self) -> &LicenseState {
        &self.license_state
    }

    /// Checks in at `now`, and hands a new license to the product: first it is written down, so
    /// that a crash in between loses none. `jitter` is drawn freshly.
    pub async fn check_in(
        &mut self,
        registry: &dyn CheckInClient,
        product: &dyn Product,
        now: u64,
        jitter: u16,
    ) -> Result<(), InstallError> {
        let outcome = registry.check_in(&self.license_state).await;
        self.license_state.take(outcome, now, jitter);
        self.folder.write(FILE, &self.license_state)?;
        self.hand(product).await
    }

    /// Hands the license to the product, where that does not have it yet.
    pub async fn hand(&mut self, product: &dyn Product) -> Result<(), InstallError> {
        if !self.license_state.handed {
            product
                .renew(&self.license_state.license_seed())
                .await
                .map_err(InstallError::Product)?;
            self.license_state.handed = true;
            self.folder.write(FILE, &self.license_state)?;
        }
        Ok(())
    }
}

/// What the appliance holds, to look at.
pub fn license_state(folder: &Path) -> Result<Option<LicenseState>, StoreError> {
    Folder::open(folder)?.read(FILE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::service_error::ServiceError;

    fn read_body(status: u16, body: &serde_json::Value) -> CheckedIn {
        read(&HttpResponse {
            status,
            retry_after: None,
            location: None,
            body: Some(body.to_string().into_bytes()),
        })
    }

    #[test]
    fn an_answer_is_read_by_the_registrys_own_clock() {
        let times = |status: &str, jwt: Option<&str>| {
            json!({
                "status": status, "jwt": jwt, "exp": jwt.map(|_| 1_800_000_000),
                "server_time": "2001-01-01T00:00:00Z", "next_check_in_at": "2001-01-01T20:00:00Z",
            })
        };
        let asked = Some(Duration::from_hours(20));
        let renewed = CheckedIn::New { license: SecretText::new("a.b.c".into()), asked };
        let revoked = json!({ "error": "Not known.", "code": "revoked_appliance" });
        let proxy = json!({ "error": "Who are you?", "code": "proxy" });
        let not_the_service = |status| {
            CheckedIn::CheckInOutcome(CheckInOutcome::ServiceError(ServiceError::NotTheService {
                status,
            }))
        };
        for (status, body, expected) in [
            (200, times("ok", Some("a.b.c")), renewed),
            (200, times("ok", None), CheckedIn::CheckInOutcome(CheckInOutcome::Current { asked })),
            (
                200,
                times("revoked", None),
                CheckedIn::CheckInOutcome(CheckInOutcome::Revoked { asked }),
            ),
            (200, json!({ "status": "fine" }), not_the_service(200)),
            (401, revoked.clone(), CheckedIn::CheckInOutcome(CheckInOutcome::CredentialRevoked)),
            (401, proxy, not_the_service(401)),
            (403, revoked, not_the_service(403)),
            (
                500,
                json!({}),
                CheckedIn::CheckInOutcome(CheckInOutcome::ServiceError(ServiceError::Failing {
                    status: 500,
                })),
            ),
        ] {
            assert_eq!(read_body(status, &body), expected, "{status} {body}");
        }
    }
}
