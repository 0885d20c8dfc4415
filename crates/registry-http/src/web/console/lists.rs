//! The lists: tenants, mails, releases, silent appliances.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use minijinja::context;
use minijinja::value::Serde;
use registry_core::clock::Timestamp;
use registry_core::edition::EditionName;
use registry_core::mail::{MailQuery, MailState, QueuedMail};
use registry_core::refusal::Refusal;
use registry_core::registry::directory::{ListTenants, TenantSummary};
use registry_core::store::{ListedRelease, SilentAppliance};
use registry_core::tenant::TenantStatus;
use serde::{Deserialize, Serialize};

use super::{Cell, Operator};
use crate::app::AppState;
use crate::problem::ApiError;
use crate::web::formatting::{day, edition, last_check_in, license_until, minute};
use crate::web::language::Language;
use crate::web::pages::WebPages;

/// The most rows of a page.
const ROWS: u32 = 60;
/// So many check-ins are missed before an appliance counts as silent.
const MISSED: u32 = 2;

/// What a list is narrowed by.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ListFilter {
    /// What was done just now.
    done: String,
    query: String,
    status: String,
    edition: String,
    state: String,
    pub(super) cursor: String,
}

/// Something that a list can be narrowed by.
#[derive(Serialize)]
pub(super) struct Filter {
    name: &'static str,
    label: String,
    value: String,
    /// What it can be set to; any text, where there is nothing.
    options: Vec<Choice>,
}

/// What a filter can be set to, and what it is called.
#[derive(Serialize)]
struct Choice {
    value: String,
    label: String,
}

/// The words of a kind, to choose from.
fn choices(
    web: &WebPages,
    language: Language,
    kind: &str,
    words: impl Iterator<Item = &'static str>,
) -> Vec<Choice> {
    words
        .map(|value| Choice { value: value.to_owned(), label: web.word(language, kind, value) })
        .collect()
}

/// A list as it is shown.
#[derive(Default)]
pub(super) struct List {
    pub(super) title: &'static str,
    pub(super) lead: Option<String>,
    pub(super) notice: Option<String>,
    pub(super) filters: Vec<Filter>,
    pub(super) headings: &'static [&'static str],
    pub(super) rows: Vec<Vec<Cell>>,
    pub(super) next: Option<String>,
}

/// A text, where there is one.
pub(super) fn given(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

impl List {
    pub(super) fn show(
        self,
        web: &WebPages,
        language: Language,
        operator: &Operator,
    ) -> Result<Response, ApiError> {
        let text = |name: &str| web.text(language, name, &[]);
        let headings: Vec<_> = self.headings.iter().map(|name| text(name)).collect();
        let values = context! {
            title => text(self.title), lead => self.lead, notice => self.notice, headings, rows => Serde(&self.rows),
            filters => Serde(&self.filters), next => self.next, ..operator.frame(web, language)
        };
        web.page("console.html", language, StatusCode::OK, values)
    }
}

pub(super) async fn tenants(
    State(app): State<AppState>,
    language: Language,
    operator: Operator,
    Query(narrowed): Query<ListFilter>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let asked = ListTenants {
        query: given(&narrowed.query),
        status: given(&narrowed.status),
        edition: given(&narrowed.edition),
        cursor: given(&narrowed.cursor),
        ..ListTenants::default()
    };
    let page = app.registry.tenant_list(asked).await?;
    let filter = |name, label: &str, value, options| Filter {
        name,
        label: web.text(language, label, &[]),
        value,
        options,
    };
    let editions = app.registry.settings().editions.names().map(EditionName::to_string);
    let editions = editions.map(|name| Choice { value: name.clone(), label: name }).collect();
    let statuses = choices(web, language, "status", TenantStatus::ALL.iter().map(|it| it.as_str()));
    let list = List {
        title: "tenants",
        filters: vec![
            filter("query", "search_hint", narrowed.query, vec![]),
            filter("edition", "edition", narrowed.edition, editions),
            filter("status", "status", narrowed.status, statuses),
        ],
        headings: &[
            "company",
            "contact",
            "edition",
            "status",
            "registered",
            "code_state",
            "last_check_in",
        ],
        rows: page.items.iter().map(|it| tenant_row(web, language, it)).collect(),
        next: page.next_cursor,
        ..List::default()
    };
    list.show(web, language, &operator)
}

fn tenant_row(web: &WebPages, language: Language, summary: &TenantSummary) -> Vec<Cell> {
    let (tenant, texts) = (&summary.record.tenant, web.texts(language));
    vec![
        Cell::of_tenant(tenant.company_name.as_str(), tenant.id),
        tenant.contact_email.as_ref().map_or("–", |email| email.as_str()).into(),
        edition(texts, &summary.record).into(),
        web.word(language, "status", tenant.status.as_str()).into(),
        day(texts, tenant.registered_at).into(),
        web.word(language, "code", summary.code_state.as_str()).into(),
        summary.last_check_in_at.map_or_else(|| "–".to_owned(), |at| minute(texts, at)).into(),
    ]
}

pub(super) async fn mails(
    State(app): State<AppState>,
    language: Language,
    operator: Operator,
    Query(narrowed): Query<ListFilter>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let state = match MailState::from_name(&narrowed.state) {
        None if !narrowed.state.is_empty() => {
            return Err(
                Refusal::Invalid { field: "state", problem: "is not known".to_owned() }.into()
            );
        }
        state => state,
    };
    let query = MailQuery { state, limit: ROWS, ..MailQuery::default() };
    let (mails, next) = app.registry.mail_page(query, given(&narrowed.cursor).as_deref()).await?;
    let now = app.registry.now();
    let options = choices(web, language, "mail", MailState::ALL.iter().map(|it| it.as_str()));
    let list = List {
        title: "mails",
        notice: (narrowed.done == operator.session.done("retry"))
            .then(|| web.text(language, "sent_again", &[])),
        filters: vec![Filter {
            name: "state",
            label: web.text(language, "status", &[]),
            value: narrowed.state,
            options,
        }],
        headings: &["when", "to", "kind", "status", "tries", "send_again", "last_error"],
        rows: mails.iter().map(|mail| mail_row(web, language, mail, now)).collect(),
        next,
        ..List::default()
    };
    list.show(web, language, &operator)
}

fn mail_row(web: &WebPages, language: Language, mail: &QueuedMail, now: Timestamp) -> Vec<Cell> {
    let again = || {
        Cell::linked(
            web.text(language, "send_again", &[]),
            format!("/console/mails/{}/retry", mail.id.0),
        )
    };
    vec![
        minute(web.texts(language), mail.queued_at).into(),
        Cell::of_tenant(mail.to.as_str(), mail.tenant_id),
        web.word(language, "kind", mail.message.kind()).into(),
        web.word(language, "mail", mail.state.as_str()).into(),
        mail.attempts.to_string().into(),
        if mail.can_be_retried(now) { again() } else { "".into() },
        Cell::long(mail.last_error.as_deref().unwrap_or_default()),
    ]
}

/// Leaves what fits on a page, where there is no further one; whether there was more.
fn is_cut<T>(rows: &mut Vec<T>) -> bool {
    let is_cut = rows.len() > ROWS as usize;
    rows.truncate(ROWS as usize);
    is_cut
}

pub(super) async fn releases(
    State(app): State<AppState>,
    language: Language,
    operator: Operator,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let text = |name: &str| web.text(language, name, &[]);
    let mut releases = app.registry.release_list(None).await?;
    let more = is_cut(&mut releases);
    let row = |it: &ListedRelease| {
        let state = if it.release.yanked_at.is_some() { text("yanked") } else { String::new() };
        vec![
            it.release.version.as_str().into(),
            it.release.channel.as_str().into(),
            if it.is_current { text("current").into() } else { state.into() },
            day(web.texts(language), it.release.published_at).into(),
            Cell::from(&it.release.file_name),
            Cell::long(&it.release.sha256),
        ]
    };
    let list = List {
        title: "releases",
        lead: more.then(|| web.text(language, "timeline_cut", &[("shown", &ROWS.to_string())])),
        headings: &["version", "channel", "status", "published", "file", "sha256"],
        rows: releases.iter().map(row).collect(),
        ..List::default()
    };
    list.show(web, language, &operator)
}

pub(super) async fn silent(
    State(app): State<AppState>,
    language: Language,
    operator: Operator,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let mut silent = app.registry.appliances_silent(MISSED, ROWS + 1).await?;
    let mut lead = web.text(language, "silent_lead", &[("missed", &MISSED.to_string())]);
    if is_cut(&mut silent) {
        lead =
            format!("{lead} {}", web.text(language, "silent_cut", &[("shown", &ROWS.to_string())]));
    }
    let row = |it: &SilentAppliance| {
        vec![
            Cell::of_tenant(it.tenant.company_name.as_str(), it.tenant.id),
            Cell::from(it.appliance.id.as_str()),
            last_check_in(web, language, &it.appliance).into(),
            license_until(web, language, &it.appliance).into(),
        ]
    };
    let list = List {
        title: "silent",
        lead: Some(lead),
        headings: &["company", "appliance", "last_check_in", "license_until"],
        rows: silent.iter().map(row).collect(),
        ..List::default()
    };
    list.show(web, language, &operator)
}
