//! The ring of license keys in the data folder. `keys/ring.json` lists the keys; each key is in a
//! file beside it. A folder with only `license.pem` is a ring of this one key.
//!
//! registryd reloads the ring every few seconds, so an operator's change takes effect in every
//! process that uses the folder.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, bail};
use chrono::TimeDelta;
use registry_core::clock::{Clock as _, Timestamp, truncate};
use registry_core::license::{LicenseClaims, LicenseSigner, PublicKey, SignError, SignedLicense};
use registry_core::offline::OfflineAnswer;
use registry_core::secret::AnswerToken;
use registry_license::{KeyState, Ring, RingPlan, SignedKeySets, Signer};

use crate::config::{Algorithm, Config};
use crate::data::{DataFolder, new_license_key, read_secret, replace, write_new};
use crate::os::{OsClock, OsEntropy};

const PLAN_FILE: &str = "ring.json";
const FIRST_KEY_FILE: &str = "license.pem";

/// The license keys of a registry, opened to be changed.
pub struct LicenseKeys {
    folder: PathBuf,
    plan: RingPlan,
    /// Maximum lifetime of a license.
    longest_lifetime: TimeDelta,
    /// Lock that keeps other processes from changing the ring.
    _lock: File,
}

impl LicenseKeys {
    /// Opens the ring of the data folder. Other processes that open it wait until the returned
    /// value is dropped. Fails if the configuration names a license key.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        if config.license.key_file.is_some() {
            bail!(
                "`license.key_file` names the only license key, so there is no ring of keys: \
                 unset it to use a ring"
            );
        }
        let data = DataFolder::open(&config.data)?;
        let lock = data.lock()?;
        ensure_first_key(config, &data)?;
        let plan = read_plan(&data.keys())?;
        let longest_lifetime = longest_lifetime(config);
        Ok(Self { folder: data.keys(), plan, longest_lifetime, _lock: lock })
    }

    /// Opens the ring to import a key. If `license.key_file` named the only key so far, the ring is
    /// empty, and the imported key becomes the active one.
    pub fn open_for_import(config: &Config) -> anyhow::Result<Self> {
        let data = DataFolder::open(&config.data)?;
        let has_keys =
            [PLAN_FILE, FIRST_KEY_FILE].iter().any(|name| data.keys().join(name).exists());
        if has_keys || config.license.key_file.is_some() {
            return Self::open(config);
        }
        let (lock, plan) = (data.lock()?, RingPlan::default());
        let longest_lifetime = longest_lifetime(config);
        Ok(Self { folder: data.keys(), plan, longest_lifetime, _lock: lock })
    }

    /// The keys and their states.
    #[must_use]
    pub fn plan(&self) -> &RingPlan {
        &self.plan
    }

    /// Creates a key, publishes it, and returns its `kid`.
    pub fn generate(&mut self, algorithm: Algorithm) -> anyhow::Result<String> {
        let pem = new_license_key(&OsEntropy, algorithm);
        let kid = Signer::from_pem(&pem, None)?.public_key().kid.clone();
        let file = format!("license-{kid}.pem");
        self.plan.publish(kid.clone(), file.clone(), OsClock.now())?;
        write_new(&self.folder.join(&file), &pem)
            .with_context(|| format!("{file} cannot be written"))?;
        self.save()?;
        Ok(kid)
    }

    /// Adds an existing key, publishes it, and returns its `kid`: the given one, or else its
    /// thumbprint. Appliances know a key by the `kid` of the licenses that it signed.
    pub fn import(&mut self, path: &Path, kid: Option<String>) -> anyhow::Result<String> {
        let pem = read_secret(path)?;
        let signer = Signer::from_pem(&pem, kid);
        let signer = signer.with_context(|| format!("{} cannot be used", path.display()))?;
        let kid = signer.public_key().kid.clone();
        let material = &signer.public_key().material;
        let known = if self.plan.keys.is_empty() { Vec::new() } else { self.public_keys()? };
        if let Some(same) = known.iter().find(|key| key.material == *material) {
            bail!("the ring has this key already, with the kid `{}`", same.kid);
        }
        let thumbprint = Signer::from_pem(&pem, None)?.public_key().kid.clone();
        let file = format!("license-{thumbprint}.pem");
        if self.plan.keys.is_empty() {
            self.plan = RingPlan::of_one(kid.clone(), file.clone(), OsClock.now());
        } else {
            self.plan.publish(kid.clone(), file.clone(), OsClock.now())?;
        }
        write_new(&self.folder.join(&file), &pem)
            .with_context(|| format!("{file} cannot be written"))?;
        self.save()?;
        Ok(kid)
    }

    /// Makes a key the active one. Without `force`, the key must have been published long enough.
    pub fn activate(&mut self, kid: &str, force: bool) -> anyhow::Result<()> {
        self.plan.activate(kid, OsClock.now(), force)?;
        self.save()
    }

    /// Retires a key that is not the active one.
    pub fn retire(&mut self, kid: &str) -> anyhow::Result<()> {
        self.plan.retire(kid, OsClock.now())?;
        self.save()
    }

    /// Removes a key that is not the active one from the ring at once, because it was stolen. The
    /// file of the key stays.
    pub fn revoke(&mut self, kid: &str) -> anyhow::Result<()> {
        self.plan.revoke(kid)?;
        self.save()
    }

    /// Returns the published keys.
    pub fn public_keys(&self) -> anyhow::Result<Vec<PublicKey>> {
        Ok(load(&self.folder, &self.plan, self.longest_lifetime, OsClock.now())?.public_keys())
    }

    /// Saves the ring, unless registryd could not load it.
    fn save(&self) -> anyhow::Result<()> {
        load(&self.folder, &self.plan, self.longest_lifetime, OsClock.now())?;
        let text =
            serde_json::to_string_pretty(&self.plan).context("the ring cannot be written")?;
        replace(&self.folder.join(PLAN_FILE), &text)
            .with_context(|| format!("{PLAN_FILE} cannot be written"))
    }
}

/// Creates the first key in a new folder, unless the folder has a ring.
fn ensure_first_key(config: &Config, data: &DataFolder) -> anyhow::Result<()> {
    if !data.keys().join(PLAN_FILE).exists() {
        data.license_key(&OsEntropy, config.license.algorithm)?;
    }
    Ok(())
}

fn longest_lifetime(config: &Config) -> TimeDelta {
    config.license.lifetime.0.max(config.license.airgap_lifetime.0)
}

fn read_plan(folder: &Path) -> anyhow::Result<RingPlan> {
    let path = folder.join(PLAN_FILE);
    if !path.exists() {
        let first_key = folder.join(FIRST_KEY_FILE);
        let signer = Signer::from_pem(&read_secret(&first_key)?, None)
            .with_context(|| format!("{} cannot be used", first_key.display()))?;
        let created = first_key
            .metadata()
            .and_then(|metadata| metadata.modified())
            .with_context(|| format!("{} cannot be read", first_key.display()))?;
        return Ok(RingPlan::of_one(
            signer.public_key().kid.clone(),
            FIRST_KEY_FILE.to_owned(),
            truncate(Timestamp::from(created)),
        ));
    }
    serde_json::from_str(&read_secret(&path)?)
        .with_context(|| format!("{} is damaged", path.display()))
}

fn load(
    folder: &Path,
    plan: &RingPlan,
    longest_lifetime: TimeDelta,
    now: Timestamp,
) -> anyhow::Result<Ring> {
    let mut keys = Vec::new();
    for key in plan.in_use(now, longest_lifetime) {
        let path = folder.join(&key.file);
        let signer = Signer::from_pem(&read_secret(&path)?, Some(key.kid.clone()));
        keys.push((
            signer.with_context(|| format!("{} cannot be used", path.display()))?,
            key.state,
        ));
    }
    Ring::new(keys).context("the license keys cannot be used")
}

/// The ring of license keys, which can be reloaded while it is in use.
pub struct WatchedRing {
    folder: PathBuf,
    /// Maximum lifetime of a license.
    longest_lifetime: TimeDelta,
    ring: RwLock<Arc<Ring>>,
    /// Signatures of the published keys. A reload that changes no key leaves them unchanged.
    key_sets: SignedKeySets,
}

impl WatchedRing {
    /// Opens the ring: the one key that `config` names, or the ring of the data folder.
    pub(crate) fn open(config: &Config, data: &DataFolder) -> anyhow::Result<Self> {
        let (folder, longest_lifetime) = (data.keys(), longest_lifetime(config));
        let ring = if let Some(path) = &config.license.key_file {
            let pem = read_secret(path).context("`license.key_file` cannot be used")?;
            let signer = Signer::from_pem(&pem, config.license.kid.clone())
                .context("`license.key_file` cannot be used")?;
            Ring::new(vec![(signer, KeyState::Active)])?
        } else {
            ensure_first_key(config, data)?;
            load(&folder, &read_plan(&folder)?, longest_lifetime, OsClock.now())?
        };
        let (ring, key_sets) = (RwLock::new(Arc::new(ring)), SignedKeySets::default());
        Ok(Self { folder, longest_lifetime, ring, key_sets })
    }

    fn ring(&self) -> Arc<Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reloads the ring from the data folder. On an error, the ring stays unchanged.
    pub fn reload(&self) -> anyhow::Result<()> {
        let plan = read_plan(&self.folder)?;
        let ring = load(&self.folder, &plan, self.longest_lifetime, OsClock.now())?;
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        Ok(())
    }
}

impl LicenseSigner for WatchedRing {
    fn sign(&self, claims: &LicenseClaims) -> Result<SignedLicense, SignError> {
        self.ring().sign(claims)
    }

    fn sign_answer(&self, answer: &OfflineAnswer) -> Result<AnswerToken, SignError> {
        self.ring().sign_answer(answer)
    }

    fn public_keys(&self) -> Vec<PublicKey> {
        self.ring().public_keys()
    }

    fn signed_key_sets(&self, issuer: &str, now: Timestamp) -> Result<Vec<String>, SignError> {
        self.key_sets.of(&self.ring(), issuer, now)
    }
}
