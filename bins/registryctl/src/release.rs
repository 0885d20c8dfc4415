//! `registryctl release publish`

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use registry_core::Registry;
use registry_core::registry::releases::ReleaseUpload;
use serde_json::json;

use crate::operator;
use crate::output::Output;

/// How much is read and sent at once, in bytes.
const PART: usize = 1024 * 1024;

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Uploads an image and makes it the one that customers download.
    Publish(Publish),
}

#[derive(Args)]
pub(crate) struct Publish {
    /// The image.
    file: PathBuf,
    /// Its version.
    #[arg(long)]
    version: String,
}

pub(crate) async fn perform(registry: &Registry, task: Task, output: Output) -> anyhow::Result<()> {
    let Task::Publish(Publish { file, version }) = task;
    let shown = file.display();
    let mut image = File::open(&file).with_context(|| format!("{shown} cannot be read"))?;
    let metadata = image.metadata().with_context(|| format!("{shown} cannot be read"))?;
    anyhow::ensure!(metadata.is_file(), "{shown} is not a file");
    anyhow::ensure!(metadata.len() > 0, "{shown} is empty");
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mut upload = registry.release_begin(&version, &name, operator()).await?;
    let bar = progress(metadata.len(), output);
    if let Err(error) = copy(&mut image, &file, &mut upload, &bar).await {
        bar.abandon();
        return Err(match upload.abort().await {
            Ok(()) => error,
            Err(also) => anyhow::anyhow!("{error:#}; and it could not be taken back: {also}"),
        });
    }
    let release = registry.release_publish(upload).await?;
    bar.finish_and_clear();
    output.fields(&[
        ("version", json!(release.version)),
        ("channel", json!(release.channel)),
        ("file_name", json!(release.file_name)),
        ("size", json!(release.size)),
        ("sha256", json!(release.sha256)),
        ("release_id", json!(release.id)),
    ])
}

async fn copy(image: &mut File, path: &Path, upload: &mut ReleaseUpload, bar: &ProgressBar) -> anyhow::Result<()> {
    let mut part = vec![0; PART];
    loop {
        let read = image.read(&mut part).with_context(|| format!("{} cannot be read", path.display()))?;
        if read == 0 {
            return Ok(());
        }
        upload.write(&part[..read]).await?;
        bar.inc(read as u64);
    }
}

/// A bar on standard error, where that is a terminal and nobody asked for JSON.
fn progress(size: u64, output: Output) -> ProgressBar {
    if output.json {
        return ProgressBar::hidden();
    }
    let style = "{bar:40} {percent:>3}%  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(size).with_style(style)
}
