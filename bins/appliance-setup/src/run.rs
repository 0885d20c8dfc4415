//! `appliance-setup run`: an unattended installation.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use appliance_install::{Admin, Client, Entered, Files, Install, Kubectl, Next, Product, Step, Trust, Way};
use clap::Args;
use serde::Deserialize;
use uuid::Uuid;

use crate::read_secret;

/// How long a call of the service may take.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct Run {
    /// The file with the install code; `-` is standard input. Not needed where an installation goes on.
    #[arg(long, value_name = "FILE")]
    code: Option<PathBuf>,
    /// The answers: company, and the first administrator (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address of the license service; also as `ALGA_LICENSE_SERVICE_URL`.
    #[arg(long, env = "REGISTRY_URL", value_name = "URL")]
    registry_url: Option<String>,
    /// A certificate authority to trust beside the system's (PEM).
    #[arg(long, env = "REGISTRY_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The keys that licenses are believed by (`registryctl keys export`); else the service's, as they are seen first.
    #[arg(long, env = "REGISTRY_KEYS_FILE", value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Who issues the licenses.
    #[arg(long, env = "REGISTRY_LICENSE_ISSUER", default_value = "appliance-registry", value_name = "NAME")]
    issuer: String,
    /// Leaves the Secrets as files in this folder, instead of applying them.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The program that applies the Secrets.
    #[arg(long, default_value = "kubectl", value_name = "PROGRAM", conflicts_with = "output")]
    kubectl: PathBuf,
    /// The manifest of the bootstrap, which is applied after the Secrets and waited for.
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    job: Option<PathBuf>,
    /// How often the service is tried; without end unless given.
    #[arg(long, value_name = "COUNT")]
    tries: Option<u32>,
}

/// The answers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answers {
    company: String,
    first_name: String,
    last_name: String,
    email: String,
    /// The password never stands in this file.
    password_file: PathBuf,
}

pub(crate) fn perform(mut install: Install, asked: &Run, state: &Path) -> anyhow::Result<ExitCode> {
    let service = asked.registry_url.clone().or_else(|| std::env::var("ALGA_LICENSE_SERVICE_URL").ok());
    let service =
        service.filter(|url| !url.is_empty()).context("the license service's address is missing (REGISTRY_URL)")?;
    let ca_pem = asked.ca_file.as_ref().map(|path| {
        std::fs::read(path).with_context(|| format!("the certificate authority {} cannot be read", path.display()))
    });
    let trust = Trust { given: asked.keys.clone(), pinned: state.join("keys.json"), issuer: asked.issuer.clone() };
    let client = Client::new(&service, ca_pem.transpose()?.as_deref(), trust, TIMEOUT)?;
    if asked.code.is_some() || matches!(install.step(), Step::Collect { .. }) {
        install.submit(entered(asked)?, Uuid::from_bytes(random()?).to_string())?;
    }
    let product: Box<dyn Product> = match &asked.output {
        Some(folder) => Box::new(Files::new(folder.clone())),
        None => Box::new(Kubectl::new(asked.kubectl.clone(), state.to_owned(), asked.job.clone())),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        tokio::select! {
            ended = drive(&mut install, &client, &*product, asked.tries) => ended,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("Ctrl-C cannot be watched")?;
                eprintln!("appliance-setup: interrupted; `appliance-setup run` goes on from here");
                Ok(ExitCode::from(130))
            }
        }
    })
}

fn entered(asked: &Run) -> anyhow::Result<Entered> {
    let (Some(code), Some(config)) = (&asked.code, &asked.config) else {
        bail!("--code and --config are missing: there is no installation to go on with")
    };
    let shown = config.display();
    let text = std::fs::read_to_string(config).with_context(|| format!("{shown} cannot be read"))?;
    let answers: Answers = toml::from_str(&text).with_context(|| format!("{shown} is no set of answers"))?;
    let password = read_secret(&answers.password_file)?;
    ensure!(password.expose().chars().count() >= 12, "the administrator's password must have 12 characters at least");
    for (name, value) in [("company", &answers.company), ("email", &answers.email)] {
        ensure!(!value.trim().is_empty(), "`{name}` is empty in {shown}");
    }
    let code = read_secret(code)?;
    ensure!(!code.expose().is_empty(), "the install code is empty");
    let Answers { company, first_name, last_name, email, .. } = answers;
    Ok(Entered { company, admin: Admin { first_name, last_name, email, password }, way: Way::Code { code } })
}

#[expect(clippy::disallowed_methods, reason = "the appliance's own program: there is no port to ask")]
fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("this machine has no randomness")?;
    Ok(bytes)
}

/// Goes on until all is done, the code is refused, or the tries are used up.
async fn drive(
    install: &mut Install,
    client: &Client,
    product: &dyn Product,
    tries: Option<u32>,
) -> anyhow::Result<ExitCode> {
    let mut failures = 0;
    loop {
        match install.advance(client, product, random::<1>()?[0]).await? {
            Next::GoOn => {}
            Next::Finished => {
                println!("{}", crate::status::text(install.step(), false));
                return Ok(ExitCode::SUCCESS);
            }
            Next::WaitForOperator => {
                eprintln!("appliance-setup: {}", crate::status::text(install.step(), false));
                return Ok(ExitCode::from(3));
            }
            Next::TryAgain { trouble, after } => {
                failures += 1;
                eprintln!("appliance-setup: {}", trouble.message(client.service()));
                if tries.is_some_and(|tries| failures >= tries) {
                    return Ok(ExitCode::from(5));
                }
                eprintln!("appliance-setup: the next try is in {} seconds", after.as_secs());
                tokio::time::sleep(after).await;
            }
        }
    }
}
