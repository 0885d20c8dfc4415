//! `appliance-setup run`: an unattended installation.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use appliance_install::{Admin, Client, Entered, Install, Next, Product, Step, Way};
use clap::Args;
use serde::Deserialize;
use uuid::Uuid;

use crate::options::{Bootstrapping, Handing, Service};
use crate::status::Status;
use crate::{random, read_secret};

#[derive(Args)]
pub(crate) struct Run {
    /// The file with the install code; `-` is standard input. Not needed where an installation goes on.
    #[arg(long, value_name = "FILE")]
    code: Option<PathBuf>,
    /// The answers: company, and the first administrator (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    service: Service,
    #[command(flatten)]
    handing: Handing,
    #[command(flatten)]
    bootstrapping: Bootstrapping,
    /// How often the service is tried; without end unless given.
    #[arg(long, value_name = "COUNT")]
    tries: Option<u32>,
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

pub(crate) async fn perform(mut install: Install, asked: &Run, state: &Path) -> anyhow::Result<ExitCode> {
    let client = asked.service.client(state)?;
    if asked.code.is_some() || matches!(install.step(), Step::Collect { .. }) {
        install.submit(entered(asked)?, Uuid::from_bytes(random()?).to_string())?;
    }
    let product = asked.handing.product(state, asked.bootstrapping.job());
    tokio::select! {
        ended = drive(&mut install, &client, &*product, asked.tries) => ended,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("Ctrl-C cannot be watched")?;
            eprintln!("appliance-setup: interrupted; `appliance-setup run` goes on from here");
            Ok(ExitCode::from(130))
        }
    }
}

fn entered(asked: &Run) -> anyhow::Result<Entered> {
    let (Some(code), Some(config)) = (&asked.code, &asked.config) else {
        bail!("--code and --config are missing: there is no installation to go on with")
    };
    let answers = Answers::read(config)?;
    let code = read_secret(code)?;
    ensure!(!code.expose().is_empty(), "the install code is empty");
    answers.entered(Way::Code { code })
}

impl Answers {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("{shown} cannot be read"))?;
        let answers: Self = toml::from_str(&text).with_context(|| format!("{shown} is no set of answers"))?;
        for (name, value) in [("company", &answers.company), ("email", &answers.email)] {
            ensure!(!value.trim().is_empty(), "`{name}` is empty in {shown}");
        }
        Ok(answers)
    }

    pub(crate) fn entered(self, way: Way) -> anyhow::Result<Entered> {
        let Self { company, first_name, last_name, email, password_file } = self;
        let password = read_secret(&password_file)?;
        let length = password.expose().chars().count();
        ensure!(length >= 12, "the administrator's password must have 12 characters at least");
        Ok(Entered { company, admin: Admin { first_name, last_name, email, password }, way })
    }
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
                println!("{}", Status::of(install.step(), None).text());
                return Ok(ExitCode::SUCCESS);
            }
            Next::WaitForOperator => {
                eprintln!("appliance-setup: {}", Status::of(install.step(), None).text());
                return Ok(ExitCode::from(3));
            }
            Next::TryAgain { trouble, after } => {
                failures += 1;
                eprintln!("appliance-setup: {}", trouble.message(client.service()));
                if let Some(skew) = client.clock_skew() {
                    eprintln!("appliance-setup: {}", crate::status::skew(skew));
                }
                if tries.is_some_and(|tries| failures >= tries) {
                    return Ok(ExitCode::from(5));
                }
                eprintln!("appliance-setup: the next try is in {} seconds", after.as_secs());
                tokio::time::sleep(after).await;
            }
        }
    }
}
