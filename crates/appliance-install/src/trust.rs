//! The keys for verifying licenses: the keys that the image or the installer provides, or else the
//! keys that the service published first. The latter are pinned.

use std::path::{Path, PathBuf};

use appliance_license::{Invalid, License, LicenseState, TrustedKeys, Verifier};
use uuid::Uuid;

use crate::service_error::ServiceError;

/// Name of the file with the pinned keys, in the state folder.
pub const KEYS: &str = "keys.json";

/// Keys and issuer of trusted licenses.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Key set from the image or the installer (`registryctl keys export`). With it, no keys are
    /// fetched.
    pub configured: Option<PathBuf>,
    /// Path of the pinned keys.
    pub pinned: PathBuf,
    /// Expected `iss` of licenses.
    pub issuer: String,
    /// The edition without licenses. For any other edition, a response without a license is
    /// rejected.
    pub free_edition: String,
}

/// Result of checking a license against a key set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LicenseCheck {
    /// The license is valid.
    Valid(License),
    /// None of the keys signed the license. A newer key may have.
    UnknownKey,
    /// The license is not valid, for this reason.
    Invalid(String),
    /// The license is not valid at the time of this machine's clock.
    WrongTime(String),
}

impl LicenseCheck {
    /// Returns the license; `None` if its key is unknown.
    pub(crate) fn into_result(self) -> Result<Option<License>, ServiceError> {
        match self {
            Self::Valid(license) => Ok(Some(license)),
            Self::UnknownKey => Ok(None),
            Self::Invalid(reason) => Err(ServiceError::Untrusted { reason }),
            Self::WrongTime(problem) => Err(ServiceError::Clock { problem }),
        }
    }
}

/// Checks the license of a tenant at `now`, in Unix seconds.
pub(crate) fn check_license(
    keys: TrustedKeys,
    issuer: &str,
    tenant_id: Uuid,
    license: &str,
    now: u64,
) -> LicenseCheck {
    match Verifier::new(keys, issuer, &tenant_id.to_string()).state(license, now) {
        LicenseState::Licensed(license) | LicenseState::Expiring { license, .. } => {
            LicenseCheck::Valid(license)
        }
        LicenseState::Invalid(Invalid::UnknownKey(_)) => LicenseCheck::UnknownKey,
        LicenseState::Invalid(Invalid::FromTheFuture { seconds }) => {
            LicenseCheck::WrongTime(format!("was issued {seconds} seconds in the future"))
        }
        LicenseState::Invalid(reason) => LicenseCheck::Invalid(reason.to_string()),
        LicenseState::WrongTenant { .. } => {
            LicenseCheck::Invalid("it belongs to another tenant".to_owned())
        }
        LicenseState::Expired { .. } => LicenseCheck::WrongTime("has already expired".to_owned()),
    }
}

impl Trust {
    /// Returns the path of the keys in use.
    #[must_use]
    pub fn file(&self) -> &Path {
        self.configured.as_ref().unwrap_or(&self.pinned)
    }

    /// Checks that the configured keys can be used. Call it before a code is redeemed.
    pub fn check(&self) -> Result<(), String> {
        self.keys().map(drop)
    }

    /// Reads the keys in use; `None` if none are configured or pinned yet.
    pub(crate) fn keys(&self) -> Result<Option<TrustedKeys>, String> {
        let (path, is_pinned) = (self.file(), self.configured.is_none());
        let shown = path.display();
        match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && is_pinned => Ok(None),
            Err(error) => Err(format!("{shown} cannot be read: {error}")),
            Ok(text) => match TrustedKeys::from_jwks(&text) {
                Ok(keys) => Ok(Some(keys)),
                // A damaged file of pinned keys counts as missing.
                Err(_) if is_pinned => Ok(None),
                Err(error) => Err(format!("{shown}: {error}")),
            },
        }
    }

    /// Pins the configured keys for later commands, which may run without them.
    pub(crate) fn pin_configured(&self) -> Result<(), String> {
        let Some(configured) = &self.configured else { return Ok(()) };
        let text = std::fs::read_to_string(configured)
            .map_err(|error| format!("{} cannot be read: {error}", configured.display()))?;
        self.pin(&text)
    }

    /// Pins a key set that was fetched and verified.
    pub(crate) fn pin(&self, text: &str) -> Result<(), String> {
        let folder = self.pinned.parent().unwrap_or(std::path::Path::new("."));
        let written = crate::store::write_atomically(folder, &self.pinned, text.as_bytes());
        written.map_err(|error| format!("{} cannot be written: {error}", self.pinned.display()))
    }
}
