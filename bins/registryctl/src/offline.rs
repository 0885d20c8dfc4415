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
pub(crate) enum Task {
    /// Redeems an install code, out of standard input, for an appliance without a network.
    ///
    /// The answer holds a license and a credential: carry it to that appliance, and to nobody else.
    /// The same request with the same code is answered again within a day.
    Answer(Asked),
}

#[derive(Args)]
pub(crate) struct Asked {
    /// The request that `appliance-setup request` wrote.
    #[arg(value_name = "FILE")]
    request: PathBuf,
    /// Where the answer is written, for its owner only; printed unless given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) async fn perform(registry: &Registry, task: Task, output: Output) -> Result<()> {
    let Task::Answer(Asked { request, out }) = task;
    let shown = request.display();
    let text =
        std::fs::read_to_string(&request).with_context(|| format!("{shown} cannot be read"))?;
    let request = read_request(&text).with_context(|| format!("{shown} cannot be answered"))?;
    let code =
        std::io::read_to_string(std::io::stdin()).context("standard input cannot be read")?;
    ensure!(!code.trim().is_empty(), "the install code is expected on standard input");
    let appliance_id = request.appliance_id.clone();
    let answer = registry
        .offline_answer(TypedCode::new(code.trim().to_owned()), request, operator())
        .await?;
    let Some(path) = out else { return crate::output::print(answer.expose()) };
    put(&path, answer.expose()).with_context(|| {
        format!("{} cannot be written; try again, the code is not lost", path.display())
    })?;
    output.fields(&[("appliance_id", json!(appliance_id)), ("answer", json!(path))])
}

/// Writes a file for its owner only, also where it was there and open to others.
fn put(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    writeln!(file, "{text}")?;
    file.sync_all()
}
