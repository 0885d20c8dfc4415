//! The license state of an appliance: `license.json`, beside the state of the installation.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::check_in_outcome::CheckInOutcome;
use crate::redemption::{Identity, Licensed};
use crate::schedule::Schedule;
use crate::secrets::license_seed;
use crate::service_error::ServiceError;

/// Name of the file in the state folder.
pub(crate) const FILE: &str = "license.json";

/// License and check-ins of a licensed appliance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicenseState {
    /// The tenant.
    pub tenant_id: Uuid,
    /// Id of the appliance.
    pub appliance_id: String,
    /// Edition of the redeemed code.
    pub edition: String,
    /// The license, the credential, and the URL for check-ins.
    pub licensed: Licensed,
    /// True if the product has this license.
    #[serde(alias = "handed")]
    pub delivered: bool,
    /// Time of the next check-in.
    pub schedule: Schedule,
    /// Number of check-ins that the registry responded to.
    #[serde(default, alias = "answers")]
    pub completed_check_ins: u64,
    /// Number of check-ins that were sent. It lets the registry see two machines with this state.
    #[serde(default)]
    pub sequence: u32,
    /// Idempotency key of the present check-in, until the registry responds: all attempts have the
    /// same, so a response that was lost is received again.
    #[serde(default)]
    pub check_in_key: Option<String>,
    /// Time of the registry's last response, in Unix seconds.
    #[serde(alias = "last_answer_at")]
    pub last_response_at: Option<u64>,
    /// Status after the last check-in; `None` before the first one.
    #[serde(alias = "standing")]
    pub status: Option<LicenseStatus>,
}

/// Status of an appliance's license, after a check-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LicenseStatus {
    /// The appliance is entitled to its license.
    Entitled,
    /// The entitlement was revoked, or the tenant is suspended. The license stays valid until it
    /// expires.
    Revoked,
    /// The registry no longer accepts the credential.
    CredentialRevoked,
    /// The registry could not be reached, or its response cannot be trusted.
    #[serde(alias = "trouble")]
    ServiceError(ServiceError),
}

impl LicenseState {
    /// Creates the state after a redemption; `None` if the redemption brought no license. The first
    /// check-in is due at once.
    #[must_use]
    pub fn from_identity(identity: &Identity, appliance_id: &str) -> Option<Self> {
        let licensed = identity.licensed.clone()?;
        Some(Self {
            tenant_id: identity.tenant_id,
            appliance_id: appliance_id.to_owned(),
            edition: identity.edition.clone(),
            licensed,
            delivered: true,
            schedule: Schedule::default(),
            completed_check_ins: 0,
            sequence: 0,
            check_in_key: None,
            last_response_at: None,
            status: None,
        })
    }

    /// Returns the address of the registry: the origin of the check-in URL.
    #[must_use]
    pub fn service(&self) -> &str {
        let url = &self.licensed.check_in_url;
        let host = url.find("://").map_or(0, |at| at + 3);
        url[host..].find('/').map_or(url, |path| &url[..host + path])
    }

    /// Begins an attempt to check in. The caller draws `nonce` at random, so that no other machine
    /// with a copy of this state has the same key.
    pub(crate) fn begin_check_in(&mut self, nonce: [u8; 16]) {
        self.sequence = self.sequence.saturating_add(1);
        let new_key = || format!("check-in-{}", BASE64_URL_SAFE_NO_PAD.encode(nonce));
        self.check_in_key.get_or_insert_with(new_key);
    }

    /// Renders the Secret that the product reads, with the current license.
    #[must_use]
    pub fn license_seed(&self, namespace: &str) -> String {
        license_seed(namespace, &self.edition, Some(&self.licensed), &self.appliance_id)
    }

    /// Applies the outcome of a check-in at `now`, in Unix seconds. The caller draws `jitter` at
    /// random.
    pub fn apply(&mut self, outcome: CheckInOutcome, now: u64, jitter: u16) {
        let complete = |state: &mut Self, status, next_check_in| {
            state.completed_check_ins += 1;
            state.check_in_key = None;
            state.last_response_at = Some(now);
            state.status = Some(status);
            state.schedule.record_response(now, next_check_in, jitter);
        };
        match outcome {
            CheckInOutcome::Renewed { license, sub, expires_at, next_check_in } => {
                self.licensed.license = license;
                self.licensed.sub = sub;
                self.licensed.expires_at = expires_at;
                self.delivered = false;
                complete(self, LicenseStatus::Entitled, next_check_in);
            }
            CheckInOutcome::Current { next_check_in } => {
                complete(self, LicenseStatus::Entitled, next_check_in);
            }
            CheckInOutcome::Revoked { next_check_in } => {
                complete(self, LicenseStatus::Revoked, next_check_in);
            }
            CheckInOutcome::CredentialRevoked => {
                complete(self, LicenseStatus::CredentialRevoked, None);
            }
            CheckInOutcome::ServiceError(service_error) => {
                self.schedule.record_failure(now, &service_error, jitter);
                self.status = Some(LicenseStatus::ServiceError(service_error));
            }
        }
    }
}

impl LicenseStatus {
    /// Returns the text for the installer.
    #[must_use]
    pub fn message(&self, service: &str) -> String {
        match self {
            Self::Entitled => "The license is up to date.".to_owned(),
            Self::Revoked => "The subscription has ended, or the tenant is suspended. The license \
                              is no longer renewed and stays valid until it expires. Contact your \
                              vendor."
                .to_owned(),
            Self::CredentialRevoked => {
                "The registry no longer accepts this appliance's credential. The license is not \
                 renewed and stays valid until it expires. Request a new code from the portal \
                 (re-issue), run `appliance-setup reset --yes`, and install again."
                    .to_owned()
            }
            Self::ServiceError(service_error) => service_error.message(service),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretText;

    #[test]
    fn service_is_origin_of_check_in_url() {
        let mut license_state = LicenseState::from_identity(
            &Identity {
                tenant_id: Uuid::from_u128(7),
                edition: "pro".into(),
                licensed: Some(Licensed {
                    license: SecretText::default(),
                    sub: "lic_1".into(),
                    expires_at: 1,
                    credential: SecretText::default(),
                    check_in_url: String::new(),
                }),
            },
            "appliance-1",
        )
        .unwrap();
        for (url, service) in [
            ("https://registry.example/check-in", "https://registry.example"),
            ("http://127.0.0.1:8080/check-in", "http://127.0.0.1:8080"),
            ("https://registry.example", "https://registry.example"),
        ] {
            license_state.licensed.check_in_url = url.to_owned();
            assert_eq!(license_state.service(), service);
        }
    }
}
