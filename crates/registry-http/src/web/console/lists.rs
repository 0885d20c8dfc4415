//! The console's lists: tenants, mails, releases, and appliances that do not check in.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use minijinja::context;
use minijinja::value::Serde;
use registry_core::clock::Timestamp;
use registry_core::edition::EditionName;
use registry_core::mail::{MailQuery, MailState, QueuedMail};
use registry_core::registry::directory::{ListTenants, TenantSummary};
use registry_core::store::{ListedRelease, OverdueAppliance};
use registry_core::tenant::TenantStatus;
use serde::{Deserialize, Serialize};

use super::{Cell, Operator};
use crate::app::AppState;
use crate::problem::ApiError;
use crate::web::formatting::{date, date_time, edition, license_until, seen};
use crate::web::language::Language;
use crate::web::pages::{Audience, WebPages};

/// Maximum number of rows of a page.
const ROWS: u32 = 60;
/// Minimum number of missed check-ins of a listed appliance.
const MISSED: u32 = 2;

/// The query of a list page: filters, cursor, and the last action.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ListFilter {
    /// Proof that an action has just succeeded, see `Session::done_value`.
    done: String,
    query: String,
    status: String,
    edition: String,
    state: String,
    pub(super) cursor: String,
}

/// A field of the filter form.
#[derive(Serialize)]
pub(super) struct FilterView {
    name: &'static str,
    label: String,
    value: String,
    /// Values to choose from; empty for a text field.
    options: Vec<OptionView>,
}

#[derive(Serialize)]
struct OptionView {
    value: String,
    label: String,
}

/// Options for all values of an enum, with their labels.
fn options(
    web: &WebPages,
    language: Language,
    kind: &str,
    values: impl Iterator<Item = &'static str>,
) -> Vec<OptionView> {
    let option = |value: &'static str| OptionView {
        value: value.to_owned(),
        label: web.label(language, kind, value),
    };
    values.map(option).collect()
}

/// A list page. Title, headings and the text of an empty list are catalogue keys.
#[derive(Default)]
pub(super) struct List {
    pub(super) title: &'static str,
    pub(super) lead: Option<String>,
    pub(super) notice: Option<String>,
    pub(super) filters: Vec<FilterView>,
    pub(super) headings: &'static [&'static str],
    pub(super) rows: Vec<Vec<Cell>>,
    /// Key of the text that is shown if the unfiltered list is empty.
    pub(super) empty: &'static str,
    pub(super) next: Option<String>,
}

/// Returns the trimmed text unless it is empty.
pub(super) fn non_empty(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

impl List {
    pub(super) fn page(
        self,
        web: &WebPages,
        language: Language,
        operator: &Operator,
    ) -> Result<Response, ApiError> {
        let text = |key: &str| web.text(language, key, &[]);
        let headings: Vec<_> = self.headings.iter().map(|key| text(key)).collect();
        let is_filtered = self.filters.iter().any(|filter| !filter.value.trim().is_empty());
        let values = context! {
            title => text(self.title),
            lead => self.lead,
            notice => self.notice,
            headings,
            rows => Serde(&self.rows),
            empty => text(if is_filtered { "no_results" } else { self.empty }),
            filters => Serde(&self.filters),
            next => self.next,
            ..operator.page_values(web, language)
        };
        web.page("console.html", language, StatusCode::OK, values)
    }
}

pub(super) async fn tenants(
    State(app): State<AppState>,
    language: Language,
    operator: Operator,
    Query(filter): Query<ListFilter>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let query = ListTenants {
        query: non_empty(&filter.query),
        status: non_empty(&filter.status),
        edition: non_empty(&filter.edition),
        cursor: non_empty(&filter.cursor),
        ..ListTenants::default()
    };
    let page = app.registry.tenant_list(query).await?;
    let list = List {
        title: "tenants",
        filters: tenant_filters(&app, web, language, filter),
        headings: &TENANT_HEADINGS,
        rows: page.items.iter().map(|it| tenant_row(web, language, it)).collect(),
        empty: "tenants_empty",
        next: page.next_cursor,
        ..List::default()
    };
    list.page(web, language, &operator)
}

const TENANT_HEADINGS: [&str; 7] =
    ["company", "contact", "edition", "status", "registered", "code_state", "last_check_in"];

fn tenant_filters(
    app: &AppState,
    web: &WebPages,
    language: Language,
    filter: ListFilter,
) -> Vec<FilterView> {
    let view = |name, label: &str, value, options| FilterView {
        name,
        label: web.text(language, label, &[]),
        value,
        options,
    };
    let catalogue = &app.registry.settings().editions;
    let option = |name: &EditionName| OptionView {
        value: name.to_string(),
        label: catalogue.label(name).to_owned(),
    };
    let editions = catalogue.names().map(option).collect();
    let statuses = options(web, language, "status", TenantStatus::ALL.iter().map(|it| it.as_str()));
    vec![
        view("query", "search_hint", filter.query, vec![]),
        view("edition", "edition", filter.edition, editions),
        view("status", "status", filter.status, statuses),
    ]
}

fn tenant_row(web: &WebPages, language: Language, summary: &TenantSummary) -> Vec<Cell> {
    let (tenant, texts) = (&summary.record.tenant, web.texts(language));
    let last_check_in = summary.last_check_in_at.map(|at| date_time(texts, at));
    vec![
        Cell::of_tenant(tenant.company_name.as_str(), tenant.id),
        tenant.contact_email.as_ref().map_or("–", |email| email.as_str()).into(),
        edition(web, (language, Audience::Operators), &summary.record).into(),
        web.label(language, "status", tenant.status.as_str()).into(),
        date(texts, tenant.registered_at).into(),
        web.label(language, "code", summary.code_state.as_str()).into(),
        last_check_in.unwrap_or_else(|| "–".to_owned()).into(),
    ]
}

pub(super) async fn mails(
    State(app): State<AppState>,
    language: Language,
    operator: Operator,
    Query(filter): Query<ListFilter>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let query = MailQuery {
        state: MailState::parse_filter(&filter.state)?,
        limit: ROWS,
        ..MailQuery::default()
    };
    let cursor = non_empty(&filter.cursor);
    let (mails, next) = app.registry.mail_page(query, cursor.as_deref()).await?;
    let (now, is_resent) =
        (app.registry.now(), filter.done == operator.session.done_value("retry"));
    let list = List {
        title: "mails",
        notice: is_resent.then(|| web.text(language, "resend_done", &[])),
        filters: vec![mail_state_filter(web, language, filter)],
        headings: &MAIL_HEADINGS,
        rows: mails.iter().map(|mail| mail_row(web, language, mail, now)).collect(),
        empty: "mails_empty",
        next,
        ..List::default()
    };
    list.page(web, language, &operator)
}

const MAIL_HEADINGS: [&str; 7] =
    ["time", "recipient", "mail_kind", "status", "attempts", "resend", "last_error"];

fn mail_state_filter(web: &WebPages, language: Language, filter: ListFilter) -> FilterView {
    FilterView {
        name: "state",
        label: web.text(language, "status", &[]),
        value: filter.state,
        options: options(web, language, "mail", MailState::ALL.iter().map(|it| it.as_str())),
    }
}

fn mail_row(web: &WebPages, language: Language, mail: &QueuedMail, now: Timestamp) -> Vec<Cell> {
    let resend_link = || {
        let link = format!("/console/mails/{}/retry", mail.id.0);
        Cell::linked(web.text(language, "resend", &[]), link)
    };
    vec![
        date_time(web.texts(language), mail.queued_at).into(),
        Cell::of_tenant(mail.to.as_str(), mail.tenant_id),
        web.label(language, "kind", mail.message.kind()).into(),
        web.label(language, "mail", mail.state.as_str()).into(),
        mail.attempts.to_string().into(),
        if mail.check_retry(now).is_ok() { resend_link() } else { "".into() },
        Cell::long(mail.last_error.as_deref().unwrap_or_default()),
    ]
}

/// Cuts a list without further pages to one page. Returns true if rows were cut.
fn cut_to_page<T>(rows: &mut Vec<T>) -> bool {
    let is_longer = rows.len() > ROWS as usize;
    rows.truncate(ROWS as usize);
    is_longer
}

pub(super) async fn releases(
    State(app): State<AppState>,
    language: Language,
    operator: Operator,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let mut releases = app.registry.release_list(None).await?;
    let is_cut = cut_to_page(&mut releases);
    let shown = ROWS.to_string();
    let list = List {
        title: "releases",
        lead: is_cut.then(|| web.text(language, "newest_shown", &[("shown", &shown)])),
        headings: &["version", "channel", "status", "published", "file", "sha256"],
        rows: releases.iter().map(|it| release_row(web, language, it)).collect(),
        empty: "releases_empty",
        ..List::default()
    };
    list.page(web, language, &operator)
}

fn release_row(web: &WebPages, language: Language, listed: &ListedRelease) -> Vec<Cell> {
    let release = &listed.release;
    let status = match (listed.is_current, release.yanked_at) {
        (true, _) => web.text(language, "current", &[]),
        (false, Some(_)) => web.text(language, "yanked", &[]),
        (false, None) => String::new(),
    };
    vec![
        release.version.as_str().into(),
        release.channel.as_str().into(),
        status.into(),
        date(web.texts(language), release.published_at).into(),
        Cell::from(&release.file_name),
        Cell::long(&release.sha256),
    ]
}

pub(super) async fn not_checking_in(
    State(app): State<AppState>,
    language: Language,
    operator: Operator,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let mut appliances = app.registry.appliances_overdue(MISSED, ROWS + 1).await?;
    let is_cut = cut_to_page(&mut appliances);
    let list = List {
        title: "not_checking_in",
        lead: Some(not_checking_in_lead(web, language, is_cut)),
        headings: &["company", "appliance", "last_check_in", "license_until"],
        rows: appliances.iter().map(|it| appliance_row(web, language, it)).collect(),
        empty: "not_checking_in_empty",
        ..List::default()
    };
    list.page(web, language, &operator)
}

fn not_checking_in_lead(web: &WebPages, language: Language, is_cut: bool) -> String {
    let (missed, shown) = (MISSED.to_string(), ROWS.to_string());
    let lead = web.text(language, "not_checking_in_lead", &[("missed", &missed)]);
    if is_cut {
        let truncated = web.text(language, "not_checking_in_truncated", &[("shown", &shown)]);
        format!("{lead} {truncated}")
    } else {
        lead
    }
}

fn appliance_row(web: &WebPages, language: Language, overdue: &OverdueAppliance) -> Vec<Cell> {
    vec![
        Cell::of_tenant(overdue.tenant.company_name.as_str(), overdue.tenant.id),
        Cell::from(overdue.appliance.id.as_str()),
        seen(web, language, &overdue.appliance).into(),
        license_until(web, language, &overdue.appliance).into(),
    ]
}
