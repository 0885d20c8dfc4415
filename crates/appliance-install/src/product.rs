//! What takes the identity over: files in a folder, or a cluster through `kubectl`.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::process::Command;

use crate::install::Product;
use crate::secrets::Manifests;
use crate::store::{private_file, write_whole};

/// The files' names.
const NAMES: [&str; 2] = ["appliance-initial-tenant.json", "appliance-license-seed.json"];

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
}

#[async_trait]
impl Product for Files {
    async fn write(&self, manifests: &Manifests) -> Result<(), String> {
        for (name, manifest) in NAMES.iter().zip([&manifests.initial_tenant, &manifests.license_seed]) {
            let path = self.folder.join(name);
            let written = write_whole(&self.folder, &path, manifest.as_bytes());
            written.map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        }
        Ok(())
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
        for manifest in [&manifests.initial_tenant, &manifests.license_seed] {
            // It is gone when the file's value is.
            let file = private_file(&self.scratch, manifest.as_bytes());
            let file = file.map_err(|error| format!("{} cannot be written to: {error}", self.scratch.display()))?;
            self.run(&["apply", "--server-side", "--force-conflicts"], file.path()).await?;
        }
        Ok(())
    }

    async fn bootstrap(&self) -> Result<(), String> {
        let Some(job) = &self.job else { return Ok(()) };
        self.run(&["apply", "--server-side"], job).await?;
        self.run(&["wait", "--for=condition=complete", "--timeout=15m"], job).await
    }
}
