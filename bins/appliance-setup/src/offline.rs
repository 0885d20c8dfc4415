//! `appliance-setup request` and `apply`: an installation without a network.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use appliance_install::{
    Clock as _, Install, ProvisioningMethod, Step, SystemClock, answer, request,
};
use clap::Args;

use crate::options::{BootstrapArgs, OutputArgs, TrustArgs, product};
use crate::run::{Answers, finish};
use crate::{random, say};

#[derive(Args)]
pub(crate) struct Request {
    /// Where the request is written.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
pub(crate) struct Apply {
    /// The answer that was carried here.
    #[arg(value_name = "FILE")]
    answer: PathBuf,
    /// The answers: company, and the first administrator (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    trust_args: TrustArgs,
    #[command(flatten)]
    output_args: OutputArgs,
    #[command(flatten)]
    bootstrap_args: BootstrapArgs,
}

/// Writes the request.
pub(crate) fn ask(install: &Install, asked: &Request, state: &Path) -> Result<ExitCode> {
    install.is_open()?;
    let text = request(state, install.appliance_id(), random()?, SystemClock.now())?;
    let shown = asked.out.display();
    let file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&asked.out);
    let written = file.and_then(|mut file| writeln!(file, "{text}").and_then(|()| file.sync_all()));
    written.with_context(|| format!("{shown} cannot be written"))?;
    say(&format!(
        "{shown} is written. Carry it to the vendor together with the install code; what comes back is for \
         `appliance-setup apply`."
    ))
}

/// Takes the answer, and hands the identity on; or goes on with that.
pub(crate) async fn apply(mut install: Install, asked: &Apply, state: &Path) -> Result<ExitCode> {
    let product = product(
        &asked.output_args,
        Some(&asked.bootstrap_args),
        &asked.trust_args.trust(state),
        state,
    )?;
    if matches!(install.step(), Step::Write { .. } | Step::Bootstrap { .. }) {
        eprintln!(
            "appliance-setup: an answer was taken already, and the installation goes on with that one"
        );
    } else {
        let shown = asked.answer.display();
        let text = std::fs::read_to_string(&asked.answer)
            .with_context(|| format!("{shown} cannot be read"))?;
        let answered = answer(state, &text, &asked.trust_args.trust(state), SystemClock.now())?;
        install.submit_answer(
            Answers::read(&asked.config)?.setup_form(ProvisioningMethod::Offline)?,
            answered,
        )?;
    }
    finish(&mut install, &*product).await
}
