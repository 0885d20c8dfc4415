//! `registryctl release publish|list|show|yank|rollback|key`

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use registry_core::Registry;
use registry_core::registry::releases::{NewRelease, ReleaseUpload};
use registry_core::release::Release;
use registry_core::store::ListedRelease;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::confirm::Confirmation;
use crate::operator;
use crate::output::Output;
use crate::tenant::time;

/// How much is read and sent at once, in bytes.
const PART: usize = 1024 * 1024;

/// How long taking back an upload may take.
const TAKE_BACK: Duration = Duration::from_secs(20);

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Uploads an image and makes it the one that customers download. Safe to repeat: what was cut
    /// off left nothing behind, and the same file under the same version again is no error.
    Publish(Publish),
    /// Lists the releases, newest first.
    List {
        /// Only those of this channel.
        #[arg(long)]
        channel: Option<String>,
    },
    /// Shows a release.
    Show(Show),
    /// Withdraws a release for good: no link leads to it any more. Where it is the current one, the
    /// newest earlier one takes its place.
    Yank {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        confirm: Confirmation,
    },
    /// Makes an earlier release the current one.
    Rollback(Rollback),
    /// Prints the key that manifests can be verified with, as PEM.
    Key,
}

#[derive(Args)]
pub(crate) struct Named {
    /// The release's version.
    version: String,
    /// Its channel; the one that is offered unless given.
    #[arg(long)]
    channel: Option<String>,
}

#[derive(Args)]
pub(crate) struct Publish {
    /// The image.
    file: PathBuf,
    /// Its version.
    #[arg(long)]
    version: String,
    /// The channel to publish it in; the one that is offered unless given.
    #[arg(long)]
    channel: Option<String>,
}

#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    named: Named,
    /// A folder to write `manifest.json` and `manifest.sig` into.
    #[arg(long, value_name = "DIR")]
    manifest: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Rollback {
    /// The version to go back to; the newest that is older than the current one unless given.
    #[arg(long)]
    to: Option<String>,
    /// The channel; the one that is offered unless given.
    #[arg(long)]
    channel: Option<String>,
    #[command(flatten)]
    confirm: Confirmation,
}

pub(crate) async fn perform(registry: &Registry, task: Task, output: Output) -> anyhow::Result<()> {
    match task {
        Task::Publish(asked) => publish(registry, asked, output).await,
        Task::List { channel } => {
            let listed = registry.release_list(channel.as_deref()).await?;
            let rows: Vec<_> = listed.iter().map(row).collect();
            output.table(
                &["version", "channel", "state", "size", "published_at", "sha256"],
                &rows,
                &[],
            )
        }
        Task::Show(Show { named: Named { version, channel }, manifest }) => {
            let listed = registry.release_show(&version, channel.as_deref()).await?;
            if let Some(folder) = manifest {
                write_manifest(&listed.release, &folder)?;
            }
            show(&listed, output)
        }
        Task::Yank { named: Named { version, channel }, confirm } => {
            let channel = channel.as_deref();
            confirm.ask(&format!("Yank {version} for good? Nobody can download it any more."))?;
            let yanked = registry.release_yank(&version, channel, operator()).await?;
            let listed = registry.release_list(Some(yanked.channel.as_str())).await?;
            let current =
                listed.iter().find(|it| it.is_current).map(|it| it.release.version.to_string());
            output.fields(&[
                ("version", json!(yanked.version)),
                ("channel", json!(yanked.channel)),
                ("state", json!("yanked")),
                ("yanked_at", json!(yanked.yanked_at.map(time))),
                ("current", json!(current)),
            ])
        }
        Task::Rollback(Rollback { to, channel, confirm }) => {
            confirm.ask("Make an earlier release the one that customers download?")?;
            let release =
                registry.release_rollback(to.as_deref(), channel.as_deref(), operator()).await?;
            let version = release.version.to_string();
            show(&registry.release_show(&version, channel.as_deref()).await?, output)
        }
        Task::Key => crate::output::print(registry.manifest_key_pem().trim_end()),
    }
}

fn state(listed: &ListedRelease) -> &'static str {
    match (listed.is_current, listed.release.yanked_at) {
        (true, _) => "current",
        (false, Some(_)) => "yanked",
        (false, None) => "earlier",
    }
}

fn row(listed: &ListedRelease) -> Vec<Value> {
    let release = &listed.release;
    vec![
        json!(release.version),
        json!(release.channel),
        json!(state(listed)),
        json!(release.size),
        json!(time(release.published_at)),
        json!(release.sha256),
    ]
}

fn show(listed: &ListedRelease, output: Output) -> anyhow::Result<()> {
    let release = &listed.release;
    output.fields(&[
        ("version", json!(release.version)),
        ("channel", json!(release.channel)),
        ("state", json!(state(listed))),
        ("file_name", json!(release.file_name)),
        ("size", json!(release.size)),
        ("sha256", json!(release.sha256)),
        ("key", json!(release.key.as_str())),
        ("published_at", json!(time(release.published_at))),
        ("yanked_at", json!(release.yanked_at.map(time))),
        ("release_id", json!(release.id)),
        ("manifest", json!(release.manifest.as_ref().map(|manifest| &manifest.text))),
    ])
}

fn write_manifest(release: &Release, folder: &Path) -> anyhow::Result<()> {
    let Some(manifest) = &release.manifest else {
        bail!("{} was published before manifests were signed: publish it again", release.version)
    };
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{} cannot be made", folder.display()))?;
    for (name, content) in [
        ("manifest.json", manifest.text.as_bytes()),
        ("manifest.sig", manifest.signature.as_slice()),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, content)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

async fn publish(registry: &Registry, asked: Publish, output: Output) -> anyhow::Result<()> {
    let Publish { file, version, channel } = asked;
    let shown = file.display();
    // Looked at before it is opened: opening a pipe waits for somebody to write.
    let metadata = std::fs::metadata(&file).with_context(|| format!("{shown} cannot be read"))?;
    anyhow::ensure!(metadata.is_file(), "{shown} is not a file");
    let mut image = File::open(&file).with_context(|| format!("{shown} cannot be read"))?;
    anyhow::ensure!(metadata.len() > 0, "{shown} is empty");
    let file_name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let new = NewRelease { version, channel, file_name, size: Some(metadata.len()) };
    let mut upload = registry.release_begin(new, operator()).await?;
    let bar = progress(metadata.len(), output);
    let copied = tokio::select! {
        copied = copy(&mut image, &file, &mut upload, &bar) => copied,
        stopped = stopped() => Err(stopped.err().unwrap_or(crate::Interrupted("nothing was published").into())),
    };
    if let Err(error) = copied {
        bar.abandon();
        return Err(match tokio::time::timeout(TAKE_BACK, upload.abort()).await {
            Ok(Ok(())) => error,
            Ok(Err(also)) => {
                error.context(format!("what was uploaded could not be taken back ({also})"))
            }
            Err(_) => error.context("what was uploaded could not be taken back in time"),
        });
    }
    let release = finish(registry, upload).await?;
    bar.finish_and_clear();
    let (version, channel) = (release.version.to_string(), release.channel.to_string());
    show(&registry.release_show(&version, Some(&channel)).await?, output)
}

/// Ctrl-C, or whoever stops a job.
async fn stopped() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be watched")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("Ctrl-C cannot be watched"),
        _ = terminate.recv() => Ok(()),
    }
}

/// The last parts, and making it current: Ctrl-C has to be pressed twice to break that off.
async fn finish(registry: &Registry, upload: ReleaseUpload) -> anyhow::Result<Release> {
    let published = registry.release_publish(upload);
    tokio::pin!(published);
    for again in [true, false] {
        tokio::select! {
            published = &mut published => return Ok(published?),
            stopped = stopped() => stopped?,
        }
        if again {
            eprintln!(
                "registryctl: everything is uploaded, and is being published; Ctrl-C again breaks it off"
            );
        }
    }
    Err(crate::Interrupted("while it was being published: `release list` says whether it was")
        .into())
}

async fn copy(
    image: &mut File,
    path: &Path,
    upload: &mut ReleaseUpload,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let mut part = vec![0; PART];
    loop {
        let read =
            image.read(&mut part).with_context(|| format!("{} cannot be read", path.display()))?;
        if read == 0 {
            return Ok(());
        }
        upload.write(&part[..read]).await?;
        bar.inc(read as u64);
        // Ctrl-C is heard here too, where the store takes everything at once.
        tokio::task::yield_now().await;
    }
}

/// A bar on standard error, where that is a terminal and nobody asked for JSON.
fn progress(size: u64, output: Output) -> ProgressBar {
    if output.json {
        return ProgressBar::hidden();
    }
    let style = "{bar:40} {percent:>3}%  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(size).with_style(style)
}
