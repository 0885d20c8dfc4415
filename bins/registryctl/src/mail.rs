//! `registryctl mail list|show|retry|discard|preview`: the outbox, without the codes in it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use registry_core::Registry;
use registry_core::id::{MailId, TenantId};
use registry_core::mail::{MailQuery, MailState, QueuedMail, QueuedMessage};
use registry_core::registry::outbox::MailEdit;
use registry_wiring::{Config, MailKind};
use serde_json::{Value, json};

use crate::confirm::Confirmation;
use crate::operator;
use crate::output::Output;
use crate::tenant::time;

/// How often `--watch` looks.
const WATCH: Duration = Duration::from_secs(2);

/// How many mails `--all-dead` takes at once.
const BATCH: u32 = 200;

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Lists the outbox, newest first.
    List(List),
    /// Shows one mail.
    Show {
        /// The mail's id.
        id: MailId,
    },
    /// Sends a mail again that was given up, or one that waits, now.
    Retry(Retry),
    /// Discards a mail that was not sent; its code stays live.
    Discard {
        /// The mail's id.
        id: MailId,
        #[command(flatten)]
        confirm: Confirmation,
    },
}

#[derive(Args)]
pub(crate) struct List {
    /// Only those in this state: queued, sent, dead, discarded.
    #[arg(long, value_parser = state)]
    state: Option<MailState>,
    /// Only those about this tenant.
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Looks again every two seconds, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Retry {
    /// The mail's id.
    id: Option<MailId>,
    /// All that were given up and whose codes are still good.
    #[arg(long)]
    all_dead: bool,
}

#[derive(Args)]
pub(crate) struct Preview {
    /// Which mail: install-code, install-code-reissued, install-code-without-image,
    /// registration-link, portal-link.
    kind: MailKind,
    /// The file to write the HTML into; `KIND.html` unless given, and the plain text beside it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The company in it.
    #[arg(long, value_name = "NAME")]
    company: Option<String>,
}

fn state(word: &str) -> Result<MailState, String> {
    let words = || MailState::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", ");
    MailState::from_name(word).ok_or_else(|| format!("the states are: {}", words()))
}

pub(crate) async fn perform(registry: &Registry, task: Task, output: Output) -> anyhow::Result<()> {
    match task {
        Task::List(asked) => list(registry, &asked, output).await,
        Task::Show { id } => show(&registry.mail_show(id).await?, output),
        Task::Retry(Retry { id: Some(id), .. }) => {
            show(&registry.mail_edit(id, MailEdit::Retry, operator()).await?, output)
        }
        Task::Retry(Retry { id: None, .. }) => retry_all(registry, output).await,
        Task::Discard { id, confirm } => {
            let mail = registry.mail_show(id).await?;
            confirm.ask(&format!("Discard the mail to {}? Its code is not mailed.", mail.to))?;
            show(&registry.mail_edit(id, MailEdit::Discard, operator()).await?, output)
        }
    }
}

async fn list(registry: &Registry, asked: &List, output: Output) -> anyhow::Result<()> {
    let query = MailQuery {
        tenant: asked.tenant,
        state: asked.state,
        limit: asked.limit,
        ..MailQuery::default()
    };
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let mails = registry.mail_list(query).await?;
        let rows: Vec<_> = mails.iter().map(row).collect();
        if asked.watch && !output.json {
            // Clears the screen (ECMA-48: cursor home, erase display).
            crate::output::print("\u{1b}[H\u{1b}[2J")?;
        }
        output.table(
            &["id", "state", "to", "kind", "queued_at", "due_at", "attempts", "last_error"],
            &rows,
            &[],
        )?;
        if !asked.watch {
            return Ok(());
        }
        tokio::select! {
            interrupted = &mut interrupted => return interrupted.context("Ctrl-C cannot be watched"),
            () = tokio::time::sleep(WATCH) => {}
        }
    }
}

/// When it is tried next, or, while it is being sent, taken for lost.
fn due(mail: &QueuedMail) -> Option<Value> {
    (mail.state == MailState::Queued).then(|| time(mail.due_at))
}

fn row(mail: &QueuedMail) -> Vec<Value> {
    vec![
        json!(mail.id),
        json!(mail.state.as_str()),
        json!(mail.to.as_str()),
        json!(mail.message.kind()),
        json!(time(mail.queued_at)),
        json!(due(mail)),
        json!(mail.attempts),
        json!(mail.last_error),
    ]
}

fn show(mail: &QueuedMail, output: Output) -> anyhow::Result<()> {
    let about = match &mail.message {
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
    let tail = [
        ("queued_at", json!(time(mail.queued_at))),
        ("due_at", json!(due(mail))),
        ("settled_at", json!(mail.settled_at.map(time))),
        ("attempts", json!(mail.attempts)),
        ("last_error", json!(mail.last_error)),
    ];
    output.fields(&[&head[..], &about, &tail].concat())
}

async fn retry_all(registry: &Registry, output: Output) -> anyhow::Result<()> {
    let (mut queued, mut outdated) = (0, 0);
    let mut seen = std::collections::BTreeSet::new();
    loop {
        // Those that are outdated stay dead, so there have to be more than were seen.
        let limit = BATCH + u32::try_from(seen.len()).unwrap_or(u32::MAX / 2);
        let dead = registry
            .mail_list(MailQuery { state: Some(MailState::Dead), limit, ..MailQuery::default() })
            .await?;
        let fresh: Vec<_> = dead.into_iter().filter(|mail| seen.insert(mail.id)).collect();
        if fresh.is_empty() {
            return output.fields(&[("queued", json!(queued)), ("outdated", json!(outdated))]);
        }
        for mail in fresh {
            match registry.mail_edit(mail.id, MailEdit::Retry, operator()).await {
                Ok(_) => queued += 1,
                Err(registry_core::Error::Refused(_)) => outdated += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Writes a mail with made-up contents, to look at in a browser.
pub(crate) fn preview(config: &Config, asked: &Preview, output: Output) -> anyhow::Result<()> {
    let public_url =
        config.public_url.clone().unwrap_or_else(|| format!("http://{}", config.listen));
    let rendered =
        registry_wiring::preview(config, &public_url, asked.kind, asked.company.as_deref())?;
    let html = asked.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.html", asked.kind)));
    let text = html.with_extension("txt");
    ensure!(
        text != html,
        "{} would be overwritten by the plain text: name a file that ends in .html",
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
