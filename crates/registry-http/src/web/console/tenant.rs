//! A tenant's page with its timeline; re-issuing its install code, and resending a mail.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use minijinja::context;
use minijinja::value::Serde;
use registry_core::appliance::Appliance;
use registry_core::id::{MailId, TenantId};
use registry_core::registry::directory::TenantSummary;
use registry_core::registry::outbox::MailEdit;
use registry_core::text::EmailAddress;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::lists::non_empty;
use super::timeline::{ENTRIES, event_row};
use super::{Cell, Operator};
use crate::app::AppState;
use crate::idempotency::form_key;
use crate::problem::ApiError;
use crate::source::Client;
use crate::web::errors::{expired_form_page, refusal_text};
use crate::web::form::Form;
use crate::web::formatting::{date_time, edition, license_until, more_appliances, seen};
use crate::web::language::Language;
use crate::web::pages::{Audience, WebPages};
use crate::web::reissue::reissue_by_mail;
use crate::web::session::SessionForm;

/// Maximum number of appliances that are shown.
const APPLIANCES: usize = 50;

#[derive(Serialize)]
struct Fact {
    name: String,
    value: String,
}

/// The query of a tenant's page.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PageQuery {
    /// Cursor of the timeline.
    cursor: String,
    /// Proof that an action has just succeeded, see `Session::done_value`.
    done: String,
}

pub(super) async fn tenant_page(
    State(app): State<AppState>,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
    Query(query): Query<PageQuery>,
) -> Result<Response, ApiError> {
    let (web, cursor) = (app.web()?, non_empty(&query.cursor));
    let summary = app.registry.tenant_show(TenantId(id)).await?;
    let (events, next) =
        app.registry.tenant_timeline(TenantId(id), ENTRIES, cursor.as_deref()).await?;
    let rows: Vec<_> = events.iter().map(|event| event_row(web, language, event)).collect();
    let is_reissued = query.done == operator.session.done_value("reissue");
    let values = context! {
        rows => Serde(&rows),
        next,
        notice => is_reissued.then(|| web.text(language, "console_reissue_done", &[])),
        reissue => format!("/console/tenants/{id}/reissue"),
        ..summary_values(web, language, &operator, &summary)
    };
    web.page("console_tenant.html", language, StatusCode::OK, values)
}

/// The values of a tenant's page, except the timeline's rows.
fn summary_values(
    web: &WebPages,
    language: Language,
    operator: &Operator,
    summary: &TenantSummary,
) -> minijinja::Value {
    let text = |key: &str| web.text(language, key, &[]);
    let (appliances, facts) = (&summary.record.appliances, facts(web, language, summary));
    let appliance_rows: Vec<_> =
        appliances.iter().take(APPLIANCES).map(|it| appliance_row(web, language, it)).collect();
    context! {
        title => summary.record.tenant.company_name.as_str(),
        facts => Serde(&facts),
        headings => ["time", "event", "actor", "details"].map(text),
        appliances => Serde(&appliance_rows),
        appliance_headings => ["appliance", "last_check_in", "license_until"].map(text),
        more => more_appliances(web, language, appliances.len(), APPLIANCES),
        ..operator.page_values(web, language)
    }
}

fn facts(web: &WebPages, language: Language, summary: &TenantSummary) -> Vec<Fact> {
    let tenant = &summary.record.tenant;
    let contact = tenant.contact_email.as_ref().map(ToString::to_string);
    let facts = [
        ("id", tenant.id.to_string()),
        ("contact", contact.unwrap_or_else(|| "–".to_owned())),
        ("edition", edition(web, (language, Audience::Operators), &summary.record)),
        ("status", web.label(language, "status", tenant.status.as_str())),
        ("registered", date_time(web.texts(language), tenant.registered_at)),
        ("code_state", web.label(language, "code", summary.code_state.as_str())),
    ];
    let fact = |(key, value): (&str, String)| Fact { name: web.text(language, key, &[]), value };
    facts.into_iter().map(fact).collect()
}

fn appliance_row(web: &WebPages, language: Language, appliance: &Appliance) -> [Cell; 3] {
    [
        appliance.id.as_str().into(),
        seen(web, language, appliance).into(),
        license_until(web, language, appliance).into(),
    ]
}

/// A page that asks the operator to confirm an action.
fn confirmation_page(
    app: &AppState,
    language: Language,
    operator: &Operator,
    (title, lead, back): (&str, String, &str),
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let form = app.registry.new_id().to_string();
    let title = web.text(language, title, &[]);
    let values = context! { title, lead, back, form, ..operator.page_values(web, language) };
    web.page("console_confirm.html", language, StatusCode::OK, values)
}

/// A page that says why an action is not possible.
fn not_possible_page(
    web: &WebPages,
    language: Language,
    reason: String,
    back: &str,
) -> Result<Response, ApiError> {
    web.message(
        (language, Audience::Operators),
        StatusCode::CONFLICT,
        ("refused_title", reason),
        Some((back, "back")),
    )
}

pub(super) async fn reissue_page(
    State(app): State<AppState>,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let tenant = app.registry.open_tenant(TenantId(id)).await?.tenant;
    let (web, back) = (app.web()?, format!("/console/tenants/{id}"));
    let Some(email) = tenant.contact_email.as_ref().map(EmailAddress::as_str) else {
        let reason = web.text(language, "console_no_contact", &[]);
        return not_possible_page(web, language, reason, &back);
    };
    let values = [("company", tenant.company_name.as_str()), ("email", email)];
    let lead = web.text(language, "console_reissue_lead", &values);
    confirmation_page(&app, language, &operator, ("console_reissue", lead, &back))
}

pub(super) async fn reissue(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
    Form(form): Form<SessionForm>,
) -> Result<Response, ApiError> {
    let tenant_path = format!("/console/tenants/{id}");
    if !operator.session.csrf_matches(&form.csrf) {
        let form_path = format!("{tenant_path}/reissue");
        return expired_form_page(app.web()?, (language, Audience::Operators), &form_path);
    }
    let key = form_key(format!("console {}", operator.name), &form.form, &id.to_string());
    reissue_by_mail(&app, id, key, operator.actor(source)).await?;
    let done = operator.session.done_value("reissue");
    Ok(Redirect::to(&format!("{tenant_path}?done={done}")).into_response())
}

pub(super) async fn resend_page(
    State(app): State<AppState>,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let (web, mail) = (app.web()?, app.registry.mail_show(MailId(id)).await?);
    if let Err(refusal) = mail.check_retry(app.registry.now()) {
        let reason = refusal_text(web, (language, Audience::Operators), &refusal);
        return not_possible_page(web, language, reason, "/console/mails");
    }
    let lead = web.text(language, "resend_lead", &[("to", mail.to.as_str())]);
    confirmation_page(&app, language, &operator, ("resend", lead, "/console/mails"))
}

pub(super) async fn resend(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
    Form(form): Form<SessionForm>,
) -> Result<Response, ApiError> {
    if !operator.session.csrf_matches(&form.csrf) {
        let form_path = format!("/console/mails/{id}/retry");
        return expired_form_page(app.web()?, (language, Audience::Operators), &form_path);
    }
    app.registry.mail_edit(MailId(id), MailEdit::Retry, operator.actor(source)).await?;
    let done = operator.session.done_value("retry");
    Ok(Redirect::to(&format!("/console/mails?done={done}")).into_response())
}
