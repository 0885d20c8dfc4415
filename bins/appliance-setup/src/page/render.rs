//! The pages, rendered from their templates.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use clap::Args;
use minijinja::value::Serde;
use minijinja::{Environment, context};
use serde::Serialize;

use super::driver::{DoneView, FormView, ProgressStep, ProgressView, View};
use super::form::{Problem, Values};
use crate::report;
use crate::status::clock_skew_message;

const TEMPLATES: [(&str, &str); 7] = [
    ("layout.html", include_str!("templates/layout.html")),
    ("token.html", include_str!("templates/token.html")),
    ("form.html", include_str!("templates/form.html")),
    ("progress.html", include_str!("templates/progress.html")),
    ("steps.html", include_str!("templates/steps.html")),
    ("code.html", include_str!("templates/code.html")),
    ("done.html", include_str!("templates/done.html")),
];

pub(crate) const STYLE: &str = include_str!("assets/style.css");
pub(crate) const SCRIPT: &str = include_str!("assets/progress.js");

const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// Adds the security headers that every response has.
pub(crate) fn add_security_headers(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Result of the network test.
#[derive(Serialize)]
pub(crate) struct NetworkResult {
    /// `good` or `bad`.
    pub(crate) kind: &'static str,
    pub(crate) text: String,
}

/// Names of the editions to choose from without an install code.
#[derive(Args, Clone, Serialize)]
pub(crate) struct EditionLabels {
    /// Name of the edition with a trial, on the page.
    #[arg(
        long,
        env = "APPLIANCE_TRIAL_EDITION_LABEL",
        default_value = "Full edition, with a trial of 15 days",
        value_name = "TEXT"
    )]
    trial_edition_label: String,
    /// Name of the free edition, on the page.
    #[arg(
        long,
        env = "APPLIANCE_FREE_EDITION_LABEL",
        default_value = "Free edition",
        value_name = "TEXT"
    )]
    free_edition_label: String,
}

pub(crate) struct Pages {
    templates: Environment<'static>,
    appliance_id: String,
    service: String,
    product_url: Option<String>,
    labels: EditionLabels,
}

/// A step of the progress page.
#[derive(Serialize)]
struct StepLine {
    text: &'static str,
    /// CSS class.
    state: &'static str,
    /// State for screen readers.
    state_text: &'static str,
}

impl Pages {
    pub(crate) fn new(
        appliance_id: String,
        service: String,
        product_url: Option<String>,
        labels: EditionLabels,
    ) -> Result<Self> {
        let mut templates = Environment::new();
        for (name, source) in TEMPLATES {
            templates
                .add_template(name, source)
                .with_context(|| format!("the template {name} is not valid"))?;
        }
        Ok(Self { templates, appliance_id, service, product_url, labels })
    }

    fn page(&self, name: &str, status: StatusCode, values: minijinja::Value) -> Response {
        let (appliance_id, service) = (&self.appliance_id, &self.service);
        let all = context! { appliance_id, service, ..values };
        let rendered = self.templates.get_template(name).and_then(|template| template.render(all));
        match rendered {
            Ok(page) => (status, Html(page)).into_response(),
            Err(error) => {
                report(&format!("the page {name} cannot be rendered: {error}"));
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "This page cannot be displayed. The machine's screen shows the error.",
                )
                    .into_response()
            }
        }
    }

    pub(crate) fn token(&self, problem: Option<&str>) -> Response {
        let status = if problem.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
        self.page("token.html", status, context! { problem })
    }

    pub(crate) fn form(
        &self,
        csrf: &str,
        view: &FormView,
        values: &Values,
        problems: &[Problem],
        network: Option<&NetworkResult>,
        clock_skew: Option<i64>,
    ) -> Response {
        let problem_of: BTreeMap<_, _> =
            problems.iter().map(|it| (it.field, it.text.as_str())).collect();
        let values = context! {
            csrf, problem_of => Serde(&problem_of),
            values => Serde(values), problems => Serde(problems), network => network.map(Serde),
            skew => clock_skew.map(clock_skew_message),
            allows_install_without_code => !view.code_was_entered,
            keeps_password => view.password.is_some(),
            labels => Serde(&self.labels),
        };
        self.page("form.html", StatusCode::OK, values)
    }

    pub(crate) fn progress(
        &self,
        csrf: &str,
        view: &View,
        progress: &ProgressView,
        now: u64,
    ) -> Response {
        let more = context! {
            csrf,
            headline => if progress.error.is_some() { "Waiting" } else { "Installing" },
            may_change_code => progress.step == ProgressStep::Redeem && progress.error.is_some(),
        };
        let values = context! { ..more, ..steps(view, progress, now) };
        self.page("progress.html", StatusCode::OK, values)
    }

    /// Renders the form for another code, while an installation waits.
    pub(crate) fn code(&self, csrf: &str) -> Response {
        self.page("code.html", StatusCode::OK, context! { csrf })
    }

    /// Renders the part of the progress page that changes. If the header `x-phase` changes, the
    /// script reloads the whole page.
    pub(crate) fn steps(&self, view: &View, progress: &ProgressView, now: u64) -> Response {
        let mut response = self.page("steps.html", StatusCode::OK, steps(view, progress, now));
        let phase = HeaderValue::from_static(phase(progress));
        response.headers_mut().insert("x-phase", phase);
        response
    }

    pub(crate) fn done(&self, view: &DoneView) -> Response {
        let DoneView { tenant_id, edition, license_until } = view;
        let values = context! {
            tenant_id => tenant_id.map(|id| id.to_string()),
            edition, license_until => license_until.and_then(format_date),
            product_url => self.product_url.clone(),
        };
        self.page("done.html", StatusCode::OK, values)
    }
}

/// Returns the value of `x-phase`. The buttons of the progress page depend on it.
fn phase(progress: &ProgressView) -> &'static str {
    match (progress.step, progress.error.is_some()) {
        (ProgressStep::Redeem, true) => "no-registry",
        (_, true) => "stuck",
        (_, false) => "progress",
    }
}

fn steps(view: &View, progress: &ProgressView, now: u64) -> minijinja::Value {
    let line = |step: ProgressStep, text| {
        let (state, state_text) = match step.cmp(&progress.step) {
            std::cmp::Ordering::Less => ("done", "done"),
            std::cmp::Ordering::Equal if progress.error.is_some() => {
                ("failed", "failed, will be retried")
            }
            std::cmp::Ordering::Equal => ("current", "in progress"),
            std::cmp::Ordering::Greater => ("pending", "pending"),
        };
        StepLine { text, state, state_text }
    };
    let mut lines = Vec::new();
    if progress.has_code {
        lines.push(line(ProgressStep::Redeem, "Redeem the install code"));
    }
    lines.push(line(ProgressStep::Write, "Deliver the identity to the product"));
    lines.push(line(ProgressStep::Bootstrap, "Set up the product"));
    let retry_in = progress.retry_at.map(|at| format_wait(at.saturating_sub(now)));
    context! {
        steps => Serde(&lines), phase => phase(progress), error => progress.error.clone(), retry_in,
        skew => view.skew.map(clock_skew_message),
    }
}

/// Formats Unix seconds as a date, for example "24 November 2026".
fn format_date(seconds: u64) -> Option<String> {
    let at = chrono::DateTime::from_timestamp(seconds.try_into().ok()?, 0)?;
    Some(at.format("%-d %B %Y").to_string())
}

fn format_wait(seconds: u64) -> String {
    match seconds {
        0 | 1 => "1 second".to_owned(),
        2..=90 => format!("{seconds} seconds"),
        more => format!("{} minutes", more.div_ceil(60)),
    }
}
