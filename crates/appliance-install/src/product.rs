//! The product, which receives the identity: as files in a folder, or in a cluster through
//! `kubectl`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::process::Command;

use crate::secrets::{JOB, Manifests, bootstrap_job, keys_config};
use crate::store::{manifest_file, sweep, write_atomically};

// Names of the manifest files.
const INITIAL_TENANT: &str = "appliance-initial-tenant.json";
const LICENSE_SEED: &str = "appliance-license-seed.json";
const BOOTSTRAP: &str = "appliance-bootstrap.json";
const LICENSE_KEYS: &str = "appliance-license-keys.json";

/// Interval between checks if a Job has failed.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Timeout of the check that the cluster takes Secrets.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);

/// Timeout for applying the Secret with a renewed license. Nobody watches this step.
const RENEWAL_TIMEOUT: Duration = Duration::from_mins(2);

/// Receives the identity, for example in a cluster.
#[async_trait]
pub trait Product: Send + Sync {
    /// Returns the Kubernetes namespace of the Secrets.
    fn namespace(&self) -> &str;

    /// Checks that the Secrets can be written, before a code is spent for them.
    async fn check(&self) -> Result<(), String>;

    /// Writes the Secrets. MUST be repeatable.
    async fn write(&self, manifests: &Manifests) -> Result<(), String>;

    /// Writes the Secret with a renewed license. MUST be repeatable.
    async fn renew(&self, license_seed: &str) -> Result<(), String>;

    /// Starts the bootstrap and waits until it ends. MUST be repeatable.
    async fn bootstrap(&self) -> Result<(), String>;
}

/// The Job that bootstraps the product.
#[derive(Clone, Debug)]
pub enum Job {
    /// No Job: the product bootstraps itself.
    None,
    /// The Job in this manifest.
    File(PathBuf),
    /// A Job that runs `appliance-setup bootstrap` from an image.
    Image(Image),
}

/// An image that contains `appliance-setup`, and the trust settings for its bootstrap.
#[derive(Clone, Debug)]
pub struct Image {
    /// Name of the image.
    pub name: String,
    /// Path of the pinned keys. The file exists once a license was verified.
    pub keys: PathBuf,
    /// Expected `iss` of licenses.
    pub issuer: String,
}

impl Image {
    /// Renders the `ConfigMap` with the keys, if the file exists, and the Job.
    fn manifests(&self, namespace: &str) -> Result<(Option<String>, String), String> {
        let keys = match std::fs::read_to_string(&self.keys) {
            Ok(keys) => Some(keys_config(namespace, &keys)),
            // An appliance without a license has no keys.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(format!("{} cannot be read: {error}", self.keys.display())),
        };
        let job = bootstrap_job(namespace, &self.name, &self.issuer, keys.is_some());
        Ok((keys, job))
    }
}

/// Writes the manifests to files with mode 0600. Another program applies them.
pub struct Files {
    folder: PathBuf,
    namespace: String,
    job: Job,
}

impl Files {
    /// Creates a product that writes manifests for `namespace` to this folder, which must exist. A
    /// [`Job::Image`] is written there too.
    #[must_use]
    pub fn new(folder: PathBuf, namespace: String, job: Job) -> Self {
        Self { folder, namespace, job }
    }

    fn write_manifest(&self, name: &str, manifest: &str) -> Result<(), String> {
        let path = self.folder.join(name);
        let written = sweep(&self.folder)
            .and_then(|()| write_atomically(&self.folder, &path, manifest.as_bytes()));
        written.map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }
}

#[async_trait]
impl Product for Files {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    async fn check(&self) -> Result<(), String> {
        let probe = NamedTempFile::new_in(&self.folder);
        probe
            .map(drop)
            .map_err(|error| format!("{} cannot be written: {error}", self.folder.display()))
    }

    async fn write(&self, manifests: &Manifests) -> Result<(), String> {
        self.write_manifest(INITIAL_TENANT, &manifests.initial_tenant)?;
        self.write_manifest(LICENSE_SEED, &manifests.license_seed)
    }

    async fn renew(&self, license_seed: &str) -> Result<(), String> {
        self.write_manifest(LICENSE_SEED, license_seed)
    }

    async fn bootstrap(&self) -> Result<(), String> {
        let Job::Image(image) = &self.job else { return Ok(()) };
        let (keys, job) = image.manifests(&self.namespace)?;
        if let Some(keys) = keys {
            self.write_manifest(LICENSE_KEYS, &keys)?;
        }
        self.write_manifest(BOOTSTRAP, &job)
    }
}

/// Applies the manifests to a cluster with server-side apply. A client-side apply would copy the
/// values into an annotation.
pub struct Kubectl {
    program: PathBuf,
    scratch: PathBuf,
    namespace: String,
    job: Job,
    log: Box<dyn Fn(&str) + Send + Sync>,
}

impl Kubectl {
    /// Creates a product that runs `program`. A manifest is a file in `scratch` while it is
    /// applied. The `job` is applied after the Secrets, and its end is awaited. `log` receives the
    /// output of `kubectl`, line by line.
    #[must_use]
    pub fn new(
        program: PathBuf,
        scratch: PathBuf,
        namespace: String,
        job: Job,
        log: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        Self { program, scratch, namespace, job, log: Box::new(log) }
    }

    async fn apply(&self, manifest: &str) -> Result<(), String> {
        // Dropping the value removes the file.
        let file = self.scratch_file(manifest)?;
        let applied =
            self.run(&["apply", "--server-side", "--force-conflicts"], Some(file.path())).await;
        applied.map_err(|output| redact(&output, manifest))
    }

    fn scratch_file(&self, manifest: &str) -> Result<NamedTempFile, String> {
        manifest_file(&self.scratch, manifest.as_bytes()).map_err(|error| {
            format!("no file can be written to {}: {error}", self.scratch.display())
        })
    }

    /// Runs the bootstrap from an image. An earlier Job is deleted first, because applying a
    /// completed Job does not run it again.
    async fn run_image(&self, image: &Image) -> Result<(), String> {
        let (keys, job) = image.manifests(&self.namespace)?;
        if let Some(keys) = keys {
            self.apply(&keys).await?;
        }
        let delete = ["delete", "job", JOB, "--namespace", &self.namespace, "--ignore-not-found"];
        self.run(&delete, None).await?;
        self.run_job(self.scratch_file(&job)?.path()).await
    }

    /// Applies a Job and waits until it completes or fails.
    async fn run_job(&self, job: &Path) -> Result<(), String> {
        self.run(&["apply", "--server-side", "--force-conflicts"], Some(job)).await?;
        let wait = ["wait", "--for=condition=complete", "--timeout=15m"];
        tokio::select! {
            completed = self.run(&wait, Some(job)) => completed,
            () = self.wait_for_failure(job) => {
                let job = format!("job/{JOB}");
                let logs = ["logs", "--namespace", &self.namespace, "--tail=20", &job];
                // If there are no logs, the error of `kubectl` is shown instead.
                let output = self.output(&logs, None).await.unwrap_or_else(|error| error);
                Err(format!("the bootstrap failed: {}", output.trim()))
            }
        }
    }

    async fn wait_for_failure(&self, job: &Path) {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let conditions = r#"jsonpath={.status.conditions[?(@.status=="True")].type}"#;
            // An error is ignored here: `kubectl wait`, which runs beside this loop, reports it.
            if self
                .output(&["get", "--output", conditions], Some(job))
                .await
                .is_ok_and(|types| types.contains("Failed"))
            {
                return;
            }
        }
    }

    async fn run(&self, args: &[&str], file: Option<&Path>) -> Result<(), String> {
        self.output(args, file).await?.lines().for_each(&self.log);
        Ok(())
    }

    async fn output(&self, args: &[&str], file: Option<&Path>) -> Result<String, String> {
        let command_line = format!("{} {}", self.program.display(), args.join(" "));
        let mut command = Command::new(&self.program);
        command.args(args).kill_on_drop(true);
        if let Some(file) = file {
            command.arg("-f").arg(file);
        }
        let output = command.output().await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!(
                "{} was not found. Install it, or write the Secrets to files with --output DIR.",
                self.program.display()
            ),
            _ => format!("{command_line} cannot be run: {error}"),
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let text = [output.stderr, output.stdout].concat();
        let text = String::from_utf8_lossy(&text).trim().chars().take(2_000).collect::<String>();
        Err(format!("{command_line} failed ({}): {text}", output.status))
    }
}

/// Removes the values of a Secret from the output of `kubectl`, which may quote its input.
fn redact(output: &str, manifest: &str) -> String {
    let manifest: Value = serde_json::from_str(manifest).unwrap_or_default();
    let values = manifest["data"]
        .as_object()
        .into_iter()
        .flat_map(|data| data.values().filter_map(Value::as_str));
    values.fold(output.to_owned(), |output, value| {
        let decoded =
            BASE64_STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let output = output.replace(value, "…");
        // Short values such as `ee` are not secret, and occur inside ordinary words.
        decoded
            .filter(|decoded| decoded.len() >= 8)
            .map_or(output.clone(), |decoded| output.replace(&decoded, "…"))
    })
}

#[async_trait]
impl Product for Kubectl {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    async fn check(&self) -> Result<(), String> {
        let question = ["auth", "can-i", "patch", "secrets", "--namespace", &self.namespace];
        let answer = tokio::time::timeout(CHECK_TIMEOUT, self.output(&question, None)).await;
        let answer = answer.map_err(|_| "the cluster does not respond".to_owned())?;
        answer.map(drop).map_err(|error| format!("the cluster does not take Secrets: {error}"))
    }

    async fn write(&self, manifests: &Manifests) -> Result<(), String> {
        self.apply(&manifests.initial_tenant).await?;
        self.apply(&manifests.license_seed).await
    }

    async fn renew(&self, license_seed: &str) -> Result<(), String> {
        let applied = tokio::time::timeout(RENEWAL_TIMEOUT, self.apply(license_seed)).await;
        applied.unwrap_or_else(|_| {
            let (program, seconds) = (self.program.display(), RENEWAL_TIMEOUT.as_secs());
            Err(format!("{program} did not end within {seconds} seconds"))
        })
    }

    async fn bootstrap(&self) -> Result<(), String> {
        match &self.job {
            Job::None => Ok(()),
            Job::File(path) => self.run_job(path).await,
            Job::Image(image) => self.run_image(image).await,
        }
    }
}
