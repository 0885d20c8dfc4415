//! Options that several commands share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use appliance_install::{
    Client, Files, Image, Job, KEYS, Kubectl, PRODUCT, Product, Trust, keep, kept,
};
use clap::Args;
use serde::{Deserialize, Serialize};

/// Where the service is.
#[derive(Args)]
pub(crate) struct Service {
    /// The address of the license service; also as `ALGA_LICENSE_SERVICE_URL`.
    #[arg(long, env = "REGISTRY_URL", value_name = "URL", hide_env_values = true)]
    registry_url: Option<String>,
    #[command(flatten)]
    trust_args: TrustArgs,
}

/// Whom to believe.
#[derive(Args)]
pub(crate) struct TrustArgs {
    /// A certificate authority to trust beside the system's (PEM).
    #[arg(long, env = "REGISTRY_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The keys that licenses are believed by (`registryctl keys export`); else the service's, as
    /// they are seen first.
    #[arg(long, env = "REGISTRY_KEYS_FILE", value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Who issues the licenses.
    #[arg(
        long,
        env = "REGISTRY_LICENSE_ISSUER",
        default_value = "appliance-registry",
        value_name = "NAME"
    )]
    issuer: String,
    /// What the edition without licenses is called.
    #[arg(long, env = "REGISTRY_FREE_EDITION", default_value = "essentials", value_name = "NAME")]
    free_edition: String,
    /// How long a call of the service may take, in seconds.
    #[arg(long, default_value = "30", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

/// How the product gets its Secrets.
#[derive(Args)]
pub(crate) struct OutputArgs {
    /// Leaves the Secrets as files in this folder, instead of applying them.
    #[arg(long, env = "APPLIANCE_OUTPUT", value_name = "DIR")]
    output: Option<PathBuf>,
    /// The program that applies the Secrets; `kubectl` unless given.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "output")]
    kubectl: Option<PathBuf>,
}

/// How the product is bootstrapped.
#[derive(Args)]
pub(crate) struct BootstrapArgs {
    /// The manifest of the product's own bootstrap, which is applied after the Secrets and waited
    /// for.
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    job: Option<PathBuf>,
    /// An image with `appliance-setup` in it, which is the bootstrap; `DATABASE_URL` is in a Secret
    /// `appliance-database`.
    #[arg(long, value_name = "IMAGE", conflicts_with = "job")]
    bootstrap_image: Option<String>,
}

impl Service {
    /// Whose licenses are believed.
    pub(crate) fn trust(&self, state: &Path) -> Trust {
        self.trust_args.trust(state)
    }

    /// The service, as it is called from this machine.
    pub(crate) fn client(&self, state: &Path) -> anyhow::Result<Client> {
        let given = self.registry_url.clone().filter(|url| !url.is_empty());
        let url = given.or_else(|| {
            std::env::var("ALGA_LICENSE_SERVICE_URL").ok().filter(|url| !url.is_empty())
        });
        let url = url.context("the license service's address is missing (REGISTRY_URL)")?;
        self.trust_args.client(&url, state)
    }
}

impl TrustArgs {
    /// Whose licenses are believed.
    pub(crate) fn trust(&self, state: &Path) -> Trust {
        let (issuer, free_edition) = (self.issuer.clone(), self.free_edition.clone());
        Trust { given: self.keys.clone(), pinned: state.join(KEYS), issuer, free_edition }
    }

    /// The service at this address.
    pub(crate) fn client(&self, url: &str, state: &Path) -> anyhow::Result<Client> {
        let ca_pem = self.ca_file.as_ref().map(|path| {
            std::fs::read(path).with_context(|| {
                format!("the certificate authority {} cannot be read", path.display())
            })
        });
        Ok(Client::new(
            url,
            ca_pem.transpose()?.as_deref(),
            self.trust(state),
            Duration::from_secs(self.timeout),
        )?)
    }
}

/// What an installation was begun with: it goes on so, and its agent does, also where that is not
/// said again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ChosenOptions {
    output: Option<PathBuf>,
    kubectl: PathBuf,
    job: Option<PathBuf>,
    bootstrap_image: Option<String>,
}

/// What is said now.
#[derive(Clone, Default)]
struct GivenOptions {
    output: Option<PathBuf>,
    kubectl: Option<PathBuf>,
    job: Option<PathBuf>,
    bootstrap_image: Option<String>,
}

/// Goes on as it was begun where nothing else is said; of two that exclude each other, what is said
/// now counts. Only a Job that was to be applied is not dropped by saying something else: nobody
/// would do the bootstrap.
fn merged(kept: Option<ChosenOptions>, given: GivenOptions) -> Result<ChosenOptions, String> {
    let kept = kept.unwrap_or(ChosenOptions {
        output: None,
        kubectl: "kubectl".into(),
        job: None,
        bootstrap_image: None,
    });
    let (job, bootstrap_image) = match (given.job, given.bootstrap_image) {
        (None, None) => (kept.job, kept.bootstrap_image),
        given => given,
    };
    let is_applied = given.kubectl.is_some() || job.is_some();
    let output = match given.output {
        Some(output) => {
            if let Some(job) = &job {
                let job = job.display();
                return Err(format!(
                    "the installation was begun with --job {job}, which is applied by kubectl and cannot be left in a folder: \
                     leave --output away, or `reset` and begin anew"
                ));
            }
            Some(output)
        }
        None => kept.output.filter(|_| !is_applied),
    };
    Ok(ChosenOptions {
        output,
        kubectl: given.kubectl.unwrap_or(kept.kubectl),
        job,
        bootstrap_image,
    })
}

/// What takes the Secrets over, and does the bootstrap: as it is asked for now, else as it was when
/// the installation began.
pub(crate) fn product(
    output_args: &OutputArgs,
    bootstrap_args: Option<&BootstrapArgs>,
    trust: &Trust,
    state: &Path,
) -> anyhow::Result<Box<dyn Product>> {
    let mut kept: Option<ChosenOptions> = kept(state, PRODUCT)?;
    let absolute = |path: &PathBuf| {
        std::path::absolute(path)
            .with_context(|| format!("{} cannot be found from elsewhere", path.display()))
    };
    // A bare name is looked for in PATH.
    let program = |path: &PathBuf| {
        if path.components().count() > 1 { absolute(path) } else { Ok(path.clone()) }
    };
    if let (None, Some(kept)) = (bootstrap_args, kept.as_mut()) {
        // A renewal does no bootstrap.
        kept.job = None;
    }
    let given = GivenOptions {
        output: output_args.output.as_ref().map(absolute).transpose()?,
        kubectl: output_args.kubectl.as_ref().map(program).transpose()?,
        job: bootstrap_args.and_then(|asked| asked.job.as_ref()).map(absolute).transpose()?,
        bootstrap_image: bootstrap_args.and_then(|asked| asked.bootstrap_image.clone()),
    };
    let chosen = merged(kept, given).map_err(|problem| anyhow!(problem))?;
    if let Some(folder) = &chosen.output {
        ensure!(
            folder.is_dir(),
            "{} is no folder that the Secrets could be left in",
            folder.display()
        );
    }
    // Better known before a code is spent.
    trust.check().map_err(|problem| {
        anyhow!("the keys that licenses are believed by cannot be used: {problem}")
    })?;
    if bootstrap_args.is_some() {
        keep(state, PRODUCT, &chosen)?;
    }
    let ChosenOptions { output, kubectl, job, bootstrap_image } = chosen;
    let job = match (job, bootstrap_image) {
        (Some(path), _) => Job::File(path),
        (None, Some(name)) => {
            Job::Image(Image { name, keys: trust.pinned.clone(), issuer: trust.issuer.clone() })
        }
        (None, None) => Job::None,
    };
    Ok(match output {
        Some(folder) => Box::new(Files::new(folder, job)),
        None => Box::new(Kubectl::new(kubectl, state.to_owned(), job, |line| {
            eprintln!("appliance-setup: kubectl: {line}");
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(
        output: Option<&str>,
        kubectl: &str,
        job: Option<&str>,
        image: Option<&str>,
    ) -> ChosenOptions {
        let bootstrap_image = image.map(str::to_owned);
        ChosenOptions {
            output: output.map(Into::into),
            kubectl: kubectl.into(),
            job: job.map(Into::into),
            bootstrap_image,
        }
    }

    #[test]
    fn an_installation_goes_on_as_it_was_begun_where_nothing_else_is_said() {
        let given = |output: Option<&str>,
                     kubectl: Option<&str>,
                     job: Option<&str>,
                     image: Option<&str>| {
            let bootstrap_image = image.map(str::to_owned);
            GivenOptions {
                output: output.map(Into::into),
                kubectl: kubectl.map(Into::into),
                job: job.map(Into::into),
                bootstrap_image,
            }
        };
        let left = Some(chosen(Some("/o"), "kubectl", None, None));
        let applied = Some(chosen(None, "/k", Some("/job"), None));
        let image = Some(chosen(None, "/k", None, Some("img:1")));
        for (kept, given, expected) in [
            (None, GivenOptions::default(), chosen(None, "kubectl", None, None)),
            (
                None,
                given(Some("/o"), None, None, Some("img")),
                chosen(Some("/o"), "kubectl", None, Some("img")),
            ),
            (left.clone(), GivenOptions::default(), chosen(Some("/o"), "kubectl", None, None)),
            (
                left.clone(),
                given(None, None, None, Some("img")),
                chosen(Some("/o"), "kubectl", None, Some("img")),
            ),
            (
                left.clone(),
                given(Some("/p"), None, None, None),
                chosen(Some("/p"), "kubectl", None, None),
            ),
            (left.clone(), given(None, Some("/k"), None, None), chosen(None, "/k", None, None)),
            (
                left,
                given(None, None, Some("/job"), None),
                chosen(None, "kubectl", Some("/job"), None),
            ),
            (applied.clone(), GivenOptions::default(), chosen(None, "/k", Some("/job"), None)),
            (
                applied.clone(),
                given(None, None, None, Some("img")),
                chosen(None, "/k", None, Some("img")),
            ),
            (
                applied.clone(),
                given(Some("/o"), None, None, Some("img")),
                chosen(Some("/o"), "/k", None, Some("img")),
            ),
            (
                image.clone(),
                given(None, None, Some("/job"), None),
                chosen(None, "/k", Some("/job"), None),
            ),
            (
                image,
                given(Some("/o"), None, None, None),
                chosen(Some("/o"), "/k", None, Some("img:1")),
            ),
        ] {
            assert_eq!(merged(kept, given), Ok(expected));
        }
        assert!(
            merged(applied, given(Some("/o"), None, None, None))
                .unwrap_err()
                .contains("begun with --job /job")
        );
    }
}
