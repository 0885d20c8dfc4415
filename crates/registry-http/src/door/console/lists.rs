//! The lists: tenants, mails, releases, silent appliances.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use minijinja::context;
use minijinja::value::Serde;
use registry_core::mail::{MailQuery, MailState, QueuedMail};
use registry_core::registry::directory::{ListTenants, TenantSummary};
use registry_core::tenant::TenantStatus;
use serde::{Deserialize, Serialize};

use super::{Cell, Operator, minute};
use crate::app::App;
use crate::door::language::Language;
use crate::door::pages::Door;
use crate::problem::ApiError;

/// The most rows of a list that has no further page.
const ROWS: u32 = 100;
/// So many check-ins are missed before an appliance counts as silent.
const MISSED: u32 = 2;

/// What a list is narrowed by.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Narrowed {
    query: String,
    status: String,
    edition: String,
    state: String,
    cursor: String,
}

#[derive(Serialize)]
struct Filter {
    name: &'static str,
    label: String,
    value: String,
    options: Vec<&'static str>,
}

/// A list as it is shown.
#[derive(Default)]
struct List {
    title: &'static str,
    lead: Option<String>,
    filters: Vec<Filter>,
    headings: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
    next: Option<String>,
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl List {
    fn show(self, door: &Door, language: Language, operator: &Operator) -> Result<Response, ApiError> {
        let text = |name: &str| door.text(language, name, &[]);
        let headings: Vec<_> = self.headings.iter().map(|name| text(name)).collect();
        let values = context! {
            title => text(self.title), lead => self.lead, headings, rows => Serde(&self.rows),
            filters => Serde(&self.filters), next => self.next, ..operator.frame(door, language)
        };
        door.page("console.html", language, StatusCode::OK, values)
    }
}

pub(super) async fn tenants(
    State(app): State<App>,
    language: Language,
    operator: Operator,
    Query(narrowed): Query<Narrowed>,
) -> Result<Response, ApiError> {
    let door = app.door()?;
    let asked = ListTenants {
        query: given(&narrowed.query),
        status: given(&narrowed.status),
        edition: given(&narrowed.edition),
        cursor: given(&narrowed.cursor),
        ..ListTenants::default()
    };
    let page = app.registry.tenant_list(asked).await?;
    let text = |name: &str| door.text(language, name, &[]);
    let filter = |name, label: &str, value, options| Filter { name, label: text(label), value, options };
    let list = List {
        title: "tenants",
        filters: vec![
            filter("query", "search_hint", narrowed.query, vec![]),
            filter("edition", "edition", narrowed.edition, vec![]),
            filter("status", "status", narrowed.status, TenantStatus::ALL.iter().map(|it| it.as_str()).collect()),
        ],
        headings: &["company", "contact", "edition", "status", "registered", "code_state", "last_check_in"],
        rows: page.items.iter().map(tenant_row).collect(),
        next: page.next_cursor,
        ..List::default()
    };
    list.show(door, language, &operator)
}

fn tenant_row(summary: &TenantSummary) -> Vec<Cell> {
    let tenant = &summary.record.tenant;
    vec![
        Cell::linked(tenant.company_name.to_string(), format!("/console/tenants/{}", tenant.id.0)),
        tenant.contact_email.as_ref().map_or("–", |email| email.as_str()).into(),
        tenant.edition.as_str().into(),
        tenant.status.as_str().into(),
        minute(tenant.registered_at).into(),
        summary.code_state.as_str().into(),
        summary.last_check_in_at.map_or_else(|| "–".to_owned(), minute).into(),
    ]
}

pub(super) async fn mails(
    State(app): State<App>,
    language: Language,
    operator: Operator,
    Query(narrowed): Query<Narrowed>,
) -> Result<Response, ApiError> {
    let door = app.door()?;
    let state = match MailState::from_word(&narrowed.state) {
        None if !narrowed.state.is_empty() => return Err(ApiError::of_status(StatusCode::BAD_REQUEST)),
        state => state,
    };
    let mails = app.registry.mail_list(MailQuery { state, limit: ROWS, ..MailQuery::default() }).await?;
    let label = door.text(language, "status", &[]);
    let options = MailState::ALL.iter().map(|it| it.as_str()).collect();
    let again = door.text(language, "send_again", &[]);
    let list = List {
        title: "mails",
        filters: vec![Filter { name: "state", label, value: narrowed.state, options }],
        headings: &["when", "to", "kind", "status", "tries", "last_error", "send_again"],
        rows: mails.iter().map(|mail| mail_row(mail, &again)).collect(),
        ..List::default()
    };
    list.show(door, language, &operator)
}

fn mail_row(mail: &QueuedMail, again: &str) -> Vec<Cell> {
    let may_retry = matches!(mail.state, MailState::Queued | MailState::Dead);
    vec![
        minute(mail.queued_at).into(),
        Cell::linked(mail.to.to_string(), format!("/console/tenants/{}", mail.tenant_id.0)),
        mail.message.kind().into(),
        mail.state.as_str().into(),
        mail.attempts.to_string().into(),
        mail.last_error.clone().unwrap_or_default().into(),
        if may_retry { Cell::linked(again, format!("/console/mails/{}/retry", mail.id.0)) } else { "".into() },
    ]
}

pub(super) async fn releases(
    State(app): State<App>,
    language: Language,
    operator: Operator,
) -> Result<Response, ApiError> {
    let door = app.door()?;
    let text = |name: &str| door.text(language, name, &[]);
    let releases = app.registry.release_list(None).await?;
    let row = |it: &registry_core::store::ListedRelease| {
        let state = if it.release.yanked_at.is_some() { text("yanked") } else { String::new() };
        vec![
            it.release.version.as_str().into(),
            it.release.channel.as_str().into(),
            if it.is_current { text("current").into() } else { state.into() },
            minute(it.release.published_at).into(),
            it.release.file_name.clone().into(),
            it.release.sha256.clone().into(),
        ]
    };
    let list = List {
        title: "releases",
        headings: &["version", "channel", "status", "published", "file", "sha256"],
        rows: releases.iter().map(row).collect(),
        ..List::default()
    };
    list.show(door, language, &operator)
}

pub(super) async fn silent(
    State(app): State<App>,
    language: Language,
    operator: Operator,
) -> Result<Response, ApiError> {
    let door = app.door()?;
    let silent = app.registry.appliances_silent(MISSED, ROWS).await?;
    let row = |it: &registry_core::store::SilentAppliance| {
        vec![
            Cell::linked(it.tenant.company_name.to_string(), format!("/console/tenants/{}", it.tenant.id.0)),
            it.appliance.id.to_string().into(),
            it.appliance.last_check_in_at.map_or_else(|| door.text(language, "never", &[]), minute).into(),
            it.appliance.license.as_ref().map_or_else(String::new, |license| minute(license.expires_at)).into(),
        ]
    };
    let list = List {
        title: "silent",
        lead: Some(door.text(language, "silent_lead", &[("missed", &MISSED.to_string())])),
        headings: &["company", "appliance", "last_check_in", "license_until"],
        rows: silent.iter().map(row).collect(),
        ..List::default()
    };
    list.show(door, language, &operator)
}
