//! Options that several commands share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use appliance_install::{Client, Files, Job, Kubectl, Product, Trust};
use clap::Args;

/// Where the service is.
#[derive(Args)]
pub(crate) struct Service {
    /// The address of the license service; also as `ALGA_LICENSE_SERVICE_URL`.
    #[arg(long, env = "REGISTRY_URL", value_name = "URL")]
    registry_url: Option<String>,
    #[command(flatten)]
    believing: Believing,
}

/// Whom to believe.
#[derive(Args)]
pub(crate) struct Believing {
    /// A certificate authority to trust beside the system's (PEM).
    #[arg(long, env = "REGISTRY_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The keys that licenses are believed by (`registryctl keys export`); else the service's, as they are seen first.
    #[arg(long, env = "REGISTRY_KEYS_FILE", value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Who issues the licenses.
    #[arg(long, env = "REGISTRY_LICENSE_ISSUER", default_value = "appliance-registry", value_name = "NAME")]
    issuer: String,
    /// How long a call of the service may take, in seconds.
    #[arg(long, default_value = "30", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

/// How the product gets its Secrets.
#[derive(Args)]
pub(crate) struct Handing {
    /// Leaves the Secrets as files in this folder, instead of applying them.
    #[arg(long, env = "APPLIANCE_OUTPUT", value_name = "DIR")]
    output: Option<PathBuf>,
    /// The program that applies the Secrets.
    #[arg(long, default_value = "kubectl", value_name = "PROGRAM", conflicts_with = "output")]
    kubectl: PathBuf,
}

/// How the product is bootstrapped.
#[derive(Args)]
pub(crate) struct Bootstrapping {
    /// The manifest of the bootstrap, which is applied after the Secrets and waited for.
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    job: Option<PathBuf>,
    /// The image with `appliance-setup` and `DATABASE_URL` in a Secret `appliance-database`: it is the bootstrap.
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["output", "job"])]
    bootstrap_image: Option<String>,
}

impl Bootstrapping {
    pub(crate) fn job(&self) -> Job {
        match (&self.job, &self.bootstrap_image) {
            (Some(path), _) => Job::File(path.clone()),
            (None, Some(image)) => Job::Image(image.clone()),
            (None, None) => Job::None,
        }
    }
}

impl Service {
    /// Whose licenses are believed.
    pub(crate) fn trust(&self, state: &Path) -> Trust {
        self.believing.trust(state)
    }

    /// The service, as it is called from this machine.
    pub(crate) fn client(&self, state: &Path) -> anyhow::Result<Client> {
        let url = self.registry_url.clone().or_else(|| std::env::var("ALGA_LICENSE_SERVICE_URL").ok());
        let url =
            url.filter(|url| !url.is_empty()).context("the license service's address is missing (REGISTRY_URL)")?;
        self.believing.client(&url, state)
    }
}

impl Believing {
    /// Whose licenses are believed.
    pub(crate) fn trust(&self, state: &Path) -> Trust {
        Trust { given: self.keys.clone(), pinned: state.join("keys.json"), issuer: self.issuer.clone() }
    }

    /// The service at this address.
    pub(crate) fn client(&self, url: &str, state: &Path) -> anyhow::Result<Client> {
        let ca_pem = self.ca_file.as_ref().map(|path| {
            std::fs::read(path).with_context(|| format!("the certificate authority {} cannot be read", path.display()))
        });
        Ok(Client::new(url, ca_pem.transpose()?.as_deref(), self.trust(state), Duration::from_secs(self.timeout))?)
    }
}

impl Handing {
    /// What takes the Secrets over, and does the `job`.
    pub(crate) fn product(&self, state: &Path, job: Job) -> Box<dyn Product> {
        match &self.output {
            Some(folder) => Box::new(Files::new(folder.clone())),
            None => Box::new(Kubectl::new(self.kubectl.clone(), state.to_owned(), job, |line| {
                eprintln!("appliance-setup: kubectl: {line}");
            })),
        }
    }
}
