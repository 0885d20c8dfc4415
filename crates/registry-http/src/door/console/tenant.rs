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
use crate::app::App;
use crate::door::form::Form;
use crate::door::language::Language;
use crate::door::pages::{Door, Side};
use crate::door::refusals::stale;
use crate::door::reissue::reissue_by_mail;
use crate::door::shown::{edition, last_check_in, license_until, minute, more_appliances};
use crate::door::visitor::Own;
use crate::endpoints::detached;
use crate::idempotency::form_key;
use crate::problem::ApiError;
use crate::source::Client;

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
pub(super) struct Turned {
    cursor: String,
    done: String,
}

pub(super) async fn show(
    State(app): State<App>,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
    Query(turned): Query<Turned>,
) -> Result<Response, ApiError> {
    let (door, cursor) = (app.door()?, given(&turned.cursor));
    let (texts, text) = (door.texts(language), |name: &str| door.text(language, name, &[]));
    let summary = app.registry.tenant_show(TenantId(id)).await?;
    let (events, next) =
        app.registry.tenant_timeline(TenantId(id), LINES, cursor.as_deref()).await?;
    let rows: Vec<_> = events.iter().map(|event| happened(door, language, event)).collect();
    let (tenant, appliances) = (&summary.record.tenant, &summary.record.appliances);
    let facts: Vec<_> = [
        ("id", id.to_string()),
        (
            "contact",
            tenant.contact_email.as_ref().map_or_else(|| "–".to_owned(), ToString::to_string),
        ),
        ("edition", edition(texts, &summary.record)),
        ("status", door.word(language, "status", tenant.status.as_str())),
        ("registered", minute(texts, tenant.registered_at)),
        ("code_state", door.word(language, "code", summary.code_state.as_str())),
    ]
    .into_iter()
    .map(|(name, value)| Fact { name: text(name), value })
    .collect();
    let row = |it: &Appliance| -> [Cell; 3] {
        let (checked_in, license) =
            (last_check_in(door, language, it), license_until(door, language, it));
        [it.id.as_str().into(), checked_in.into(), license.into()]
    };
    let shown: Vec<_> = appliances.iter().take(APPLIANCES).map(row).collect();
    let values = context! {
        title => tenant.company_name.as_str(), facts => Serde(&facts), rows => Serde(&rows), next,
        headings => ["when", "what", "who_did", "why"].map(text),
        appliances => Serde(&shown), appliance_headings => ["appliance", "last_check_in", "license_until"].map(text),
        more => more_appliances(door, language, appliances.len(), APPLIANCES),
        notice => (turned.done == operator.session.done("reissue")).then(|| text("console_done")),
        reissue => format!("/console/tenants/{id}/reissue"), ..operator.frame(door, language)
    };
    door.page("console_tenant.html", language, StatusCode::OK, values)
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
    let (door, back) = (app.door()?, format!("/console/tenants/{id}"));
    let Some(email) = record.tenant.contact_email.as_ref().map(EmailAddress::as_str) else {
        return cannot(door, language, "why_no_contact", &back);
    };
    if record.tenant.status.is_closed() {
        return Err(Refusal::TenantSuspended.into());
    }
    let gaps = [("company", record.tenant.company_name.as_str()), ("email", email)];
    let lead = door.text(language, "console_reissue_lead", &gaps);
    confirm(&app, language, &operator, ("console_reissue", lead, &back))
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
        return stale(
            app.door()?,
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
fn cannot(door: &Door, language: Language, why: &str, back: &str) -> Result<Response, ApiError> {
    let text = door.text(language, why, &[]);
    door.message(
        (language, Side::Operators),
        StatusCode::CONFLICT,
        ("cannot_title", text),
        Some((back, "back")),
    )
}

pub(super) async fn retry(
    State(app): State<App>,
    language: Language,
    operator: Operator,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let (door, mail) = (app.door()?, app.registry.mail_show(MailId(id)).await?);
    if !mail.can_be_retried(app.registry.now()) {
        return cannot(door, language, "why_settled", "/console/mails");
    }
    let lead = door.text(language, "send_again_lead", &[("to", mail.to.as_str())]);
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
        return stale(
            app.door()?,
            (language, Side::Operators),
            &format!("/console/mails/{id}/retry"),
        );
    }
    let (registry, actor) = (app.registry.clone(), operator.acts_from(source));
    detached(async move { registry.mail_edit(MailId(id), MailEdit::Retry, actor).await }).await?;
    Ok(Redirect::to(&format!("/console/mails?done={}", operator.session.done("retry")))
        .into_response())
}
