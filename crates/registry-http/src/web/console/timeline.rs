//! The audit log, and the events in a tenant's timeline.

use axum::extract::{Query, State};
use axum::response::Response;
use registry_core::audit::{AuditDetail, AuditEntry};
use registry_core::mail::QueuedMail;
use registry_core::registry::timeline::Event;

use super::lists::{List, ListFilter, non_empty};
use super::{Cell, Operator};
use crate::app::AppState;
use crate::problem::ApiError;
use crate::web::formatting::date_time;
use crate::web::language::Language;
use crate::web::pages::WebPages;

/// Number of audit entries, or of a tenant's events, on a page.
pub(super) const ENTRIES: u32 = 80;

/// The audit log. Some entries have no tenant: operators' sign-ins, releases, unknown codes.
pub(super) async fn audit(
    State(app): State<AppState>,
    language: Language,
    operator: Operator,
    Query(filter): Query<ListFilter>,
) -> Result<Response, ApiError> {
    let (web, cursor) = (app.web()?, non_empty(&filter.cursor));
    let (entries, next) = app.registry.audit_page(None, None, ENTRIES, cursor.as_deref()).await?;
    let list = List {
        title: "audit",
        headings: &["time", "event", "tenant", "actor", "details"],
        rows: entries.iter().map(|entry| audit_row(web, language, entry)).collect(),
        empty: "audit_empty",
        next,
        ..List::default()
    };
    list.page(web, language, &operator)
}

/// A row of the audit log: time, event, tenant, actor, details.
fn audit_row(web: &WebPages, language: Language, entry: &AuditEntry) -> Vec<Cell> {
    let tenant =
        entry.tenant_id.map_or_else(|| "–".into(), |id| Cell::of_tenant(id.to_string(), id));
    let mut cells = entry_cells(web, language, entry);
    cells.insert(2, tenant);
    cells
}

/// A row of a tenant's timeline: time, event, actor, details.
pub(super) fn event_row(web: &WebPages, language: Language, event: &Event) -> Vec<Cell> {
    match event {
        Event::Audited(entry) => entry_cells(web, language, entry),
        Event::Mailed(mail) => mail_cells(web, language, mail),
    }
}

fn entry_cells(web: &WebPages, language: Language, entry: &AuditEntry) -> Vec<Cell> {
    let times = if entry.count > 1 { format!("{} × ", entry.count) } else { String::new() };
    vec![
        date_time(web.texts(language), entry.at).into(),
        web.label(language, "action", entry.action.as_str()).into(),
        format!("{} ({})", entry.actor.name, entry.actor.source).into(),
        Cell::from(times + &details(web, language, &entry.detail)),
    ]
}

fn mail_cells(web: &WebPages, language: Language, mail: &QueuedMail) -> Vec<Cell> {
    let kind = web.label(language, "kind", mail.message.kind());
    let state = web.label(language, "mail", mail.state.as_str());
    let texts = web.texts(language);
    let details = match (&mail.last_error, mail.settled_at) {
        (Some(error), _) => format!("{}: {error}", mail.to),
        (None, Some(at)) => format!("{}, {}", mail.to, date_time(texts, at)),
        (None, None) => mail.to.to_string(),
    };
    vec![
        date_time(texts, mail.queued_at).into(),
        web.text(language, "mail_event", &[("kind", &kind), ("state", &state)]).into(),
        web.text(language, "outbox", &[]).into(),
        Cell::long(&details),
    ]
}

/// The detail of an audit entry: the reason in the reader's language, or the value, with the
/// appliance behind it.
fn details(web: &WebPages, language: Language, detail: &AuditDetail) -> String {
    let reason = detail.reason.as_ref().map(|reason| web.label(language, "reason", reason));
    let text = reason.or_else(|| detail.value.clone());
    match (text, &detail.appliance) {
        (Some(text), Some(appliance)) => format!("{text} ({appliance})"),
        (Some(text), None) => text,
        (None, appliance) => appliance.clone().unwrap_or_default(),
    }
}
