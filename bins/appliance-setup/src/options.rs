//! Options that several commands share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use appliance_install::{
    Client, Files, Image, Install, Job, KEYS, Kubectl, PRODUCT, Product, Trust, load_state,
    save_state,
};
use clap::Args;
use clap::builder::FalseyValueParser;
use terminal_text::printable;

use crate::report;
use crate::stored_options::{CommandLineOptions, StoredOptions, merge, namespace};

/// Address of the license service, and the trust in it.
#[derive(Args)]
pub(crate) struct ServiceArgs {
    /// URL of the license service.
    #[arg(long, env = "REGISTRY_URL", value_name = "URL", hide_env_values = true)]
    registry_url: Option<String>,
    #[command(flatten)]
    trust_args: TrustArgs,
}

/// Certificates and keys that the service and its licenses are verified with.
#[derive(Args)]
pub(crate) struct TrustArgs {
    /// Certificate authority to trust in addition to the system's (PEM).
    #[arg(long, env = "REGISTRY_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Allows a service on another machine without TLS (`http://`), in a trusted network. Others
    /// there can read the install code and the credential, and respond in place of the service.
    #[arg(long, env = "REGISTRY_INSECURE_HTTP", value_parser = FalseyValueParser::new())]
    insecure_http: bool,
    /// Public keys for verifying licenses (from `registryctl keys export`); default: the keys that
    /// the service publishes, pinned at first use.
    #[arg(long, env = "REGISTRY_KEYS_FILE", value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Issuer that licenses must name.
    #[arg(
        long,
        env = "REGISTRY_LICENSE_ISSUER",
        default_value = "appliance-registry",
        value_name = "NAME"
    )]
    issuer: String,
    /// Name of the edition that has no license.
    #[arg(long, env = "REGISTRY_FREE_EDITION", default_value = "essentials", value_name = "NAME")]
    free_edition: String,
    /// Timeout of one request to the service, in seconds.
    #[arg(
        long,
        default_value = "30",
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=600)
    )]
    timeout: u64,
}

/// Delivery of the Secrets to the product.
#[derive(Args)]
pub(crate) struct OutputArgs {
    /// Existing folder to write the Secrets to, as files, instead of applying them to the cluster.
    #[arg(long, env = "APPLIANCE_OUTPUT", value_name = "DIR")]
    output: Option<PathBuf>,
    /// Kubernetes namespace of the Secrets; default: `default`, or the namespace that the
    /// installation was started with.
    #[arg(long, env = "APPLIANCE_NAMESPACE", value_name = "NAME", value_parser = namespace)]
    namespace: Option<String>,
    /// Program that applies the Secrets to the cluster; default: `kubectl`.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "output")]
    kubectl: Option<PathBuf>,
}

/// Bootstrap of the product.
#[derive(Args)]
pub(crate) struct BootstrapArgs {
    /// Manifest of the product's own bootstrap Job. It is applied after the Secrets, and must
    /// complete.
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    job: Option<PathBuf>,
    /// Image that contains `appliance-setup`, for a Job that runs `appliance-setup bootstrap`. The
    /// Job reads `DATABASE_URL` from the Secret `appliance-database`.
    #[arg(long, value_name = "IMAGE", conflicts_with = "job")]
    bootstrap_image: Option<String>,
}

impl ServiceArgs {
    /// Returns the keys and the issuer that licenses are verified with.
    pub(crate) fn trust(&self, state: &Path) -> Trust {
        self.trust_args.trust(state)
    }

    /// Returns a client of the service.
    pub(crate) fn client(&self, state: &Path) -> anyhow::Result<Client> {
        let non_empty = |url: &String| !url.is_empty();
        let url = self
            .registry_url
            .clone()
            .filter(non_empty)
            .or_else(|| std::env::var("ALGA_LICENSE_SERVICE_URL").ok().filter(non_empty))
            .context(
                "the URL of the license service is missing: set --registry-url or REGISTRY_URL",
            )?;
        self.trust_args.client(&url, state)
    }

    /// Returns a client of the service, or an error if others on the network could read the
    /// requests.
    pub(crate) fn confidential_client(&self, state: &Path) -> anyhow::Result<Client> {
        let client = self.client(state)?;
        client.check_confidential()?;
        Ok(client)
    }
}

impl TrustArgs {
    /// Returns the keys and the issuer that licenses are verified with.
    pub(crate) fn trust(&self, state: &Path) -> Trust {
        let (issuer, free_edition) = (self.issuer.clone(), self.free_edition.clone());
        Trust { configured: self.keys.clone(), pinned: state.join(KEYS), issuer, free_edition }
    }

    /// Returns a client of the service at `url`.
    pub(crate) fn client(&self, url: &str, state: &Path) -> anyhow::Result<Client> {
        let ca_pem = self.ca_file.as_ref().map(|path| {
            std::fs::read(path).with_context(|| {
                format!("the certificate authority {} cannot be read", path.display())
            })
        });
        let client = Client::new(
            url,
            ca_pem.transpose()?.as_deref(),
            self.trust(state),
            Duration::from_secs(self.timeout),
        )?;
        Ok(client.with_plain_http(self.insecure_http))
    }
}

/// Returns the product that receives the Secrets and runs the bootstrap, as the command line or
/// the stored options describe it. Without `bootstrap_args`, for a renewed license, no Job is run
/// and no option is stored.
pub(crate) fn product(
    output_args: &OutputArgs,
    bootstrap_args: Option<&BootstrapArgs>,
    trust: &Trust,
    state: &Path,
) -> anyhow::Result<Box<dyn Product>> {
    let mut stored: Option<StoredOptions> = load_state(state, PRODUCT)?;
    let absolute = |path: &PathBuf| {
        std::path::absolute(path)
            .with_context(|| format!("the absolute path of {} is not known", path.display()))
    };
    // A bare name is searched in PATH.
    let program = |path: &PathBuf| {
        if path.components().count() > 1 { absolute(path) } else { Ok(path.clone()) }
    };
    if let (None, Some(stored)) = (bootstrap_args, stored.as_mut()) {
        // A stored Job would conflict with `--output`, and a renewal runs no Job.
        stored.job = None;
    }
    let command_line = CommandLineOptions {
        namespace: output_args.namespace.clone(),
        output: output_args.output.as_ref().map(absolute).transpose()?,
        kubectl: output_args.kubectl.as_ref().map(program).transpose()?,
        job: bootstrap_args.and_then(|args| args.job.as_ref()).map(absolute).transpose()?,
        bootstrap_image: bootstrap_args.and_then(|args| args.bootstrap_image.clone()),
    };
    let options = merge(stored, command_line, Install::is_started(state))
        .map_err(|problem| anyhow!(problem))?;
    // Both checks come before a code is redeemed.
    if let Some(folder) = &options.output {
        ensure!(
            folder.is_dir(),
            "{} is not an existing folder: the Secrets cannot be written to it",
            folder.display()
        );
    }
    trust
        .check()
        .map_err(|problem| anyhow!("the keys for verifying licenses cannot be used: {problem}"))?;
    if bootstrap_args.is_some() {
        save_state(state, PRODUCT, &options)?;
    }
    let StoredOptions { namespace, output, kubectl, job, bootstrap_image } = options;
    let job = match (job, bootstrap_image) {
        (Some(path), _) => Job::File(path),
        (None, Some(name)) => {
            Job::Image(Image { name, keys: trust.pinned.clone(), issuer: trust.issuer.clone() })
        }
        (None, None) => Job::None,
    };
    Ok(match output {
        Some(folder) => Box::new(Files::new(folder, namespace, job)),
        None => Box::new(Kubectl::new(kubectl, state.to_owned(), namespace, job, |line| {
            report(&format!("kubectl: {}", printable(line)));
        })),
    })
}
