//! Checking in: a licensed appliance shows its credential, and takes the license that comes back.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use registry_api::{CheckInAnswer, CheckInStatus};

use crate::answer::Answer;
use crate::held::{FILE, Held};
use crate::install::{InstallError, Product};
use crate::outcome::refused;
use crate::said::Said;
use crate::secret::SecretText;
use crate::store::{Folder, Lock, StoreError};

/// Checks in.
#[async_trait]
pub trait CheckingIn: Send + Sync {
    /// Shows the credential, and says what came back. A license in it is verified.
    async fn check_in(&self, held: &Held) -> Said;
}

/// What the registry says of a credential that it does not know.
const REVOKED: &str = "revoked_appliance";

/// What an answer comes to; its license is not believed yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CheckedIn {
    New { license: SecretText, asked: Option<Duration> },
    Said(Said),
}

/// Reads an answer.
pub(crate) fn read(answer: &Answer) -> CheckedIn {
    let body = answer.body.as_deref().unwrap_or_default();
    let said = match answer.status {
        200 => serde_json::from_slice(body).ok().map(checked_in),
        401 => refused(body)
            .filter(|refused| refused.code == REVOKED)
            .map(|_| CheckedIn::Said(Said::CredentialRevoked)),
        _ => None,
    };
    said.unwrap_or_else(|| CheckedIn::Said(Said::Trouble(answer.trouble())))
}

fn checked_in(answer: CheckInAnswer) -> CheckedIn {
    // By the registry's clock, both: this machine's may be off.
    let asked = (answer.next_check_in_at - answer.server_time).to_std().ok();
    match (answer.status, answer.jwt) {
        (CheckInStatus::Ok, Some(license)) => {
            CheckedIn::New { license: SecretText::new(license), asked }
        }
        (CheckInStatus::Ok, None) => CheckedIn::Said(Said::Current { asked }),
        (CheckInStatus::Revoked, _) => CheckedIn::Said(Said::Revoked { asked }),
    }
}

/// The check-ins of an appliance, out of its state folder. While it is there, no other program
/// changes what is held.
pub struct CheckIns {
    folder: Folder,
    held: Held,
    _lock: Lock,
}

impl CheckIns {
    /// What the appliance holds; `None` where it is not installed, or has no license to renew.
    pub fn open(folder: &Path) -> Result<Option<Self>, StoreError> {
        let folder = Folder::open(folder)?;
        let lock = folder.lock(FILE)?;
        folder.sweep()?;
        let held = folder.read(FILE)?;
        Ok(held.map(|held| Self { folder, held, _lock: lock }))
    }

    /// What is held.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Checks in at `now`, and hands a new license to the product: first it is written down, so
    /// that a crash in between loses none. `jitter` is drawn freshly.
    pub async fn check_in(
        &mut self,
        registry: &dyn CheckingIn,
        product: &dyn Product,
        now: u64,
        jitter: u16,
    ) -> Result<(), InstallError> {
        let said = registry.check_in(&self.held).await;
        self.held.take(said, now, jitter);
        self.folder.write(FILE, &self.held)?;
        self.hand(product).await
    }

    /// Hands the license to the product, where that does not have it yet.
    pub async fn hand(&mut self, product: &dyn Product) -> Result<(), InstallError> {
        if !self.held.handed {
            product.renew(&self.held.license_seed()).await.map_err(InstallError::Handing)?;
            self.held.handed = true;
            self.folder.write(FILE, &self.held)?;
        }
        Ok(())
    }
}

/// What the appliance holds, to look at.
pub fn held(folder: &Path) -> Result<Option<Held>, StoreError> {
    Folder::open(folder)?.read(FILE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::trouble::Trouble;

    fn read_body(status: u16, body: &serde_json::Value) -> CheckedIn {
        read(&Answer {
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
        let not_the_service =
            |status| CheckedIn::Said(Said::Trouble(Trouble::NotTheService { status }));
        for (status, body, expected) in [
            (200, times("ok", Some("a.b.c")), renewed),
            (200, times("ok", None), CheckedIn::Said(Said::Current { asked })),
            (200, times("revoked", None), CheckedIn::Said(Said::Revoked { asked })),
            (200, json!({ "status": "fine" }), not_the_service(200)),
            (401, revoked.clone(), CheckedIn::Said(Said::CredentialRevoked)),
            (401, proxy, not_the_service(401)),
            (403, revoked, not_the_service(403)),
            (500, json!({}), CheckedIn::Said(Said::Trouble(Trouble::Failing { status: 500 }))),
        ] {
            assert_eq!(read_body(status, &body), expected, "{status} {body}");
        }
    }
}
