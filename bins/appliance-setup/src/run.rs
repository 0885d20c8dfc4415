//! `appliance-setup run`: an unattended installation.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail, ensure};
use appliance_install::{
    Admin, Client, EditionChoice, Install, Next, Product, ProvisioningMethod, SetupForm, Step,
};
use clap::Args;
use serde::Deserialize;
use terminal_text::printable;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::options::{BootstrapArgs, OutputArgs, ServiceArgs, product};
use crate::rules::{is_compact_jws, is_email, password_problem, text_problem};
use crate::status::{Status, clock_skew_message};
use crate::{print_line, random, read_secret, report};

#[derive(Args)]
pub(crate) struct RunArgs {
    /// File with the install code; `-` for standard input. Not needed to resume an installation.
    #[arg(long, value_name = "FILE")]
    code: Option<PathBuf>,
    /// Edition to install without a code. The appliance is then not registered with the vendor.
    #[arg(long, value_name = "EDITION", value_enum, conflicts_with = "code")]
    without_code: Option<Edition>,
    /// File with a license, for an installation without a code.
    #[arg(long, value_name = "FILE", requires = "without_code")]
    license: Option<PathBuf>,
    /// Configuration file with the company and the first administrator (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output_args: OutputArgs,
    #[command(flatten)]
    bootstrap_args: BootstrapArgs,
    /// Maximum number of attempts to reach the service; default: no limit.
    #[arg(long, value_name = "COUNT")]
    tries: Option<u32>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Edition {
    /// The full edition, which starts with a trial.
    Ee,
    /// The free edition.
    Ce,
}

impl From<Edition> for EditionChoice {
    fn from(edition: Edition) -> Self {
        match edition {
            Edition::Ee => Self::Ee,
            Edition::Ce => Self::Ce,
        }
    }
}

/// The configuration file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigFile {
    company: String,
    first_name: String,
    last_name: String,
    email: String,
    /// Path of a file with the password, which is never part of the configuration itself.
    password_file: PathBuf,
}

pub(crate) async fn run(
    mut install: Install,
    args: &RunArgs,
    state: &Path,
) -> anyhow::Result<ExitCode> {
    // A service manager repeats the same arguments at each start: once the installation is past the
    // entry of data, they are ignored.
    let accepts_data = install.check_open().is_ok();
    // Checked before anything is stored. No service is called without a code, or after the code was
    // redeemed.
    let client = (accepts_data && args.without_code.is_none())
        .then(|| args.service.confidential_client(state))
        .transpose()?;
    let enters_data = args.code.is_some()
        || args.without_code.is_some()
        || matches!(install.step(), Step::Collect { .. });
    let product =
        product(&args.output_args, Some(&args.bootstrap_args), &args.service.trust(state), state)?;
    if accepts_data && enters_data {
        let form = setup_form(args)?;
        if args.code.is_some() {
            let checked = product.check().await;
            checked.map_err(|problem| anyhow!("{problem}. The install code was not used."))?;
        }
        install.submit(form, Uuid::from_bytes(random()?).to_string())?;
    }
    let mut terminated = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    tokio::select! {
        result = drive(&mut install, client.as_ref(), &*product, args.tries) => result,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("Ctrl-C cannot be handled")?;
            report("interrupted; `appliance-setup run` resumes here");
            Ok(ExitCode::from(130))
        }
        _ = terminated.recv() => {
            report("terminated; `appliance-setup run` resumes here");
            Ok(ExitCode::from(143))
        }
    }
}

fn setup_form(args: &RunArgs) -> anyhow::Result<SetupForm> {
    let Some(config) = &args.config else {
        bail!("--code and --config are missing, and there is no installation to resume")
    };
    let method = match (&args.code, args.without_code) {
        (Some(code), _) => {
            let code = read_secret(code)?;
            ensure!(!code.expose().is_empty(), "the install code is empty");
            ProvisioningMethod::Code { code }
        }
        (None, Some(edition)) => {
            let license = args.license.as_deref().map(read_secret).transpose()?;
            let is_license = license.as_ref().is_none_or(|text| is_compact_jws(text.expose()));
            ensure!(is_license, "the file of --license does not contain a license");
            ProvisioningMethod::WithoutCode { edition: edition.into(), license }
        }
        (None, None) => bail!("--code is missing; use --without-code to install without a code"),
    };
    ConfigFile::read(config)?.into_setup_form(method)
}

impl ConfigFile {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{shown} cannot be read"))?;
        let config: Self = toml::from_str(&text)
            .with_context(|| format!("{shown} is not a valid configuration file"))?;
        let Self { company, first_name, last_name, email, .. } = &config;
        for (name, value, required) in [
            ("company", company, true),
            ("first_name", first_name, false),
            ("last_name", last_name, false),
            ("email", email, true),
        ] {
            ensure!(!required || !value.trim().is_empty(), "`{name}` is empty in {shown}");
            if let Some(problem) = text_problem(value) {
                bail!("`{name}` in {shown} cannot be used: {problem}");
            }
        }
        ensure!(is_email(config.email.trim()), "`email` in {shown} is not an email address");
        Ok(config)
    }

    pub(crate) fn into_setup_form(self, method: ProvisioningMethod) -> anyhow::Result<SetupForm> {
        let Self { company, first_name, last_name, email, password_file } = self;
        let password = read_secret(&password_file)?;
        let related = [&*company, &*first_name, &*last_name, &*email];
        if let Some(problem) = password_problem(password.expose(), &related) {
            bail!("{}: {problem}", password_file.display());
        }
        let admin = Admin { first_name, last_name, email, password };
        Ok(SetupForm { company, admin, method })
    }
}

/// Installs until everything is done, the code is refused, or the attempts are used up.
async fn drive(
    install: &mut Install,
    client: Option<&Client>,
    product: &dyn Product,
    max_attempts: Option<u32>,
) -> anyhow::Result<ExitCode> {
    if let Some(client) = client
        && let Some(code) = redeem(install, client, product, max_attempts).await?
    {
        return Ok(code);
    }
    finish(install, product).await
}

/// Redeems the code. Returns an exit code if that did not bring an identity.
async fn redeem(
    install: &mut Install,
    client: &Client,
    product: &dyn Product,
    max_attempts: Option<u32>,
) -> anyhow::Result<Option<ExitCode>> {
    let mut failures = 0;
    loop {
        let next = install.advance(client, product, random::<1>()?[0]).await?;
        if let Some(skew) = client.clock_skew() {
            report(&clock_skew_message(skew));
        }
        match next {
            // The response is stored; the next step verifies it.
            Next::Continue if matches!(install.step(), Step::Verify { .. }) => {}
            Next::Continue | Next::Finished => return Ok(None),
            Next::WaitForInstaller => {
                report(&Status::new(install.step(), None).text());
                return Ok(Some(ExitCode::from(3)));
            }
            Next::Retry { service_error, after } => {
                failures += 1;
                report(&printable(&service_error.message(client.service())));
                if max_attempts.is_some_and(|maximum| failures >= maximum) {
                    return Ok(Some(ExitCode::from(5)));
                }
                report(&format!("next attempt in {} seconds", after.as_secs()));
                tokio::time::sleep(after).await;
            }
        }
    }
}

/// Takes the remaining steps, which need no service, and prints the result.
pub(crate) async fn finish(
    install: &mut Install,
    product: &dyn Product,
) -> anyhow::Result<ExitCode> {
    loop {
        match install.deliver(product).await? {
            Next::Finished => break,
            Next::Continue | Next::Retry { .. } => {}
            Next::WaitForInstaller => bail!("no data has been entered yet"),
        }
    }
    print_line(&Status::new(install.step(), None).text())
}
