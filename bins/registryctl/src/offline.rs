//! `registryctl offline answer`

use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};
use registry_core::Registry;
use registry_core::secret::TypedCode;
use registry_wiring::read_request;
use serde_json::json;

use crate::operator;
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Redeems an install code, read from standard input, for an appliance without a network.
    ///
    /// For a paid edition, the answer contains a license and a credential: carry it to this
    /// appliance only. The same request with the same code gets the same answer again for
    /// `http.replay_window` (a day unless set).
    Answer(AnswerArgs),
}

#[derive(Args)]
pub(crate) struct AnswerArgs {
    /// Request file that `appliance-setup request` wrote.
    #[arg(value_name = "FILE")]
    request: PathBuf,
    /// File to write the answer to, with mode 0600. Default: the answer is printed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(registry: &Registry, command: Command, output: Output) -> Result<()> {
    let Command::Answer(AnswerArgs { request: request_file, out }) = command;
    let file = request_file.display();
    let text =
        std::fs::read_to_string(&request_file).with_context(|| format!("{file} cannot be read"))?;
    let request = read_request(&text).with_context(|| format!("{file} cannot be answered"))?;
    let code =
        std::io::read_to_string(std::io::stdin()).context("standard input cannot be read")?;
    ensure!(!code.trim().is_empty(), "the install code is expected on standard input");
    let appliance_id = request.appliance_id.clone();
    let answer = registry
        .offline_answer(TypedCode::new(code.trim().to_owned()), request, operator())
        .await?;
    let Some(path) = out else { return crate::output::print(answer.expose()) };
    write_private(&path, answer.expose()).with_context(|| {
        format!(
            "{} cannot be written; run the command again, it gets the same answer",
            path.display()
        )
    })?;
    output.fields(&[("appliance_id", json!(appliance_id)), ("answer", json!(path))])
}

/// Writes a file with mode 0600, even if it existed with another mode.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    writeln!(file, "{text}")?;
    file.sync_all()
}
