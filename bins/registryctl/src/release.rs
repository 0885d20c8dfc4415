//! `registryctl release publish|list|show|yank|rollback|key`

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use registry_core::Registry;
use registry_core::registry::releases::{NewRelease, ReleaseUpload};
use registry_core::release::Release;
use registry_core::store::ListedRelease;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::Interrupted;
use crate::confirm::Confirmation;
use crate::operator;
use crate::output::Output;
use crate::tenant::time;

/// Number of bytes that are read and uploaded at once.
const CHUNK_SIZE: usize = 1024 * 1024;

/// Maximum time that deleting the parts of an interrupted upload may take.
const ABORT_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Uploads an image and makes it the current release of its channel.
    ///
    /// The command is safe to repeat: an interrupted upload leaves nothing behind, and the same
    /// file under the same version again is not an error.
    Publish(PublishArgs),
    /// Lists the releases, newest first.
    List {
        /// Lists only releases of this channel. Default: all channels.
        #[arg(long)]
        channel: Option<String>,
    },
    /// Shows a release.
    Show(ShowArgs),
    /// Withdraws a release for good: download links no longer lead to it.
    ///
    /// If it is the current release, the newest earlier one becomes the current one.
    Yank {
        #[command(flatten)]
        release: ReleaseArgs,
        #[command(flatten)]
        confirm: Confirmation,
    },
    /// Makes an earlier release the current one.
    Rollback(RollbackArgs),
    /// Prints the public key that verifies release manifests, as PEM.
    Key,
}

#[derive(Args)]
pub(crate) struct ReleaseArgs {
    /// Version of the release.
    version: String,
    /// Channel of the release. Default: `downloads.channel`.
    #[arg(long)]
    channel: Option<String>,
}

#[derive(Args)]
pub(crate) struct PublishArgs {
    /// Image file.
    file: PathBuf,
    /// Version of the release.
    #[arg(long)]
    version: String,
    /// Channel to publish the release in. Default: `downloads.channel`.
    #[arg(long)]
    channel: Option<String>,
}

#[derive(Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    release: ReleaseArgs,
    /// Folder to write `manifest.json` and `manifest.sig` into. Default: no files are written.
    #[arg(long, value_name = "DIR")]
    manifest: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct RollbackArgs {
    /// Version to go back to. Default: the newest release that is older than the current one.
    #[arg(long)]
    to: Option<String>,
    /// Channel of the release. Default: `downloads.channel`.
    #[arg(long)]
    channel: Option<String>,
    #[command(flatten)]
    confirm: Confirmation,
}

pub(crate) async fn run(
    registry: &Registry,
    command: Command,
    output: Output,
) -> anyhow::Result<()> {
    match command {
        Command::Publish(args) => publish(registry, args, output).await,
        Command::List { channel } => {
            let listed = registry.release_list(channel.as_deref()).await?;
            let rows: Vec<_> = listed.iter().map(row).collect();
            output.table(
                &["version", "channel", "state", "size", "published_at", "sha256"],
                &rows,
                &[],
            )
        }
        Command::Show(ShowArgs { release: ReleaseArgs { version, channel }, manifest }) => {
            let listed = registry.release_show(&version, channel.as_deref()).await?;
            if let Some(folder) = manifest {
                write_manifest(&listed.release, &folder)?;
            }
            show(&listed, output)
        }
        Command::Yank { release: ReleaseArgs { version, channel }, confirm } => {
            yank(registry, &version, channel.as_deref(), confirm, output).await
        }
        Command::Rollback(args) => rollback(registry, args, output).await,
        Command::Key => crate::output::print(registry.manifest_key_pem().trim_end()),
    }
}

async fn yank(
    registry: &Registry,
    version: &str,
    channel: Option<&str>,
    confirm: Confirmation,
    output: Output,
) -> anyhow::Result<()> {
    confirm
        .ask(&format!("Yank release {version} for good? Customers can no longer download it."))?;
    let yanked = registry.release_yank(version, channel, operator()).await?;
    let listed = registry.release_list(Some(yanked.channel.as_str())).await?;
    let current = listed
        .iter()
        .find(|listed| listed.is_current)
        .map(|listed| listed.release.version.to_string());
    output.fields(&[
        ("version", json!(yanked.version)),
        ("channel", json!(yanked.channel)),
        ("state", json!("yanked")),
        ("yanked_at", json!(yanked.yanked_at.map(time))),
        ("current", json!(current)),
    ])
}

async fn rollback(registry: &Registry, args: RollbackArgs, output: Output) -> anyhow::Result<()> {
    let RollbackArgs { to, channel, confirm } = args;
    let target = to
        .as_deref()
        .map_or_else(|| "the previous release".to_owned(), |version| format!("release {version}"));
    confirm.ask(&format!("Roll back to {target}? From now on, customers download it."))?;
    let release = registry.release_rollback(to.as_deref(), channel.as_deref(), operator()).await?;
    let version = release.version.to_string();
    show(&registry.release_show(&version, channel.as_deref()).await?, output)
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
        bail!(
            "release {} was published before manifests were signed: publish it again",
            release.version
        )
    };
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{} cannot be created", folder.display()))?;
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

async fn publish(registry: &Registry, args: PublishArgs, output: Output) -> anyhow::Result<()> {
    let PublishArgs { file: path, version, channel } = args;
    let shown_path = path.display();
    // The metadata is read before the file is opened: opening a pipe would wait for its writer.
    let metadata =
        std::fs::metadata(&path).with_context(|| format!("{shown_path} cannot be read"))?;
    ensure!(metadata.is_file(), "{shown_path} is not a file");
    let mut image = File::open(&path).with_context(|| format!("{shown_path} cannot be read"))?;
    ensure!(metadata.len() > 0, "{shown_path} is empty");
    let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let new = NewRelease { version, channel, file_name, size: Some(metadata.len()) };
    let mut upload = registry.release_begin(new, operator()).await?;
    let bar = progress(metadata.len(), output);
    let copied = tokio::select! {
        copied = copy(&mut image, &path, &mut upload, &bar) => copied,
        stopped = stop_signal() => {
            Err(stopped.err().unwrap_or(Interrupted("nothing was published").into()))
        }
    };
    if let Err(error) = copied {
        bar.abandon();
        return Err(match tokio::time::timeout(ABORT_TIMEOUT, upload.abort()).await {
            Ok(Ok(())) => error,
            Ok(Err(abort_error)) => {
                error.context(format!("the uploaded parts could not be deleted ({abort_error})"))
            }
            Err(_) => error.context("the uploaded parts could not be deleted in time"),
        });
    }
    let release = publish_uploaded(registry, upload).await?;
    bar.finish_and_clear();
    let (version, channel) = (release.version.to_string(), release.channel.to_string());
    show(&registry.release_show(&version, Some(&channel)).await?, output)
}

/// Waits for Ctrl-C or SIGTERM.
async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate =
        signal(SignalKind::terminate()).context("the handler for SIGTERM cannot be installed")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("the handler for Ctrl-C cannot be installed")
        }
        _ = terminate.recv() => Ok(()),
    }
}

/// Sends the last parts and makes the release the current one. Only a second signal interrupts
/// this.
async fn publish_uploaded(registry: &Registry, upload: ReleaseUpload) -> anyhow::Result<Release> {
    let published = registry.release_publish(upload);
    tokio::pin!(published);
    for is_first_signal in [true, false] {
        tokio::select! {
            published = &mut published => return Ok(published?),
            stopped = stop_signal() => stopped?,
        }
        if is_first_signal {
            eprintln!(
                "registryctl: the upload is complete and the release is being published; \
                 press Ctrl-C again to interrupt"
            );
        }
    }
    Err(Interrupted("the release may be published or not: check with `registryctl release list`")
        .into())
}

async fn copy(
    image: &mut File,
    path: &Path,
    upload: &mut ReleaseUpload,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let mut chunk = vec![0; CHUNK_SIZE];
    loop {
        let read =
            image.read(&mut chunk).with_context(|| format!("{} cannot be read", path.display()))?;
        if read == 0 {
            return Ok(());
        }
        upload.write(&chunk[..read]).await?;
        bar.inc(read as u64);
        // A store that never makes `write` wait would otherwise keep Ctrl-C from being noticed.
        tokio::task::yield_now().await;
    }
}

/// Returns a progress bar for standard error; a hidden one for JSON output.
fn progress(size: u64, output: Output) -> ProgressBar {
    if output.json {
        return ProgressBar::hidden();
    }
    let style = "{bar:40} {percent:>3}%  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(size).with_style(style)
}
