//! Builds a registry from its configuration.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use registry_core::blob::LinkedFiles;
use registry_core::install_code::CodeLength;
use registry_core::license::LicensePolicy;
use registry_core::product::ProductCatalogue;
use registry_core::rate_limit::RateLimit;
use registry_core::registry::retention::Retention;
use registry_core::secret::KeyId;
use registry_core::store::Store;
use registry_core::text::{Channel, ProductCode};
use registry_core::{
    CodeSettings, DownloadSettings, Ports, RateLimitSettings, Registry, Settings, SignInSettings,
};
use registry_license::ManifestKey;
use registry_vault::KeyRing;

use crate::blobs;
use crate::config::Config;
use crate::data::{DataFolder, read_secret};
use crate::database;
use crate::keys::WatchedRing;
use crate::mail;
use crate::os::{OsClock, OsEntropy};
use crate::tokens::default_token;

/// A registry and what runs beside it: its files, data folder and keys.
pub struct App {
    /// The use cases.
    pub registry: Arc<Registry>,
    /// Files behind the registry's own download links; `None` with S3.
    pub files: Option<Arc<dyn LinkedFiles>>,
    /// Path of the service token.
    pub service_token_file: PathBuf,
    /// The data folder.
    pub data: DataFolder,
    /// The reloadable license keys; `None` if `license.key_file` is set.
    pub ring: Option<Arc<WatchedRing>>,
}

/// Builds the registry that `config` describes, reachable at `public_url`. Creates the data folder
/// and its secrets if they do not exist, and opens and migrates the database. May block; call it
/// before serving.
pub async fn build(config: &Config, public_url: &str) -> anyhow::Result<App> {
    let public_url = public_url.trim_end_matches('/');
    let data = DataFolder::open(&config.data)?;
    let vault = match &config.master_key_file {
        Some(path) => read_secret(path).context("`master_key_file` cannot be used")?,
        None => data.master_key(&OsEntropy)?,
    };
    let vault = KeyRing::parse(&vault).context("the master key cannot be used")?;
    let signer = Arc::new(WatchedRing::open(config, &data)?);
    let (_, service_token_file) = default_token(config, &data)?;
    let store = database::open(config, &data).await?;
    check_ring(&vault, &*store).await?;
    let (blobs, files) = blobs::open(config, public_url, &data, &vault)?;
    let ports = Ports {
        store,
        blobs,
        mailer: mail::mailer(config, public_url, &data)?,
        vault: Arc::new(vault),
        signer: signer.clone(),
        manifests: Arc::new(manifest_key(config, &data)?),
        clock: Arc::new(OsClock),
        entropy: Arc::new(OsEntropy),
    };
    let registry = Registry::new(ports, settings(config, public_url)?);
    let ring = Some(signer).filter(|_| config.license.key_file.is_none());
    Ok(App { registry: Arc::new(registry), files, service_token_file, data, ring })
}

/// Checks that the ring has every master key that stored codes need, and the key that the database
/// has registered. Without them, live codes would be unknown, or new codes unknown to other
/// processes.
async fn check_ring(vault: &KeyRing, store: &dyn Store) -> anyhow::Result<()> {
    let here: Vec<KeyId> = vault.link_keys().into_iter().map(|(id, _)| id).collect();
    let mut needed = store.key_ids_in_use().await.context("the database cannot be read")?;
    needed.retain(|id| !here.contains(id));
    if needed.is_empty() {
        needed.extend(
            store
                .register_master_key(here.clone())
                .await
                .context("the database cannot be written")?,
        );
    }
    if needed.is_empty() {
        return Ok(());
    }
    let list = |ids: &[KeyId]| ids.iter().map(|id| id.0.as_str()).collect::<Vec<_>>().join(", ");
    let (missing, here) = (list(&needed), list(&here));
    bail!(
        "this database was used with another master key (`master_key_file`, or keys/master.key in \
         the data folder). Missing: {missing}. Present: {here}"
    )
}

fn manifest_key(config: &Config, data: &DataFolder) -> anyhow::Result<ManifestKey> {
    let pem = match &config.downloads.manifest_key_file {
        Some(path) => read_secret(path).context("`downloads.manifest_key_file` cannot be used")?,
        None => data.manifest_key(&OsEntropy)?,
    };
    ManifestKey::from_pem(&pem).context("the key that signs release manifests cannot be used")
}

fn settings(config: &Config, public_url: &str) -> anyhow::Result<Settings> {
    let products = config.products.iter().map(|product| ProductCode::parse(product));
    let products = products.collect::<Result<Vec<_>, _>>().context("`products` cannot be used")?;
    let limits = &config.rate_limit;
    let rate_limit = |limit, total: u32| RateLimit {
        limit,
        window: limits.window.0,
        total: (total / limits.processes).max(limit),
    };
    Ok(Settings {
        editions: config.catalogue()?,
        products: ProductCatalogue::new(products)
            .context("`products` is empty or names one twice")?,
        codes: CodeSettings {
            length: CodeLength::new(config.codes.length)
                .context("`codes.length` must be from 8 to 32")?,
            activation_length: CodeLength::new(config.codes.activation_length())
                .context("`codes.activation_length` must be from 8 to 32")?,
            lifetime: config.codes.lifetime.0,
            activation_needs_bound_tenant: config.codes.activation_needs_bound_tenant,
        },
        sign_in: SignInSettings {
            url: format!("{public_url}/portal/sign-in"),
            link_lifetime: config.sign_in.link_lifetime.0,
            session_idle: config.sign_in.session_idle.0,
            session_lifetime: config.sign_in.session_lifetime.0,
        },
        rate_limit: RateLimitSettings {
            code_guesses: rate_limit(limits.code_guesses, limits.code_guesses_total),
            mails: rate_limit(limits.mails, limits.mails_total),
        },
        license: LicensePolicy {
            issuer: config.license.issuer.clone(),
            lifetime: config.license.lifetime.0,
            airgap_lifetime: config.license.airgap_lifetime.0,
            check_in_interval: config.license.check_in_interval.0,
        },
        downloads: DownloadSettings {
            url: format!("{public_url}/download"),
            lifetime: config.downloads.lifetime.unwrap_or(config.codes.lifetime).0,
            fresh_lifetime: config.downloads.fresh_lifetime.0,
            after_redemption: config.downloads.after_redemption.0,
            channel: Channel::parse(&config.downloads.channel)
                .context("`downloads.channel` cannot be used")?,
        },
        retention: Retention {
            mails: config.retention.mails.0,
            codes: config.retention.codes.0,
            audit: config.retention.audit.0,
            unused_tenants: config.retention.unused_tenants.0,
            mailbox: config.retention.mailbox.0,
        },
        replay_window: config.http.replay_window.0,
        check_in_url: format!("{public_url}/check-in"),
        portal_url: config.portal(public_url),
    })
}
