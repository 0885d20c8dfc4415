//! What takes the identity over: files in a folder, or a cluster through `kubectl`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::process::Command;

use crate::install::Product;
use crate::secrets::{JOB, Manifests, NAMESPACE, bootstrap_job, keys_config};
use crate::store::{manifest_file, sweep, write_whole};

/// The files' names.
const INITIAL_TENANT: &str = "appliance-initial-tenant.json";
const LICENSE_SEED: &str = "appliance-license-seed.json";
const BOOTSTRAP: &str = "appliance-bootstrap.json";
const LICENSE_KEYS: &str = "appliance-license-keys.json";

/// How often a job is looked at, whether it failed.
const LOOK: Duration = Duration::from_secs(5);

/// How long the Secret with a renewed license may take to be applied: nobody waits for it.
const RENEWAL: Duration = Duration::from_mins(2);

/// The bootstrap.
#[derive(Clone, Debug)]
pub enum Job {
    /// The product does it by itself.
    None,
    /// The one with this manifest.
    File(PathBuf),
    /// `appliance-setup bootstrap` out of an image.
    Image(Image),
}

/// An image with `appliance-setup` in it, and what the bootstrap believes licenses by.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// Where the keys are by then.
    pub keys: PathBuf,
    /// The `iss` of the licenses.
    pub issuer: String,
}

impl Image {
    /// The keys as a `ConfigMap`, where there are any, and the Job.
    fn manifests(&self) -> Result<(Option<String>, String), String> {
        let keys = match std::fs::read_to_string(&self.keys) {
            Ok(keys) => Some(keys_config(&keys)),
            // An appliance without a license never needed any.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(format!("{} cannot be read: {error}", self.keys.display())),
        };
        let job = bootstrap_job(&self.name, &self.issuer, keys.is_some());
        Ok((keys, job))
    }
}

/// Leaves the manifests as files, mode 0600, for whoever applies them.
pub struct Files {
    folder: PathBuf,
    job: Job,
}

impl Files {
    /// Into this folder, which must be there. The Job is left there too, where it is one of an
    /// image.
    #[must_use]
    pub fn new(folder: PathBuf, job: Job) -> Self {
        Self { folder, job }
    }

    fn put(&self, name: &str, manifest: &str) -> Result<(), String> {
        let path = self.folder.join(name);
        let swept = sweep(&self.folder);
        let written = swept.and_then(|()| write_whole(&self.folder, &path, manifest.as_bytes()));
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
        let Job::Image(image) = &self.job else { return Ok(()) };
        let (keys, job) = image.manifests()?;
        if let Some(keys) = keys {
            self.put(LICENSE_KEYS, &keys)?;
        }
        self.put(BOOTSTRAP, &job)
    }
}

/// Applies the manifests to a cluster, server-side: a client-side apply would copy the values into
/// an annotation.
pub struct Kubectl {
    program: PathBuf,
    scratch: PathBuf,
    job: Job,
    tell: Box<dyn Fn(&str) + Send + Sync>,
}

impl Kubectl {
    /// With this program; manifests stand in `scratch` while they are applied. The `job` is applied
    /// after the Secrets and waited for. What `kubectl` says goes to `tell`, line by line.
    #[must_use]
    pub fn new(
        program: PathBuf,
        scratch: PathBuf,
        job: Job,
        tell: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        Self { program, scratch, job, tell: Box::new(tell) }
    }

    async fn apply(&self, manifest: &str) -> Result<(), String> {
        // It is gone when the file's value is.
        let file = self.scratch_file(manifest)?;
        let applied =
            self.run(&["apply", "--server-side", "--force-conflicts"], Some(file.path())).await;
        applied.map_err(|output| without_values(&output, manifest))
    }

    fn scratch_file(&self, manifest: &str) -> Result<NamedTempFile, String> {
        let file = manifest_file(&self.scratch, manifest.as_bytes());
        file.map_err(|error| format!("{} cannot be written to: {error}", self.scratch.display()))
    }

    /// A job that has run is not run again by applying it: it is deleted first.
    async fn run_image(&self, image: &Image) -> Result<(), String> {
        let (keys, job) = image.manifests()?;
        if let Some(keys) = keys {
            self.apply(&keys).await?;
        }
        self.run(&["delete", "job", JOB, "--namespace", NAMESPACE, "--ignore-not-found"], None)
            .await?;
        self.run_job(self.scratch_file(&job)?.path()).await
    }

    /// Waits for a job, and no longer than until it has failed.
    async fn run_job(&self, job: &Path) -> Result<(), String> {
        self.run(&["apply", "--server-side", "--force-conflicts"], Some(job)).await?;
        tokio::select! {
            completed = self.run(&["wait", "--for=condition=complete", "--timeout=15m"], Some(job)) => completed,
            () = self.failed(job) => {
                let logs = ["logs", "--namespace", NAMESPACE, "--tail=20", &format!("job/{JOB}")];
                // Where there are none to be had, that is said.
                let outcome = self.output(&logs, None).await.unwrap_or_else(|problem| problem);
                Err(format!("the bootstrap failed: {}", outcome.trim()))
            }
        }
    }

    async fn failed(&self, job: &Path) {
        loop {
            tokio::time::sleep(LOOK).await;
            let conditions = r#"jsonpath={.status.conditions[?(@.status=="True")].type}"#;
            // Where it cannot be asked, whoever waits for it learns so too.
            if self
                .output(&["get", "--output", conditions], Some(job))
                .await
                .is_ok_and(|it| it.contains("Failed"))
            {
                return;
            }
        }
    }

    async fn run(&self, args: &[&str], file: Option<&Path>) -> Result<(), String> {
        self.output(args, file).await?.lines().for_each(&self.tell);
        Ok(())
    }

    async fn output(&self, args: &[&str], file: Option<&Path>) -> Result<String, String> {
        let shown = format!("{} {}", self.program.display(), args.join(" "));
        let mut command = Command::new(&self.program);
        command.args(args).kill_on_drop(true);
        if let Some(file) = file {
            command.arg("-f").arg(file);
        }
        let output = command.output().await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                format!(
                    "{} is not found; --output DIR leaves the Secrets as files instead",
                    self.program.display()
                )
            }
            _ => format!("{shown} cannot be run: {error}"),
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let text = [output.stderr, output.stdout].concat();
        let text = String::from_utf8_lossy(&text).trim().chars().take(2_000).collect::<String>();
        Err(format!("{shown} failed ({}): {text}", output.status))
    }
}

/// What `kubectl` said may quote what it was given.
fn without_values(outcome: &str, manifest: &str) -> String {
    let manifest: Value = serde_json::from_str(manifest).unwrap_or_default();
    let values = manifest["data"]
        .as_object()
        .into_iter()
        .flat_map(|data| data.values().filter_map(Value::as_str));
    values.fold(outcome.to_owned(), |outcome, value| {
        let plain =
            BASE64_STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let outcome = outcome.replace(value, "…");
        // Short ones, such as `ee`, are no secrets and stand in many words.
        plain
            .filter(|plain| plain.len() >= 8)
            .map_or(outcome.clone(), |plain| outcome.replace(&plain, "…"))
    })
}

#[async_trait]
impl Product for Kubectl {
    async fn write(&self, manifests: &Manifests) -> Result<(), String> {
        self.apply(&manifests.initial_tenant).await?;
        self.apply(&manifests.license_seed).await
    }

    async fn renew(&self, license_seed: &str) -> Result<(), String> {
        let applied = tokio::time::timeout(RENEWAL, self.apply(license_seed)).await;
        applied
            .unwrap_or_else(|_| Err(format!("{} does not come to an end", self.program.display())))
    }

    async fn bootstrap(&self) -> Result<(), String> {
        match &self.job {
            Job::None => Ok(()),
            Job::File(path) => self.run_job(path).await,
            Job::Image(image) => self.run_image(image).await,
        }
    }
}
