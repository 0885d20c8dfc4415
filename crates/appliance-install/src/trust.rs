//! The keys that licenses are believed by: those that the image brought along, or those that were seen first, pinned.

use std::path::{Path, PathBuf};

use appliance_license::{Invalid, License, LicenseState, TrustedKeys, Verifier};
use uuid::Uuid;

/// Where keys are, and whose licenses are believed.
#[derive(Clone, Debug)]
pub struct Trust {
    /// A key set that the image or the operator brought (`registryctl keys export`); then none is fetched.
    pub given: Option<PathBuf>,
    /// Where those that were fetched are pinned.
    pub pinned: PathBuf,
    /// The `iss` of the licenses.
    pub issuer: String,
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
}

/// Judges a license of a tenant, at `now`, in Unix seconds.
pub(crate) fn judge(keys: TrustedKeys, issuer: &str, tenant: Uuid, license: &str, now: u64) -> Verdict {
    match Verifier::new(keys, issuer, &tenant.to_string()).state(license, now) {
        LicenseState::Licensed(license) | LicenseState::Expiring { license, .. } => Verdict::Good(license),
        LicenseState::Invalid(Invalid::UnknownKey(_)) => Verdict::UnknownKey,
        LicenseState::Invalid(reason) => Verdict::Bad(reason.to_string()),
        LicenseState::WrongTenant { .. } => Verdict::Bad("it is another tenant's".to_owned()),
        LicenseState::Expired { .. } => Verdict::Bad("it has ended: set this machine's clock".to_owned()),
    }
}

impl Trust {
    /// Where the keys are.
    #[must_use]
    pub fn file(&self) -> &Path {
        self.given.as_ref().unwrap_or(&self.pinned)
    }

    /// The keys here; `None` where none were brought or pinned yet.
    pub(crate) fn keys(&self) -> Result<Option<TrustedKeys>, String> {
        let path = self.file();
        let shown = path.display();
        match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.given.is_none() => Ok(None),
            Err(error) => Err(format!("{shown} cannot be read: {error}")),
            Ok(text) => TrustedKeys::from_jwks(&text).map(Some).map_err(|error| format!("{shown}: {error}")),
        }
    }

    /// Pins a key set that was fetched.
    pub(crate) fn pin(&self, text: &str) -> Result<TrustedKeys, String> {
        let keys = TrustedKeys::from_jwks(text).map_err(|error| format!("the service's keys: {error}"))?;
        let folder = self.pinned.parent().unwrap_or(std::path::Path::new("."));
        let written = crate::store::write_whole(folder, &self.pinned, text.as_bytes());
        written.map_err(|error| format!("{} cannot be written: {error}", self.pinned.display()))?;
        Ok(keys)
    }
}
