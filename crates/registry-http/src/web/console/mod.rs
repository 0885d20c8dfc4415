//! `/console`: operators look at tenants, mails, releases and silent appliances, re-issue codes and
//! send mails again. They sign in with the token that registryctl made for them; a session ends
//! with its token.

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

use super::errors::stale;
use super::form::Form;
use super::formatting::truncate;
use super::language::Language;
use super::pages::{Side, WebPages};
use super::session::{Session, SessionForm, signed_in, with_cookie};
use crate::app::AppState;
use crate::problem::ApiError;
use crate::source::Client;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/console", get(lists::tenants))
        .route("/console/sign-in", get(ask).post(sign_in))
        .route("/console/sign-out", get(|| async { Redirect::to("/console") }).post(sign_out))
        .route("/console/silent", get(lists::silent))
        .route("/console/releases", get(lists::releases))
        .route("/console/audit", get(timeline::audit))
        .route("/console/mails", get(lists::mails))
        .route("/console/mails/{mail_id}/retry", get(tenant::retry).post(tenant::retry_now))
        .route("/console/tenants/{tenant_id}", get(tenant::show))
        .route(
            "/console/tenants/{tenant_id}/reissue",
            get(tenant::reissue).post(tenant::reissue_now),
        )
}

/// An operator who is signed in, and whose token is still admitted.
struct Operator {
    actor: String,
    session: Session,
}

impl Operator {
    /// Who the audit names.
    fn acts_from(&self, source: Source) -> Actor {
        Actor { name: self.actor.clone(), source: source.to_string() }
    }

    /// What every page of the console shows.
    fn frame(&self, web: &WebPages, language: Language) -> minijinja::Value {
        let who = web.text(language, "signed_in", &[("who", &self.actor)]);
        context! { who, csrf => self.session.csrf() }
    }
}

impl FromRequestParts<AppState> for Operator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Response> {
        let session =
            signed_in(parts, app, Role::Operator).await.map_err(ApiError::into_response)?;
        let known = session.and_then(|session| {
            // The digest of the operator's token: another token of the same name does not revive a
            // session.
            let digest = ServiceTokenDigest::from_hex(&session.principal.name)?;
            Some(Self {
                actor: app.tokens.actor_by_digest(&digest).filter(|actor| is_operator(actor))?,
                session,
            })
        });
        known.ok_or_else(|| Redirect::to("/console/sign-in").into_response())
    }
}

fn is_operator(actor: &str) -> bool {
    actor.starts_with("operator:")
}

/// The most of a cell, in bytes as it is written: pages stay small, whatever somebody typed.
const CELL: usize = 72;

/// A cell of a table.
#[derive(Serialize)]
struct Cell {
    text: String,
    link: Option<String>,
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: truncate(text.as_ref(), CELL), link: None }
    }
}

impl Cell {
    fn linked(text: impl AsRef<str>, link: String) -> Self {
        Self { link: Some(link), ..Self::from(text) }
    }

    /// Leads to a tenant.
    fn of_tenant(text: impl AsRef<str>, tenant: TenantId) -> Self {
        Self::linked(text, format!("/console/tenants/{tenant}"))
    }

    /// With more room.
    fn long(text: &str) -> Self {
        Self { text: truncate(text, 2 * CELL), link: None }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Proof {
    token: String,
}

async fn ask(State(app): State<AppState>, language: Language) -> Result<Response, ApiError> {
    app.web()?.page("console_sign_in.html", language, StatusCode::OK, context! {})
}

async fn sign_in(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    previous: Result<Operator, Response>,
    Form(proof): Form<Proof>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let token = proof.token.trim();
    let Some(actor) = app.tokens.actor(token).filter(|actor| is_operator(actor)) else {
        app.registry.count_failed_operator_login(source)?;
        let values = context! { problem => web.text(language, "console_wrong_token", &[]) };
        return web.page("console_sign_in.html", language, StatusCode::FORBIDDEN, values);
    };
    let name = ServiceToken::new(token.to_owned()).digest().to_hex();
    let actor = Actor { name: actor, source: source.to_string() };
    let previous = previous.ok().map(|operator| operator.session.token);
    let opened = app.registry.operator_sign_in(&name, previous.as_ref(), actor).await?;
    Ok(with_cookie(web, Role::Operator, Some(&opened.token), "/console"))
}

async fn sign_out(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    operator: Operator,
    Form(own): Form<SessionForm>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    if !operator.session.has(&own.csrf) {
        return stale(web, (language, Side::Operators), "/console");
    }
    let (actor, session) = (operator.acts_from(source), operator.session);
    app.registry.sign_out(&session.token, session.principal, false, actor).await?;
    Ok(with_cookie(web, Role::Operator, None, "/console/sign-in"))
}
