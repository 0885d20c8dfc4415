//! What takes the identity over: files in a folder, or a cluster through `kubectl`.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::process::Command;

use crate::install::Product;
use crate::secrets::Manifests;
use crate::store::{private_file, write_whole};

/// The files' names.
const INITIAL_TENANT: &str = "appliance-initial-tenant.json";
const LICENSE_SEED: &str = "appliance-license-seed.json";

/// Leaves the manifests as files, mode 0600, for whoever applies them; there is no bootstrap to start then.
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// Into this folder, which must be there.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn put(&self, name: &str, manifest: &str) -> Result<(), String> {
        let path = self.folder.join(name);
        let written = write_whole(&self.folder, &path, manifest.as_bytes());
        written.map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }
}

#[async_trait]
impl Product for Files {
    async fn write(&self, manifests: &Manifests) -> Result<(), String> {
        self.put(INITIAL_TENANT, &manifests.initial_tenant)?;
        self.put(LICENSE_SEED, &manifests.license_seed)
    }

    async fn renew(&self, license_seed: &str) -> Result<(), String> {
        self.put(LICENSE_SEED, license_seed)
    }

    async fn bootstrap(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Applies the manifests to a cluster, server-side: a client-side apply would copy the values into an annotation.
pub struct Kubectl {
    program: PathBuf,
    scratch: PathBuf,
    job: Option<PathBuf>,
}

impl Kubectl {
    /// With this program; manifests stand in `scratch` while they are applied. `job` is the manifest of the bootstrap, which
    /// is applied after the Secrets and waited for.
    #[must_use]
    pub fn new(program: PathBuf, scratch: PathBuf, job: Option<PathBuf>) -> Self {
        Self { program, scratch, job }
    }

    async fn apply(&self, manifest: &str) -> Result<(), String> {
        // It is gone when the file's value is.
        let file = private_file(&self.scratch, manifest.as_bytes());
        let file = file.map_err(|error| format!("{} cannot be written to: {error}", self.scratch.display()))?;
        self.run(&["apply", "--server-side", "--force-conflicts"], file.path()).await
    }

    async fn run(&self, args: &[&str], file: &Path) -> Result<(), String> {
        let shown = format!("{} {}", self.program.display(), args.join(" "));
        let output = Command::new(&self.program).args(args).arg("-f").arg(file).output().await;
        let output = output.map_err(|error| format!("{shown} cannot be run: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stderr, output.stdout].concat();
        let said = String::from_utf8_lossy(&said).trim().chars().take(2_000).collect::<String>();
        Err(format!("{shown} failed ({}): {said}", output.status))
    }
}

#[async_trait]
impl Product for Kubectl {
    async fn write(&self, manifests: &Manifests) -> Result<(), String> {
        self.apply(&manifests.initial_tenant).await?;
        self.apply(&manifests.license_seed).await
    }

    async fn renew(&self, license_seed: &str) -> Result<(), String> {
        self.apply(license_seed).await
    }

    async fn bootstrap(&self) -> Result<(), String> {
        let Some(job) = &self.job else { return Ok(()) };
        self.run(&["apply", "--server-side"], job).await?;
        self.run(&["wait", "--for=condition=complete", "--timeout=15m"], job).await
    }
}
