//! The pages, out of their templates.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use minijinja::value::Serde;
use minijinja::{Environment, context};
use serde::Serialize;

use super::driver::{At, Done, Progress, Reopened, Shown};
use super::form::{Problem, Values};
use crate::status::skew;

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
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; \
         frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// What every page has.
pub(crate) fn guard(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// What the network test said.
#[derive(Serialize)]
pub(crate) struct Network {
    /// `good` or `bad`.
    pub(crate) kind: &'static str,
    pub(crate) text: String,
}

/// The pages.
pub(crate) struct Pages {
    templates: Environment<'static>,
    appliance_id: String,
    service: String,
    product_url: Option<String>,
}

/// A step, and how it stands.
#[derive(Serialize)]
struct Line {
    text: &'static str,
    state: &'static str,
    word: &'static str,
}

impl Pages {
    pub(crate) fn new(
        appliance_id: String,
        service: String,
        product_url: Option<String>,
    ) -> Result<Self> {
        let mut templates = Environment::new();
        for (name, source) in TEMPLATES {
            templates.add_template(name, source).context("a page cannot be read")?;
        }
        Ok(Self { templates, appliance_id, service, product_url })
    }

    fn page(&self, name: &str, status: StatusCode, values: minijinja::Value) -> Response {
        let (appliance_id, service) = (&self.appliance_id, &self.service);
        let all = context! { appliance_id, service, ..values };
        let rendered = self.templates.get_template(name).and_then(|template| template.render(all));
        match rendered {
            Ok(page) => (status, Html(page)).into_response(),
            Err(error) => {
                eprintln!("appliance-setup: the page {name} cannot be shown: {error}");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "This page cannot be shown; the console says why.",
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
        known: &Reopened,
        values: &Values,
        problems: &[Problem],
        network: Option<&Network>,
        ahead: Option<i64>,
    ) -> Response {
        let problem_of: BTreeMap<_, _> =
            problems.iter().map(|it| (it.field, it.text.as_str())).collect();
        let values = context! {
            csrf, problem_of => Serde(&problem_of),
            values => Serde(values), problems => Serde(problems), network => network.map(Serde),
            skew => ahead.map(skew),
            may_go_without_code => !known.code_was_entered,
            password_is_kept => known.password.is_some(),
        };
        self.page("form.html", StatusCode::OK, values)
    }

    pub(crate) fn progress(
        &self,
        csrf: &str,
        shown: &Shown,
        progress: &Progress,
        now: u64,
    ) -> Response {
        let more = context! {
            csrf,
            headline => if progress.service_error.is_some() { "Waiting" } else { "Installing" },
            may_change_code => progress.at == At::Redeem && progress.service_error.is_some(),
        };
        let values = context! { ..more, ..steps(shown, progress, now) };
        self.page("progress.html", StatusCode::OK, values)
    }

    /// Where another code is typed, while one waits.
    pub(crate) fn code(&self, csrf: &str) -> Response {
        self.page("code.html", StatusCode::OK, context! { csrf })
    }

    /// The part of it that changes; `phase` says to the script whether all of it does.
    pub(crate) fn steps(&self, shown: &Shown, progress: &Progress, now: u64) -> Response {
        let mut response = self.page("steps.html", StatusCode::OK, steps(shown, progress, now));
        let phase = HeaderValue::from_static(phase(progress));
        response.headers_mut().insert("x-phase", phase);
        response
    }

    pub(crate) fn done(&self, done: &Done) -> Response {
        let Done { tenant_id, edition, license_until } = done;
        let values = context! {
            tenant_id => tenant_id.map(|id| id.to_string()),
            edition, license_until => license_until.and_then(day),
            product_url => self.product_url.clone(),
        };
        self.page("done.html", StatusCode::OK, values)
    }
}

/// The buttons beside the steps differ with it.
fn phase(progress: &Progress) -> &'static str {
    match (progress.at, progress.service_error.is_some()) {
        (At::Redeem, true) => "no-registry",
        (_, true) => "stuck",
        (_, false) => "progress",
    }
}

fn steps(shown: &Shown, progress: &Progress, now: u64) -> minijinja::Value {
    let line = |at: At, text| {
        let (state, word) = match at.cmp(&progress.at) {
            std::cmp::Ordering::Less => ("done", "done"),
            std::cmp::Ordering::Equal if progress.service_error.is_some() => ("stuck", "not yet"),
            std::cmp::Ordering::Equal => ("now", "under way"),
            std::cmp::Ordering::Greater => ("later", "to come"),
        };
        Line { text, state, word }
    };
    let mut lines = Vec::new();
    if progress.has_code {
        lines.push(line(At::Redeem, "Redeem the install code"));
    }
    lines.push(line(At::Write, "Hand the identity to the product"));
    lines.push(line(At::Bootstrap, "Start the product"));
    let retry_in = progress.retry_at.map(|at| in_words(at.saturating_sub(now)));
    context! {
        steps => Serde(&lines), phase => phase(progress), service_error => progress.service_error.clone(), retry_in,
        skew => shown.skew.map(skew),
    }
}

/// A day as people read it.
fn day(seconds: u64) -> Option<String> {
    let at = chrono::DateTime::from_timestamp(seconds.try_into().ok()?, 0)?;
    Some(at.format("%-d %B %Y").to_string())
}

fn in_words(seconds: u64) -> String {
    match seconds {
        0 | 1 => "a second".to_owned(),
        2..=90 => format!("{seconds} seconds"),
        more => format!("{} minutes", more.div_ceil(60)),
    }
}
