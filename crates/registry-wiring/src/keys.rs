//! The ring of license keys in the data folder: `keys/ring.json` names them, beside their files. A
//! folder that has only `license.pem` is a ring of that one.
//!
//! registryd looks at the ring every few seconds, so that an operator's change takes hold in every
//! process on the folder.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, bail};
use registry_core::clock::{Clock as _, Timestamp, truncate};
use registry_core::license::{LicenseClaims, LicenseSigner, PublicKey, SignError};
use registry_core::offline::OfflineAnswer;
use registry_core::secret::{AnswerToken, LicenseToken};
use registry_license::{KeyState, Ring, RingPlan, Signer};

use crate::config::{Algorithm, Config};
use crate::data::{DataFolder, new_license_key, read_secret, replace, write_new};
use crate::os::{OsClock, OsEntropy};

const PLAN: &str = "ring.json";
const FIRST: &str = "license.pem";

/// The license keys of a registry, and what can be done to them.
pub struct LicenseKeys {
    folder: PathBuf,
    plan: RingPlan,
    longest: chrono::TimeDelta,
    /// What keeps others from changing the ring meanwhile.
    _turn: File,
}

impl LicenseKeys {
    /// The ring of a data folder; whoever else opens it waits until this is dropped. Refused where
    /// the configuration names a key itself.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        if config.license.key_file.is_some() {
            bail!("`license.key_file` names the license key: there is no ring to change");
        }
        let data = DataFolder::open(&config.data)?;
        let turn = data.turn()?;
        data.license_key(&OsEntropy, config.license.algorithm)?;
        let plan = read_plan(&data.keys())?;
        Ok(Self { folder: data.keys(), plan, longest: longest(config), _turn: turn })
    }

    /// The keys.
    #[must_use]
    pub fn plan(&self) -> &RingPlan {
        &self.plan
    }

    /// Makes a key and publishes it; returns its `kid`.
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

    /// Has a key sign from now on.
    pub fn activate(&mut self, kid: &str, force: bool) -> anyhow::Result<()> {
        self.plan.activate(kid, OsClock.now(), force)?;
        self.save()
    }

    /// Takes a key away that does not sign.
    pub fn retire(&mut self, kid: &str) -> anyhow::Result<()> {
        self.plan.retire(kid, OsClock.now())?;
        self.save()
    }

    /// The keys that verify something now.
    pub fn public_keys(&self) -> anyhow::Result<Vec<PublicKey>> {
        Ok(load(&self.folder, &self.plan, self.longest, OsClock.now())?.public_keys())
    }

    /// Nothing is saved that registryd would not take.
    fn save(&self) -> anyhow::Result<()> {
        load(&self.folder, &self.plan, self.longest, OsClock.now())?;
        let text =
            serde_json::to_string_pretty(&self.plan).context("the ring cannot be written")?;
        replace(&self.folder.join(PLAN), &text).with_context(|| format!("{PLAN} cannot be written"))
    }
}

fn longest(config: &Config) -> chrono::TimeDelta {
    config.license.lifetime.0.max(config.license.airgap_lifetime.0)
}

fn read_plan(folder: &Path) -> anyhow::Result<RingPlan> {
    let path = folder.join(PLAN);
    if !path.exists() {
        let first = Signer::from_pem(&read_secret(&folder.join(FIRST))?, None)
            .context("the license key cannot be used")?;
        let made = folder.join(FIRST).metadata().and_then(|metadata| metadata.modified());
        let made = Timestamp::from(made.with_context(|| format!("{FIRST} cannot be read"))?);
        return Ok(RingPlan::of_one(
            first.public_key().kid.clone(),
            FIRST.to_owned(),
            truncate(made),
        ));
    }
    serde_json::from_str(&read_secret(&path)?)
        .with_context(|| format!("{} is damaged", path.display()))
}

fn load(
    folder: &Path,
    plan: &RingPlan,
    longest: chrono::TimeDelta,
    now: Timestamp,
) -> anyhow::Result<Ring> {
    let mut keys = Vec::new();
    for key in plan.in_use(now, longest) {
        let path = folder.join(&key.file);
        let signer = Signer::from_pem(&read_secret(&path)?, Some(key.kid.clone()));
        keys.push((
            signer.with_context(|| format!("{} cannot be used", path.display()))?,
            key.state,
        ));
    }
    Ring::new(keys).context("the license keys cannot be used")
}

/// The ring as it is now, also when an operator changes it.
pub struct WatchedRing {
    folder: PathBuf,
    longest: chrono::TimeDelta,
    ring: RwLock<Arc<Ring>>,
}

impl WatchedRing {
    /// The ring that `config` describes: of its own key, or of the data folder.
    pub(crate) fn open(config: &Config, data: &DataFolder) -> anyhow::Result<Self> {
        let (folder, longest) = (data.keys(), longest(config));
        let ring = if let Some(path) = &config.license.key_file {
            let pem = read_secret(path).context("`license.key_file` cannot be used")?;
            let signer = Signer::from_pem(&pem, config.license.kid.clone())
                .context("`license.key_file` cannot be used")?;
            Ring::new(vec![(signer, KeyState::Active)])?
        } else {
            data.license_key(&OsEntropy, config.license.algorithm)?;
            load(&folder, &read_plan(&folder)?, longest, OsClock.now())?
        };
        Ok(Self { folder, longest, ring: RwLock::new(Arc::new(ring)) })
    }

    fn ring(&self) -> Arc<Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what an operator changed; on an error the ring stays as it was.
    pub fn look(&self) -> anyhow::Result<()> {
        let ring = load(&self.folder, &read_plan(&self.folder)?, self.longest, OsClock.now())?;
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        Ok(())
    }
}

impl LicenseSigner for WatchedRing {
    fn sign(&self, claims: &LicenseClaims) -> Result<LicenseToken, SignError> {
        self.ring().sign(claims)
    }

    fn sign_answer(&self, answer: &OfflineAnswer) -> Result<AnswerToken, SignError> {
        self.ring().sign_answer(answer)
    }

    fn public_keys(&self) -> Vec<PublicKey> {
        self.ring().public_keys()
    }
}
