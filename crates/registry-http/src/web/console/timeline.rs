//! What happened: to a tenant, or at all.

use axum::extract::{Query, State};
use axum::response::Response;
use registry_core::audit::AuditEntry;
use registry_core::mail::QueuedMail;
use registry_core::registry::timeline::Event;

use super::lists::{List, ListFilter, given};
use super::{Cell, Operator};
use crate::app::AppState;
use crate::problem::ApiError;
use crate::web::formatting::minute;
use crate::web::language::Language;
use crate::web::pages::WebPages;

/// How many lines of the audit, or events of a tenant, a page has.
pub(super) const LINES: u32 = 80;

/// The lines of the audit, those without a tenant among them: operators' sign-ins, releases,
/// unknown codes.
pub(super) async fn audit(
    State(app): State<AppState>,
    language: Language,
    operator: Operator,
    Query(narrowed): Query<ListFilter>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let (entries, next) =
        app.registry.audit_page(None, LINES, given(&narrowed.cursor).as_deref()).await?;
    let row = |entry: &AuditEntry| {
        let tenant =
            entry.tenant_id.map_or_else(|| "–".into(), |id| Cell::of_tenant(id.to_string(), id));
        let mut cells = audited(web, language, entry);
        cells.insert(2, tenant);
        cells
    };
    let list = List {
        title: "audit",
        headings: &["when", "what", "tenant", "who_did", "why"],
        rows: entries.iter().map(row).collect(),
        next,
        ..List::default()
    };
    list.show(web, language, &operator)
}

/// An event as a row: when, what, who, why.
pub(super) fn happened(web: &WebPages, language: Language, event: &Event) -> Vec<Cell> {
    match event {
        Event::Audited(entry) => audited(web, language, entry),
        Event::Mailed(mail) => mailed(web, language, mail),
    }
}

fn audited(web: &WebPages, language: Language, entry: &AuditEntry) -> Vec<Cell> {
    let times = if entry.count > 1 { format!("{} × ", entry.count) } else { String::new() };
    vec![
        minute(web.texts(language), entry.at).into(),
        web.word(language, "action", entry.action.as_str()).into(),
        format!("{} ({})", entry.actor.name, entry.actor.source).into(),
        Cell::from(times + &reason(web, language, &entry.detail)),
    ]
}

fn mailed(web: &WebPages, language: Language, mail: &QueuedMail) -> Vec<Cell> {
    let (kind, state) = (
        web.word(language, "kind", mail.message.kind()),
        web.word(language, "mail", mail.state.as_str()),
    );
    let texts = web.texts(language);
    let why = match (&mail.last_error, mail.settled_at) {
        (Some(error), _) => format!("{}: {error}", mail.to),
        (None, Some(at)) => format!("{}, {}", mail.to, minute(texts, at)),
        (None, None) => mail.to.to_string(),
    };
    vec![
        minute(texts, mail.queued_at).into(),
        web.text(language, "mailed", &[("kind", &kind), ("state", &state)]).into(),
        web.text(language, "outbox", &[]).into(),
        Cell::long(&why),
    ]
}

/// What a line of the audit says why: its word in the reader's language, and whom it is about.
fn reason(web: &WebPages, language: Language, detail: &str) -> String {
    let (word, about) = detail.split_once(" for ").unwrap_or((detail, ""));
    let known = web.texts(language).get(&format!("reason_{word}"));
    match (known, about) {
        (None, _) => detail.strip_prefix("by ").unwrap_or(detail).to_owned(),
        (Some(reason), "") => reason.clone(),
        (Some(reason), about) => format!("{reason} ({about})"),
    }
}
