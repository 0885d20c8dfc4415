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
use crate::run::{ConfigFile, finish};
use crate::{print_line, random, report};

#[derive(Args)]
pub(crate) struct RequestArgs {
    /// File to write the request to.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
pub(crate) struct ApplyArgs {
    /// File with the vendor's answer to the request.
    #[arg(value_name = "FILE")]
    answer: PathBuf,
    /// Configuration file with the company and the first administrator (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    trust_args: TrustArgs,
    #[command(flatten)]
    output_args: OutputArgs,
    #[command(flatten)]
    bootstrap_args: BootstrapArgs,
}

/// Writes the request file.
pub(crate) fn write_request(
    install: &Install,
    args: &RequestArgs,
    state: &Path,
) -> Result<ExitCode> {
    install.check_open()?;
    let text = request(state, install.appliance_id(), random()?, SystemClock.now())?;
    let shown = args.out.display();
    let file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&args.out);
    let written = file.and_then(|mut file| writeln!(file, "{text}").and_then(|()| file.sync_all()));
    written.with_context(|| format!("{shown} cannot be written"))?;
    print_line(&format!(
        "{shown} is written. Send it to the vendor together with the install code, and install \
         with the vendor's answer: `appliance-setup apply`."
    ))
}

/// Installs with the answer file, or resumes an installation that has accepted an answer.
pub(crate) async fn apply(
    mut install: Install,
    args: &ApplyArgs,
    state: &Path,
) -> Result<ExitCode> {
    let trust = args.trust_args.trust(state);
    let product = product(&args.output_args, Some(&args.bootstrap_args), &trust, state)?;
    if matches!(install.step(), Step::Write { .. } | Step::Bootstrap { .. }) {
        report("an answer was accepted before; the installation continues with it");
    } else {
        let shown = args.answer.display();
        let text = std::fs::read_to_string(&args.answer)
            .with_context(|| format!("{shown} cannot be read"))?;
        let answered = answer(state, &text, &trust, SystemClock.now())?;
        install.submit_answer(
            ConfigFile::read(&args.config)?.into_setup_form(ProvisioningMethod::Offline)?,
            answered,
        )?;
    }
    finish(&mut install, &*product).await
}
