//! `registryctl mail list|show|retry|discard|preview`: the outbox, without the codes in the mails.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use registry_core::Registry;
use registry_core::id::{MailId, TenantId};
use registry_core::mail::{MailQuery, MailState, QueuedMail, QueuedMessage};
use registry_core::registry::outbox::MailEdit;
use registry_wiring::{Config, DataFolder, MailKind};
use serde_json::{Value, json};

use crate::confirm::Confirmation;
use crate::operator;
use crate::output::Output;
use crate::tenant::time;

/// Interval at which `--watch` lists the outbox again.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Number of mails by which each list of `--all-dead` grows.
const BATCH: u32 = 200;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Lists the mails of the outbox, newest first.
    List(ListArgs),
    /// Shows one mail.
    Show {
        /// Mail ID (UUID).
        id: MailId,
    },
    /// Queues a dead mail again, or makes a queued mail due now.
    Retry(RetryArgs),
    /// Discards an unsent mail: it is not sent, and its code stays live.
    Discard {
        /// Mail ID (UUID).
        id: MailId,
        #[command(flatten)]
        confirm: Confirmation,
    },
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Lists only mails in this state: queued, sent, dead or discarded. Default: all.
    #[arg(long, value_parser = parse_state)]
    state: Option<MailState>,
    /// Lists only mails of this tenant (UUID). Default: all tenants.
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// Maximum number of mails, 1 to 1000.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Lists the mails again every 2 seconds, until Ctrl-C. Default: once.
    #[arg(long)]
    watch: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct RetryArgs {
    /// Mail ID (UUID).
    id: Option<MailId>,
    /// Queues all dead mails whose code or link is still valid.
    #[arg(long)]
    all_dead: bool,
}

#[derive(Args)]
pub(crate) struct PreviewArgs {
    /// Kind of mail: install-code, install-code-reissued, install-code-without-image,
    /// or portal-link.
    kind: MailKind,
    /// File for the HTML; the plain text is written beside it as .txt. Default: `KIND.html`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Company that the mail names. Default: a made-up one.
    #[arg(long, value_name = "NAME")]
    company: Option<String>,
}

fn parse_state(name: &str) -> Result<MailState, String> {
    let names = || MailState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ");
    MailState::from_name(name).ok_or_else(|| format!("expected one of: {}", names()))
}

pub(crate) async fn run(
    registry: &Registry,
    command: Command,
    output: Output,
) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(registry, &args, output).await,
        Command::Show { id } => show(&registry.mail_show(id).await?, output),
        Command::Retry(RetryArgs { id: Some(id), .. }) => {
            show(&registry.mail_edit(id, MailEdit::Retry, operator()).await?, output)
        }
        Command::Retry(RetryArgs { id: None, .. }) => retry_all(registry, output).await,
        Command::Discard { id, confirm } => {
            let mail = registry.mail_show(id).await?;
            confirm.ask(&format!(
                "Discard mail {id} to {}? It is not sent; its code stays live.",
                mail.to
            ))?;
            show(&registry.mail_edit(id, MailEdit::Discard, operator()).await?, output)
        }
    }
}

async fn list(registry: &Registry, args: &ListArgs, output: Output) -> anyhow::Result<()> {
    let query = MailQuery {
        tenant: args.tenant,
        state: args.state,
        limit: args.limit,
        ..MailQuery::default()
    };
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let mails = registry.mail_list(query).await?;
        let rows: Vec<_> = mails.iter().map(row).collect();
        if args.watch && !output.json {
            crate::output::clear_screen()?;
        }
        output.table(
            &["id", "state", "to", "kind", "queued_at", "due_at", "attempts", "last_error"],
            &rows,
            &[],
        )?;
        if !args.watch {
            return Ok(());
        }
        tokio::select! {
            interrupted = &mut interrupted => {
                return interrupted.context("the handler for Ctrl-C cannot be installed");
            }
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
    }
}

/// Returns the time of a queued mail's next attempt. While the mail is being sent, this is the end
/// of its lease.
fn due_at(mail: &QueuedMail) -> Option<Value> {
    (mail.state == MailState::Queued).then(|| time(mail.due_at))
}

fn row(mail: &QueuedMail) -> Vec<Value> {
    vec![
        json!(mail.id),
        json!(mail.state.as_str()),
        json!(mail.to.as_str()),
        json!(mail.message.kind()),
        json!(time(mail.queued_at)),
        json!(due_at(mail)),
        json!(mail.attempts),
        json!(mail.last_error),
    ]
}

fn show(mail: &QueuedMail, output: Output) -> anyhow::Result<()> {
    let message = match &mail.message {
        QueuedMessage::InstallCode { code_id, company_name, edition, code_expires_at, .. } => vec![
            ("company_name", json!(company_name.as_str())),
            ("edition", json!(edition.as_str())),
            ("code_id", json!(code_id)),
            ("code_expires_at", json!(time(*code_expires_at))),
        ],
        QueuedMessage::PortalLink { expires_at } => {
            vec![("link_expires_at", json!(time(*expires_at)))]
        }
    };
    let head = [
        ("id", json!(mail.id)),
        ("state", json!(mail.state.as_str())),
        ("to", json!(mail.to.as_str())),
        ("kind", json!(mail.message.kind())),
        ("tenant_id", json!(mail.tenant_id)),
    ];
    let delivery = [
        ("queued_at", json!(time(mail.queued_at))),
        ("due_at", json!(due_at(mail))),
        ("settled_at", json!(mail.settled_at.map(time))),
        ("attempts", json!(mail.attempts)),
        ("last_error", json!(mail.last_error)),
    ];
    output.fields(&[&head[..], &message, &delivery].concat())
}

async fn retry_all(registry: &Registry, output: Output) -> anyhow::Result<()> {
    let (mut queued, mut outdated) = (0, 0);
    let mut seen = BTreeSet::new();
    loop {
        // Outdated mails stay dead and are listed again, so each list has to be longer than the
        // number of mails seen so far.
        let limit = BATCH + u32::try_from(seen.len()).unwrap_or(u32::MAX / 2);
        let dead = registry
            .mail_list(MailQuery { state: Some(MailState::Dead), limit, ..MailQuery::default() })
            .await?;
        let unseen: Vec<_> = dead.into_iter().filter(|mail| seen.insert(mail.id)).collect();
        if unseen.is_empty() {
            return output.fields(&[("queued", json!(queued)), ("outdated", json!(outdated))]);
        }
        for mail in unseen {
            match registry.mail_edit(mail.id, MailEdit::Retry, operator()).await {
                Ok(_) => queued += 1,
                Err(registry_core::Error::Refused(_)) => outdated += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Writes a mail with made-up contents as HTML and as plain text. The command needs no registry.
pub(crate) fn preview(config: &Config, args: &PreviewArgs, output: Output) -> anyhow::Result<()> {
    let public_url = DataFolder::public_url(config);
    let rendered =
        registry_wiring::preview(config, &public_url, args.kind, args.company.as_deref())?;
    let html = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.html", args.kind)));
    let text = html.with_extension("txt");
    ensure!(
        text != html,
        "the plain text would overwrite the HTML in {}: name a file that ends in .html",
        html.display()
    );
    for (path, content) in [(&html, &rendered.html), (&text, &rendered.text)] {
        std::fs::write(path, content)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    output.fields(&[
        ("subject", json!(rendered.subject)),
        ("html", json!(html.display().to_string())),
        ("text", json!(text.display().to_string())),
    ])
}
