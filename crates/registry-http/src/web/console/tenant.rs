//! One tenant: what happened to it; a fresh code; a mail sent again.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use minijinja::context;
use minijinja::value::Serde;
use registry_core::appliance::Appliance;
use registry_core::id::{MailId, TenantId};
use registry_core::refusal::Refusal;
use registry_core::registry::outbox::MailEdit;
use registry_core::text::EmailAddress;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::lists::given;
use super::timeline::{LINES, happened};
use super::{Cell, Operator};
use crate::app::AppState;
use crate::idempotency::form_key;
use crate::problem::ApiError;
use crate::source::Client;
use crate::web::errors::stale;
use crate::web::form::Form;
use crate::web::formatting::{edition, last_check_in, license_until, minute, more_appliances};
use crate::web::language::Language;
use crate::web::pages::{Side, WebPages};
use crate::web::reissue::reissue_by_mail;
use crate::web::session::SessionForm;

/// The most appliances that are shown.
const APPLIANCES: usize = 50;

#[derive(Serialize)]
struct Fact {
    name: String,
    value: String,
}

/// Which page of the timeline, and what was done just now.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PageQuery {
    cursor: String,
    done: String,
}

pub(super) async fn show(
    State(app): State<AppState>,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
    Query(turned): Query<PageQuery>,
) -> Result<Response, ApiError> {
    let (web, cursor) = (app.web()?, given(&turned.cursor));
    let (texts, text) = (web.texts(language), |name: &str| web.text(language, name, &[]));
    let summary = app.registry.tenant_show(TenantId(id)).await?;
    let (events, next) =
        app.registry.tenant_timeline(TenantId(id), LINES, cursor.as_deref()).await?;
    let rows: Vec<_> = events.iter().map(|event| happened(web, language, event)).collect();
    let (tenant, appliances) = (&summary.record.tenant, &summary.record.appliances);
    let facts: Vec<_> = [
        ("id", id.to_string()),
        (
            "contact",
            tenant.contact_email.as_ref().map_or_else(|| "–".to_owned(), ToString::to_string),
        ),
        ("edition", edition(texts, &summary.record)),
        ("status", web.word(language, "status", tenant.status.as_str())),
        ("registered", minute(texts, tenant.registered_at)),
        ("code_state", web.word(language, "code", summary.code_state.as_str())),
    ]
    .into_iter()
    .map(|(name, value)| Fact { name: text(name), value })
    .collect();
    let row = |it: &Appliance| -> [Cell; 3] {
        let (checked_in, license) =
            (last_check_in(web, language, it), license_until(web, language, it));
        [it.id.as_str().into(), checked_in.into(), license.into()]
    };
    let shown: Vec<_> = appliances.iter().take(APPLIANCES).map(row).collect();
    let values = context! {
        title => tenant.company_name.as_str(), facts => Serde(&facts), rows => Serde(&rows), next,
        headings => ["when", "what", "who_did", "why"].map(text),
        appliances => Serde(&shown), appliance_headings => ["appliance", "last_check_in", "license_until"].map(text),
        more => more_appliances(web, language, appliances.len(), APPLIANCES),
        notice => (turned.done == operator.session.done("reissue")).then(|| text("console_done")),
        reissue => format!("/console/tenants/{id}/reissue"), ..operator.frame(web, language)
    };
    web.page("console_tenant.html", language, StatusCode::OK, values)
}

/// A form that asks before anything is done.
fn confirm(
    app: &AppState,
    language: Language,
    operator: &Operator,
    (title, lead, back): (&str, String, &str),
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let form = app.registry.draw_id().to_string();
    let title = web.text(language, title, &[]);
    let values = context! { title, lead, back, form, ..operator.frame(web, language) };
    web.page("console_confirm.html", language, StatusCode::OK, values)
}

pub(super) async fn reissue(
    State(app): State<AppState>,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let record = app.registry.tenant_show(TenantId(id)).await?.record;
    let (web, back) = (app.web()?, format!("/console/tenants/{id}"));
    let Some(email) = record.tenant.contact_email.as_ref().map(EmailAddress::as_str) else {
        return cannot(web, language, "why_no_contact", &back);
    };
    if record.tenant.status.is_closed() {
        return Err(Refusal::TenantSuspended.into());
    }
    let gaps = [("company", record.tenant.company_name.as_str()), ("email", email)];
    let lead = web.text(language, "console_reissue_lead", &gaps);
    confirm(&app, language, &operator, ("console_reissue", lead, &back))
}

pub(super) async fn reissue_now(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
    Form(own): Form<SessionForm>,
) -> Result<Response, ApiError> {
    if !operator.session.has(&own.csrf) {
        return stale(
            app.web()?,
            (language, Side::Operators),
            &format!("/console/tenants/{id}/reissue"),
        );
    }
    let key = form_key(format!("console {}", operator.actor), &own.form, &id.to_string());
    reissue_by_mail(&app, id, key, operator.acts_from(source)).await?;
    Ok(Redirect::to(&format!("/console/tenants/{id}?done={}", operator.session.done("reissue")))
        .into_response())
}

/// The page that says why something is not offered.
fn cannot(web: &WebPages, language: Language, why: &str, back: &str) -> Result<Response, ApiError> {
    let text = web.text(language, why, &[]);
    web.message(
        (language, Side::Operators),
        StatusCode::CONFLICT,
        ("cannot_title", text),
        Some((back, "back")),
    )
}

pub(super) async fn retry(
    State(app): State<AppState>,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let (web, mail) = (app.web()?, app.registry.mail_show(MailId(id)).await?);
    if !mail.can_be_retried(app.registry.now()) {
        return cannot(web, language, "why_settled", "/console/mails");
    }
    let lead = web.text(language, "send_again_lead", &[("to", mail.to.as_str())]);
    confirm(&app, language, &operator, ("send_again", lead, "/console/mails"))
}

pub(super) async fn retry_now(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
    Form(own): Form<SessionForm>,
) -> Result<Response, ApiError> {
    if !operator.session.has(&own.csrf) {
        return stale(
            app.web()?,
            (language, Side::Operators),
            &format!("/console/mails/{id}/retry"),
        );
    }
    app.registry.mail_edit(MailId(id), MailEdit::Retry, operator.acts_from(source)).await?;
    Ok(Redirect::to(&format!("/console/mails?done={}", operator.session.done("retry")))
        .into_response())
}
