//! What takes the identity over: files in a folder, or a cluster through `kubectl`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::process::Command;

use crate::install::Product;
use crate::secrets::{Manifests, bootstrap_job};
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
    job: Job,
    tell: Box<dyn Fn(&str) + Send + Sync>,
}

/// The bootstrap.
#[derive(Clone, Debug)]
pub enum Job {
    /// The product does it by itself.
    None,
    /// The one with this manifest.
    File(PathBuf),
    /// `appliance-setup bootstrap` out of this image.
    Image(String),
}

impl Kubectl {
    /// With this program; manifests stand in `scratch` while they are applied. The `job` is applied after the Secrets and
    /// waited for. What `kubectl` says goes to `tell`, line by line.
    #[must_use]
    pub fn new(program: PathBuf, scratch: PathBuf, job: Job, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { program, scratch, job, tell: Box::new(tell) }
    }

    async fn apply(&self, manifest: &str) -> Result<(), String> {
        // It is gone when the file's value is.
        let file = self.scratch_file(manifest)?;
        self.run(&["apply", "--server-side", "--force-conflicts"], file.path()).await
    }

    fn scratch_file(&self, manifest: &str) -> Result<tempfile::NamedTempFile, String> {
        let file = private_file(&self.scratch, manifest.as_bytes());
        file.map_err(|error| format!("{} cannot be written to: {error}", self.scratch.display()))
    }

    /// A job that has run is not run again by applying it: it is deleted first.
    async fn run_job(&self, job: &Path) -> Result<(), String> {
        self.run(&["delete", "--ignore-not-found", "--wait"], job).await?;
        self.run(&["apply", "--server-side"], job).await?;
        self.run(&["wait", "--for=condition=complete", "--timeout=15m"], job).await
    }

    async fn run(&self, args: &[&str], file: &Path) -> Result<(), String> {
        let shown = format!("{} {}", self.program.display(), args.join(" "));
        let output = Command::new(&self.program).args(args).arg("-f").arg(file).output().await;
        let output = output.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                format!("{} is not found; --output DIR leaves the Secrets as files instead", self.program.display())
            }
            _ => format!("{shown} cannot be run: {error}"),
        })?;
        if output.status.success() {
            String::from_utf8_lossy(&output.stdout).lines().for_each(&self.tell);
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
        match &self.job {
            Job::None => Ok(()),
            Job::File(path) => self.run_job(path).await,
            Job::Image(image) => self.run_job(self.scratch_file(&bootstrap_job(image))?.path()).await,
        }
    }
}
