//! One tenant: what happened to it; a fresh code; a mail sent again.

use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use minijinja::context;
use minijinja::value::Serde;
use registry_core::appliance::Appliance;
use registry_core::audit::AuditEntry;
use registry_core::clock::Timestamp;
use registry_core::id::{MailId, TenantId};
use registry_core::mail::{MailQuery, QueuedMail};
use registry_core::registry::outbox::MailEdit;
use registry_core::registry::reissue::Reissue;
use registry_core::store::TenantSelector;
use serde::Serialize;
use uuid::Uuid;

use super::lists::{Narrowed, mail_list};
use super::{Cell, Operator, minute};
use crate::app::App;
use crate::door::language::Language;
use crate::door::pages::{Door, Side};
use crate::door::refusals::{stale, why};
use crate::door::visitor::Own;
use crate::endpoints::detached;
use crate::idempotency::form_key;
use crate::problem::ApiError;
use crate::source::Client;

/// The most lines of a timeline: the newest.
const LINES: usize = 150;
/// The most mails of a tenant that its timeline names: as many as it has lines.
const MAILS: u32 = 150;

#[derive(Serialize)]
struct Fact {
    name: String,
    value: String,
}

pub(super) async fn show(
    State(app): State<App>,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    overview(&app, language, &operator, TenantId(id), None).await
}

async fn overview(
    app: &App,
    language: Language,
    operator: &Operator,
    id: TenantId,
    notice: Option<String>,
) -> Result<Response, ApiError> {
    let door = app.door()?;
    let text = |name: &str| door.text(language, name, &[]);
    let summary = app.registry.tenant_show(id).await?;
    let query = MailQuery { tenant: Some(id), limit: MAILS, ..MailQuery::default() };
    let (audit, mails) = (app.registry.tenant_timeline(id).await?, app.registry.mail_list(query).await?);
    let tenant = &summary.record.tenant;
    let appliance = |it: &Appliance| match it.revoked_at {
        Some(_) => format!("{} ({})", it.id, text("revoked")),
        None => it.id.to_string(),
    };
    let appliances: Vec<_> = summary.record.appliances.iter().map(appliance).collect();
    let edition = match &summary.entitlement {
        Some(entitlement) if !entitlement.is_active() => format!("{} ({})", tenant.edition, text("revoked")),
        _ => tenant.edition.to_string(),
    };
    let facts: Vec<_> = [
        ("id", id.0.to_string()),
        ("contact", tenant.contact_email.as_ref().map_or_else(|| "–".to_owned(), ToString::to_string)),
        ("edition", edition),
        ("status", door.word(language, "status", tenant.status.as_str())),
        ("code_state", door.word(language, "code", summary.code_state.as_str())),
        ("appliances", if appliances.is_empty() { "–".to_owned() } else { appliances.join(", ") }),
        ("last_check_in", summary.last_check_in_at.map_or_else(|| text("never"), minute)),
    ]
    .into_iter()
    .map(|(name, value)| Fact { name: text(name), value })
    .collect();
    let headings: Vec<_> = ["when", "what", "who_did", "why"].into_iter().map(text).collect();
    let mut lines = timeline(&audit, &mails, |kind, word| door.word(language, kind, word));
    // Where older mails are left out, so is what is older than they are.
    let cut = lines.len().saturating_sub(LINES);
    lines.drain(..cut);
    let gaps = [("shown", &*LINES.to_string())];
    let lead = (cut > 0).then(|| door.text(language, "timeline_cut", &gaps));
    let values = context! {
        title => tenant.company_name.as_str(), facts => Serde(&facts), headings, rows => Serde(&lines), lead, notice,
        reissue => format!("/console/tenants/{}/reissue", id.0), ..operator.frame(door, language)
    };
    door.page("console_tenant.html", language, StatusCode::OK, values)
}

/// What the audit says, and what became of the mails, oldest first.
fn timeline(audit: &[AuditEntry], mails: &[QueuedMail], word: impl Fn(&str, &str) -> String) -> Vec<Vec<Cell>> {
    let line = |entry: &AuditEntry| {
        let times = if entry.count > 1 { format!("{} × ", entry.count) } else { String::new() };
        let who = format!("{} ({})", entry.actor.name, entry.actor.source);
        (entry.at, vec![word("action", entry.action.as_str()).into(), who.into(), Cell::from(times + &entry.detail)])
    };
    let mailed = |mail: &QueuedMail| {
        let what = format!("{}: {}", word("kind", mail.message.kind()), word("mail", mail.state.as_str()));
        let at = mail.settled_at.unwrap_or(mail.queued_at);
        let why = mail.last_error.as_ref().map_or_else(|| mail.to.to_string(), |error| format!("{}: {error}", mail.to));
        (at, vec![what.into(), "outbox".into(), Cell::from(why)])
    };
    let mut lines: Vec<(Timestamp, Vec<Cell>)> = audit.iter().map(line).chain(mails.iter().map(mailed)).collect();
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().map(|(at, cells)| std::iter::once(minute(at).into()).chain(cells).collect()).collect()
}

/// A form that asks before anything is done.
fn confirm(
    app: &App,
    language: Language,
    operator: &Operator,
    (title, lead, back): (&str, String, &str),
) -> Result<Response, ApiError> {
    let door = app.door()?;
    let form = app.registry.draw_id().to_string();
    let title = door.text(language, title, &[]);
    let values = context! { title, lead, back, form, ..operator.frame(door, language) };
    door.page("console_confirm.html", language, StatusCode::OK, values)
}

pub(super) async fn reissue(
    State(app): State<App>,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let record = app.registry.tenant_show(TenantId(id)).await?.record;
    let email = record.tenant.contact_email.as_ref().map_or("–", |email| email.as_str());
    let gaps = [("company", record.tenant.company_name.as_str()), ("email", email)];
    let lead = app.door()?.text(language, "console_reissue_lead", &gaps);
    confirm(&app, language, &operator, ("console_reissue", lead, &format!("/console/tenants/{id}")))
}

pub(super) async fn reissue_now(
    State(app): State<App>,
    Client(source): Client,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
    Form(own): Form<Own>,
) -> Result<Response, ApiError> {
    if !operator.session.has(&own.csrf) {
        return stale(app.door()?, (language, Side::Operators), &format!("/console/tenants/{id}/reissue"));
    }
    let key = form_key(format!("console {}", operator.actor), &own.form, &id.to_string());
    let reissue = Reissue { selector: TenantSelector::Id(TenantId(id)), strict: false, send_email: true, key };
    let (registry, actor) = (app.registry.clone(), operator.acts_from(source));
    let done = detached(async move { registry.code_reissue(reissue, actor).await }).await;
    let back = format!("/console/tenants/{id}");
    if let Some(refused) = refused(app.door()?, language, done, &back)? {
        return Ok(refused);
    }
    let notice = app.door()?.text(language, "console_done", &[]);
    overview(&app, language, &operator, TenantId(id), Some(notice)).await
}

/// The page that says why it was refused, where it was.
fn refused<T>(
    door: &Door,
    language: Language,
    done: Result<T, ApiError>,
    back: &str,
) -> Result<Option<Response>, ApiError> {
    let Err(error) = done else { return Ok(None) };
    let Some(refusal) = &error.refusal else { return Err(error) };
    let text = door.text(language, "console_refused", &[("problem", &why(door, language, refusal))]);
    door.message((language, Side::Operators), error.status, ("cannot_title", text), Some((back, "back"))).map(Some)
}

pub(super) async fn retry(
    State(app): State<App>,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let mail = app.registry.mail_show(MailId(id)).await?;
    if !mail.can_be_retried(app.registry.now()) {
        let door = app.door()?;
        let text = door.text(language, "why_settled", &[]);
        let reader = (language, Side::Operators);
        return door.message(reader, StatusCode::CONFLICT, ("cannot_title", text), Some(("/console/mails", "back")));
    }
    let lead = app.door()?.text(language, "send_again_lead", &[("to", mail.to.as_str())]);
    confirm(&app, language, &operator, ("send_again", lead, "/console/mails"))
}

pub(super) async fn retry_now(
    State(app): State<App>,
    Client(source): Client,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
    Form(own): Form<Own>,
) -> Result<Response, ApiError> {
    if !operator.session.has(&own.csrf) {
        return stale(app.door()?, (language, Side::Operators), &format!("/console/mails/{id}/retry"));
    }
    let (registry, actor) = (app.registry.clone(), operator.acts_from(source));
    let done = detached(async move { registry.mail_edit(MailId(id), MailEdit::Retry, actor).await }).await;
    if let Some(refused) = refused(app.door()?, language, done, "/console/mails")? {
        return Ok(refused);
    }
    let notice = app.door()?.text(language, "sent_again", &[]);
    mail_list(&app, language, &operator, Narrowed::default(), Some(notice)).await
}
