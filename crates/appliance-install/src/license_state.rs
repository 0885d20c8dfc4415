//! What a licensed appliance holds, and how it stands: `license.json`, beside the installation's
//! own state.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::check_in_outcome::CheckInOutcome;
use crate::redemption::{Identity, Licensed};
use crate::schedule::Schedule;
use crate::secrets::license_seed;
use crate::service_error::ServiceError;

/// Its name in the state folder.
pub(crate) const FILE: &str = "license.json";

/// What a licensed appliance holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicenseState {
    /// The tenant.
    pub tenant_id: Uuid,
    /// What the appliance calls itself.
    pub appliance_id: String,
    /// The edition that it was installed as.
    pub edition: String,
    /// The license, the credential, and where it is renewed.
    pub licensed: Licensed,
    /// Whether the product has this license.
    pub handed: bool,
    /// When it is renewed.
    pub schedule: Schedule,
    /// How many check-ins were answered.
    #[serde(default)]
    pub answers: u64,
    /// When the registry last answered, in Unix seconds.
    pub last_answer_at: Option<u64>,
    /// How it stands, by the last check-in; none before the first.
    pub standing: Option<LicenseStatus>,
}

/// How an appliance stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LicenseStatus {
    /// It is entitled.
    Entitled,
    /// What it was entitled to has ended; it keeps its license to that one's end.
    Revoked,
    /// The registry does not know its credential any more.
    CredentialRevoked,
    /// The registry was not reached, or its answer is not believed.
    #[serde(alias = "trouble")]
    ServiceError(ServiceError),
}

impl LicenseState {
    /// What a redemption brought; `None` where that was no license. It is checked in at once.
    #[must_use]
    pub fn first(identity: &Identity, appliance_id: &str) -> Option<Self> {
        let licensed = identity.licensed.clone()?;
        Some(Self {
            tenant_id: identity.tenant_id,
            appliance_id: appliance_id.to_owned(),
            edition: identity.edition.clone(),
            licensed,
            handed: true,
            schedule: Schedule::default(),
            answers: 0,
            last_answer_at: None,
            standing: None,
        })
    }

    /// The service that answers check-ins: the origin of the URL.
    #[must_use]
    pub fn service(&self) -> &str {
        let url = &self.licensed.check_in_url;
        let host = url.find("://").map_or(0, |at| at + 3);
        url[host..].find('/').map_or(url, |path| &url[..host + path])
    }

    /// The same for every try of a check-in, until it is answered: an answer that got lost is had
    /// again.
    pub(crate) fn idempotency_key(&self) -> String {
        let cycle = format!("{} {}", self.licensed.credential.expose(), self.answers);
        format!("check-in-{}", BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(cycle)))
    }

    /// The Secret that the product reads, with the license as it is now.
    #[must_use]
    pub fn license_seed(&self) -> String {
        license_seed(&self.edition, Some(&self.licensed), &self.appliance_id)
    }

    /// Takes what a check-in came to, at `now`; `jitter` is drawn freshly.
    pub fn take(&mut self, outcome: CheckInOutcome, now: u64, jitter: u16) {
        let answered = |license_state: &mut Self, standing, asked| {
            license_state.answers += 1;
            license_state.last_answer_at = Some(now);
            license_state.standing = Some(standing);
            license_state.schedule.answered(now, asked, jitter);
        };
        match outcome {
            CheckInOutcome::Renewed { license, sub, expires_at, asked } => {
                self.licensed.license = license;
                self.licensed.sub = sub;
                self.licensed.expires_at = expires_at;
                self.handed = false;
                answered(self, LicenseStatus::Entitled, asked);
            }
            CheckInOutcome::Current { asked } => answered(self, LicenseStatus::Entitled, asked),
            CheckInOutcome::Revoked { asked } => answered(self, LicenseStatus::Revoked, asked),
            CheckInOutcome::CredentialRevoked => {
                answered(self, LicenseStatus::CredentialRevoked, None)
            }
            CheckInOutcome::ServiceError(service_error) => {
                self.schedule.failed(now, &service_error, jitter);
                self.standing = Some(LicenseStatus::ServiceError(service_error));
            }
        }
    }
}

impl LicenseStatus {
    /// What an operator reads.
    #[must_use]
    pub fn message(&self, service: &str) -> String {
        match self {
            Self::Entitled => "The license is renewed as it should be.".to_owned(),
            Self::Revoked => "The subscription has ended, or the tenant is suspended: the license is not renewed any \
                              more, and holds until its end. Contact the vendor."
                .to_owned(),
            Self::CredentialRevoked => "The registry does not know this appliance's credential any more: the license \
                                        is not renewed, and holds until its end. Request a fresh code from the portal \
                                        (re-issue), start over with `reset`, and install again."
                .to_owned(),
            Self::ServiceError(service_error) => service_error.message(service),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretText;

    #[test]
    fn the_service_is_the_origin_of_the_check_in_url() {
        let mut license_state = LicenseState::first(
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
