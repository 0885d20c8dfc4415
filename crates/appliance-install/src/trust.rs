//! The keys that licenses are believed by: those that the image brought along, or those that were
//! seen first, pinned.

use std::path::{Path, PathBuf};

use appliance_license::{Invalid, License, LicenseState, TrustedKeys, Verifier};
use uuid::Uuid;

use crate::service_error::ServiceError;

/// The name that pinned keys have in the state folder.
pub const KEYS: &str = "keys.json";

/// Where keys are, and whose licenses are believed.
#[derive(Clone, Debug)]
pub struct Trust {
    /// A key set that the image or the operator brought (`registryctl keys export`); then none is
    /// fetched.
    pub given: Option<PathBuf>,
    /// Where those that were fetched are pinned.
    pub pinned: PathBuf,
    /// The `iss` of the licenses.
    pub issuer: String,
    /// The edition that has no licenses: an answer for any other one without a license is not
    /// believed.
    pub free_edition: String,
}

/// What a license is worth by some keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It holds.
    Good(License),
    /// None of these keys signed it: newer ones may have.
    UnknownKey,
    /// It does not hold.
    Bad(String),
    /// It does not hold by this machine's clock.
    Clock(String),
}

impl Verdict {
    /// The license; `None` where its key is not known.
    pub(crate) fn into_result(self) -> Result<Option<License>, ServiceError> {
        match self {
            Self::Good(license) => Ok(Some(license)),
            Self::UnknownKey => Ok(None),
            Self::Bad(reason) => Err(ServiceError::Untrusted { reason }),
            Self::Clock(problem) => Err(ServiceError::Clock { problem }),
        }
    }
}

/// Judges a license of a tenant, at `now`, in Unix seconds.
pub(crate) fn judge(
    keys: TrustedKeys,
    issuer: &str,
    tenant: Uuid,
    license: &str,
    now: u64,
) -> Verdict {
    match Verifier::new(keys, issuer, &tenant.to_string()).state(license, now) {
        LicenseState::Licensed(license) | LicenseState::Expiring { license, .. } => {
            Verdict::Good(license)
        }
        LicenseState::Invalid(Invalid::UnknownKey(_)) => Verdict::UnknownKey,
        LicenseState::Invalid(Invalid::FromTheFuture { seconds }) => {
            Verdict::Clock(format!("was issued {seconds} seconds from now"))
        }
        LicenseState::Invalid(reason) => Verdict::Bad(reason.to_string()),
        LicenseState::WrongTenant { .. } => Verdict::Bad("it is another tenant's".to_owned()),
        LicenseState::Expired { .. } => Verdict::Clock("has ended already".to_owned()),
    }
}

impl Trust {
    /// Where the keys are.
    #[must_use]
    pub fn file(&self) -> &Path {
        self.given.as_ref().unwrap_or(&self.pinned)
    }

    /// Whether the keys that were given can be used: better known before a code is spent.
    pub fn check(&self) -> Result<(), String> {
        self.keys().map(drop)
    }

    /// The keys here; `None` where none were brought or pinned yet.
    pub(crate) fn keys(&self) -> Result<Option<TrustedKeys>, String> {
        let path = self.file();
        let shown = path.display();
        match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.given.is_none() => {
                Ok(None)
            }
            Err(error) => Err(format!("{shown} cannot be read: {error}")),
            Ok(text) => match TrustedKeys::from_jwks(&text) {
                Ok(keys) => Ok(Some(keys)),
                // A damaged pin is none.
                Err(_) if self.given.is_none() => Ok(None),
                Err(error) => Err(format!("{shown}: {error}")),
            },
        }
    }

    /// Pins the keys that were given, so that they are those of later programs too, which may not
    /// be given any.
    pub(crate) fn adopt(&self) -> Result<(), String> {
        let Some(given) = &self.given else { return Ok(()) };
        let text = std::fs::read_to_string(given)
            .map_err(|error| format!("{}: {error}", given.display()))?;
        self.pin(&text)
    }

    /// Pins a key set that was fetched, once it was found good.
    pub(crate) fn pin(&self, text: &str) -> Result<(), String> {
        let folder = self.pinned.parent().unwrap_or(std::path::Path::new("."));
        let written = crate::store::write_whole(folder, &self.pinned, text.as_bytes());
        written.map_err(|error| format!("{} cannot be written: {error}", self.pinned.display()))
    }
}
