//! `appliance-setup run`: an unattended installation.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use appliance_install::{
    Admin, Client, EditionChoice, Install, Next, Product, ProvisioningMethod, SetupForm, Step,
};
use clap::Args;
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::options::{BootstrapArgs, OutputArgs, Service, product};
use crate::rules::{is_email, is_token, unfit, weakness};
use crate::status::Status;
use crate::{random, read_secret, say};

#[derive(Args)]
pub(crate) struct Run {
    /// The file with the install code; `-` is standard input. Not needed where an installation goes
    /// on.
    #[arg(long, value_name = "FILE")]
    code: Option<PathBuf>,
    /// Installs without a code: the appliance then belongs to no registration.
    #[arg(long, value_name = "EDITION", value_enum, conflicts_with = "code")]
    without_code: Option<Edition>,
    /// A license that was brought along, for an installation without a code.
    #[arg(long, value_name = "FILE", requires = "without_code")]
    license: Option<PathBuf>,
    /// The answers: company, and the first administrator (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    service: Service,
    #[command(flatten)]
    output_args: OutputArgs,
    #[command(flatten)]
    bootstrap_args: BootstrapArgs,
    /// How often the service is tried; without end unless given.
    #[arg(long, value_name = "COUNT")]
    tries: Option<u32>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Edition {
    /// Enterprise, at first on trial.
    Ee,
    /// Community.
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

/// The answers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answers {
    company: String,
    first_name: String,
    last_name: String,
    email: String,
    /// The password never stands in this file.
    password_file: PathBuf,
}

pub(crate) async fn perform(
    mut install: Install,
    asked: &Run,
    state: &Path,
) -> anyhow::Result<ExitCode> {
    // Started again with the same arguments, as a unit is: what was entered is in hand already.
    let is_open = install.is_open().is_ok();
    // Before anything is written down; without a code, and once it was redeemed, there is no
    // service to call.
    let client = (is_open && asked.without_code.is_none())
        .then(|| asked.service.client(state))
        .transpose()?;
    let enters = asked.code.is_some()
        || asked.without_code.is_some()
        || matches!(install.step(), Step::Collect { .. });
    let product = product(
        &asked.output_args,
        Some(&asked.bootstrap_args),
        &asked.service.trust(state),
        state,
    )?;
    if is_open && enters {
        install.submit(setup_form(asked)?, Uuid::from_bytes(random()?).to_string())?;
    }
    let mut terminated = signal(SignalKind::terminate()).context("signals cannot be watched")?;
    tokio::select! {
        ended = drive(&mut install, client.as_ref(), &*product, asked.tries) => ended,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("Ctrl-C cannot be watched")?;
            eprintln!("appliance-setup: interrupted; `appliance-setup run` goes on from here");
            Ok(ExitCode::from(130))
        }
        _ = terminated.recv() => {
            eprintln!("appliance-setup: ended; `appliance-setup run` goes on from here");
            Ok(ExitCode::from(143))
        }
    }
}

fn setup_form(asked: &Run) -> anyhow::Result<SetupForm> {
    let Some(config) = &asked.config else {
        bail!("--code and --config are missing: there is no installation to go on with")
    };
    let way = match (&asked.code, asked.without_code) {
        (Some(code), _) => {
            let code = read_secret(code)?;
            ensure!(!code.expose().is_empty(), "the install code is empty");
            ProvisioningMethod::Code { code }
        }
        (None, Some(edition)) => {
            let license = asked.license.as_deref().map(read_secret).transpose()?;
            let is_one = license.as_ref().is_none_or(|text| is_token(text.expose()));
            ensure!(is_one, "the file of --license holds no license");
            ProvisioningMethod::WithoutCode { edition: edition.into(), license }
        }
        (None, None) => bail!("--code is missing; to install without one, say --without-code"),
    };
    Answers::read(config)?.setup_form(way)
}

impl Answers {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{shown} cannot be read"))?;
        let answers: Self =
            toml::from_str(&text).with_context(|| format!("{shown} is no set of answers"))?;
        let Self { company, first_name, last_name, email, .. } = &answers;
        for (name, value, needed) in [
            ("company", company, true),
            ("first_name", first_name, false),
            ("last_name", last_name, false),
            ("email", email, true),
        ] {
            ensure!(!needed || !value.trim().is_empty(), "`{name}` is empty in {shown}");
            if let Some(problem) = unfit(value) {
                bail!("`{name}` in {shown} cannot be used: {problem}");
            }
        }
        ensure!(is_email(answers.email.trim()), "`email` is no e-mail address in {shown}");
        Ok(answers)
    }

    pub(crate) fn setup_form(self, way: ProvisioningMethod) -> anyhow::Result<SetupForm> {
        let Self { company, first_name, last_name, email, password_file } = self;
        let password = read_secret(&password_file)?;
        let weakness = weakness(password.expose(), &[&company, &first_name, &last_name, &email]);
        if let Some(weakness) = weakness {
            bail!("{}: {weakness}", password_file.display());
        }
        Ok(SetupForm { company, admin: Admin { first_name, last_name, email, password }, way })
    }
}

/// Goes on until all is done, the code is refused, or the tries are used up.
async fn drive(
    install: &mut Install,
    client: Option<&Client>,
    product: &dyn Product,
    tries: Option<u32>,
) -> anyhow::Result<ExitCode> {
    if let Some(client) = client
        && let Some(code) = redeem(install, client, product, tries).await?
    {
        return Ok(code);
    }
    finish(install, product).await
}

/// Redeems the code; an exit code, where that does not come to an identity.
async fn redeem(
    install: &mut Install,
    client: &Client,
    product: &dyn Product,
    tries: Option<u32>,
) -> anyhow::Result<Option<ExitCode>> {
    let mut failures = 0;
    loop {
        let next = install.advance(client, product, random::<1>()?[0]).await?;
        if let Some(skew) = client.clock_skew() {
            eprintln!("appliance-setup: {}", crate::status::skew(skew));
        }
        match next {
            // The answer is written down, and verified next.
            Next::GoOn if matches!(install.step(), Step::Verify { .. }) => {}
            Next::GoOn | Next::Finished => return Ok(None),
            Next::WaitForOperator => {
                eprintln!("appliance-setup: {}", Status::of(install.step(), None).text());
                return Ok(Some(ExitCode::from(3)));
            }
            Next::TryAgain { service_error, after } => {
                failures += 1;
                eprintln!("appliance-setup: {}", service_error.message(client.service()));
                if tries.is_some_and(|tries| failures >= tries) {
                    return Ok(Some(ExitCode::from(5)));
                }
                eprintln!("appliance-setup: the next try is in {} seconds", after.as_secs());
                tokio::time::sleep(after).await;
            }
        }
    }
}

/// Takes the steps that need no service, and says what came of it.
pub(crate) async fn finish(
    install: &mut Install,
    product: &dyn Product,
) -> anyhow::Result<ExitCode> {
    loop {
        match install.hand_over(product).await? {
            Next::Finished => break,
            Next::GoOn | Next::TryAgain { .. } => {}
            Next::WaitForOperator => bail!("nothing was entered yet"),
        }
    }
    say(&Status::of(install.step(), None).text())
}
