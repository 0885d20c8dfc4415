//! The keys for verifying licenses: the keys that the image or the installer provides, or else the
//! keys that the service published first. The latter are pinned, and followed only by keys that one
//! of them signed.

use std::path::{Path, PathBuf};

use appliance_license::{Invalid, License, LicenseState, SignedKeySet, TrustedKeys, Verifier};
use serde::Deserialize;
use uuid::Uuid;

use crate::clock::MAX_SKEW;
use crate::json::object;
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

/// Keys of the service that may be pinned.
pub(crate) struct PublishedKeys {
    pub(crate) keys: TrustedKeys,
    /// The keys as a JSON Web Key Set, in the form in which they are pinned.
    pub(crate) jwks: String,
    /// True if a pinned key signed the keys. Otherwise no keys are pinned yet.
    pub(crate) is_signed: bool,
}

/// Time of the signature in a pinned key set. A set that was pinned at first use has none.
#[derive(Deserialize)]
struct PinnedTime {
    iat: Option<u64>,
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
        Ok(self.read()?.map(|(keys, _)| keys))
    }

    /// Reads the keys in use, and their text.
    fn read(&self) -> Result<Option<(TrustedKeys, String)>, String> {
        let (path, is_pinned) = (self.file(), self.configured.is_none());
        let shown = path.display();
        match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && is_pinned => Ok(None),
            Err(error) => Err(format!("{shown} cannot be read: {error}")),
            Ok(text) => match TrustedKeys::from_jwks(&text) {
                Ok(keys) => Ok(Some((keys, text))),
                // A damaged file of pinned keys counts as missing.
                Err(_) if is_pinned => Ok(None),
                Err(error) => Err(format!("{shown}: {error}")),
            },
        }
    }

    /// Returns the keys of the service's `document` that may be pinned at `now`, in Unix seconds:
    /// those that a pinned key signed. While nothing is pinned, the document itself may be.
    pub(crate) fn accept(&self, document: &str, now: u64) -> Result<PublishedKeys, String> {
        let keys = TrustedKeys::from_jwks(document)
            .map_err(|problem| format!("the service's keys are not valid: {problem}"))?;
        let Some((pinned_keys, pinned_jwks)) = self.read()? else {
            return Ok(PublishedKeys { keys, jwks: document.to_owned(), is_signed: false });
        };
        let file = self.pinned.display();
        let Some(signed) = pinned_keys.successor(document, &self.issuer) else {
            return Err(format!(
                "the service's keys are not signed with a key that this appliance trusts ({file}). \
                 If the vendor confirms that all keys were replaced, pass the new ones with --keys"
            ));
        };
        let SignedKeySet { keys, issued_at, jwks } = signed;
        if issued_at > now.saturating_add(MAX_SKEW) {
            let seconds = issued_at - now;
            return Err(format!(
                "the service's keys were signed {seconds} seconds in the future: set this \
                 machine's clock"
            ));
        }
        let pinned: Option<PinnedTime> = object(pinned_jwks.as_bytes());
        if pinned.and_then(|pinned| pinned.iat).is_some_and(|pinned_at| issued_at < pinned_at) {
            return Err(format!(
                "the service's keys were signed before those in {file}. If the vendor confirms \
                 that they are the current ones, pass them with --keys"
            ));
        }
        Ok(PublishedKeys { keys, jwks, is_signed: true })
    }

    /// Pins the configured keys for later commands, which may run without them.
    pub(crate) fn pin_configured(&self) -> Result<(), String> {
        let Some(configured) = &self.configured else { return Ok(()) };
        let text = std::fs::read_to_string(configured)
            .map_err(|error| format!("{} cannot be read: {error}", configured.display()))?;
        self.pin(&text)
    }

    /// Pins a key set.
    pub(crate) fn pin(&self, text: &str) -> Result<(), String> {
        let folder = self.pinned.parent().unwrap_or(std::path::Path::new("."));
        let written = crate::store::write_atomically(folder, &self.pinned, text.as_bytes());
        written.map_err(|error| format!("{} cannot be written: {error}", self.pinned.display()))
    }
}
