//! `/console`: operators browse tenants, mails, releases and appliances that do not check in. They
//! re-issue install codes and resend mails.
//!
//! An operator signs in with a token from `registryctl token create NAME --role operator`. When
//! the token is revoked, its sessions end.

mod lists;
mod tenant;
mod timeline;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use minijinja::context;
use registry_core::audit::Actor;
use registry_core::id::TenantId;
use registry_core::rate_limit::Source;
use registry_core::secret::{ServiceToken, ServiceTokenDigest};
use registry_core::sign_in::Role;
use serde::{Deserialize, Serialize};

use super::errors::expired_form_page;
use super::form::Form;
use super::formatting::truncate;
use super::language::Language;
use super::pages::{Audience, WebPages};
use super::session::{Session, SessionForm, find_session, redirect_with_cookie};
use crate::app::AppState;
use crate::problem::ApiError;
use crate::source::Client;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/console", get(lists::tenants))
        .route("/console/sign-in", get(sign_in_page).post(sign_in))
        .route("/console/sign-out", get(|| async { Redirect::to("/console") }).post(sign_out))
        .route("/console/not-checking-in", get(lists::not_checking_in))
        // The list's former path, for bookmarks.
        .route("/console/silent", get(|| async { Redirect::to("/console/not-checking-in") }))
        .route("/console/releases", get(lists::releases))
        .route("/console/audit", get(timeline::audit))
        .route("/console/mails", get(lists::mails))
        .route("/console/mails/{mail_id}/retry", get(tenant::resend_page).post(tenant::resend))
        .route("/console/tenants/{tenant_id}", get(tenant::tenant_page))
        .route(
            "/console/tenants/{tenant_id}/reissue",
            get(tenant::reissue_page).post(tenant::reissue),
        )
}

/// An operator who is signed in, and whose token is still accepted.
struct Operator {
    name: String,
    session: Session,
}

impl Operator {
    /// The actor for the audit.
    fn actor(&self, source: Source) -> Actor {
        Actor { name: self.name.clone(), source: source.to_string() }
    }

    /// Values that every page of the console shows.
    fn page_values(&self, web: &WebPages, language: Language) -> minijinja::Value {
        let signed_in = web.text(language, "signed_in", &[("who", &self.name)]);
        context! { signed_in, csrf => self.session.csrf() }
    }
}

impl FromRequestParts<AppState> for Operator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Response> {
        let session =
            find_session(parts, app, Role::Operator).await.map_err(ApiError::into_response)?;
        let operator = session.and_then(|session| {
            // The principal's name is the digest of the operator's token. So a new token of the
            // same name does not revive the session.
            let digest = ServiceTokenDigest::from_hex(&session.principal.name)?;
            let name = app.tokens.actor_by_digest(&digest).filter(|name| is_operator(name))?;
            Some(Self { name, session })
        });
        operator.ok_or_else(|| Redirect::to("/console/sign-in").into_response())
    }
}

fn is_operator(name: &str) -> bool {
    name.starts_with("operator:")
}

/// Maximum size of a cell's text, in bytes as they are written: pages stay small.
const CELL_LIMIT: usize = 72;

/// A cell of a table.
#[derive(Serialize)]
struct Cell {
    text: String,
    link: Option<String>,
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: truncate(text.as_ref(), CELL_LIMIT), link: None }
    }
}

impl Cell {
    fn linked(text: impl AsRef<str>, link: String) -> Self {
        Self { link: Some(link), ..Self::from(text) }
    }

    /// A cell with a link to a tenant's page.
    fn of_tenant(text: impl AsRef<str>, tenant: TenantId) -> Self {
        Self::linked(text, format!("/console/tenants/{tenant}"))
    }

    /// A cell for texts of twice the usual length.
    fn long(text: &str) -> Self {
        Self { text: truncate(text, 2 * CELL_LIMIT), link: None }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SignInForm {
    token: String,
}

async fn sign_in_page(
    State(app): State<AppState>,
    language: Language,
) -> Result<Response, ApiError> {
    app.web()?.page("console_sign_in.html", language, StatusCode::OK, context! {})
}

async fn sign_in(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    previous: Result<Operator, Response>,
    Form(form): Form<SignInForm>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let token = form.token.trim();
    let Some(name) = app.tokens.actor(token).filter(|name| is_operator(name)) else {
        app.registry.count_failed_operator_login(source)?;
        let values = context! { problem => web.text(language, "console_wrong_token", &[]) };
        return web.page("console_sign_in.html", language, StatusCode::FORBIDDEN, values);
    };
    let digest = ServiceToken::new(token.to_owned()).digest().to_hex();
    let actor = Actor { name, source: source.to_string() };
    let previous = previous.ok().map(|operator| operator.session.token);
    let opened = app.registry.operator_sign_in(&digest, previous.as_ref(), actor).await?;
    Ok(redirect_with_cookie(web, Role::Operator, Some(&opened.token), "/console"))
}

async fn sign_out(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    operator: Operator,
    Form(form): Form<SessionForm>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    if !operator.session.csrf_matches(&form.csrf) {
        return expired_form_page(web, (language, Audience::Operators), "/console");
    }
    let actor = operator.actor(source);
    operator.session.end(&app, false, actor).await?;
    Ok(redirect_with_cookie(web, Role::Operator, None, "/console/sign-in"))
}
