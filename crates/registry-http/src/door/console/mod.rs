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
use registry_core::guesses::Source;
use registry_core::id::TenantId;
use registry_core::secret::{ServiceToken, ServiceTokenDigest};
use registry_core::sign_in::Role;
use serde::{Deserialize, Serialize};

use super::form::Form;
use super::language::Language;
use super::pages::{Door, Side};
use super::refusals::stale;
use super::shown::cut;
use super::visitor::{Own, SignedIn, signed_in, with_cookie};
use crate::app::App;
use crate::endpoints::detached;
use crate::problem::ApiError;
use crate::source::Client;

pub(super) fn routes() -> Router<App> {
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
    session: SignedIn,
}

impl Operator {
    /// Who the audit names.
    fn acts_from(&self, source: Source) -> Actor {
        Actor { name: self.actor.clone(), source: source.to_string() }
    }

    /// What every page of the console shows.
    fn frame(&self, door: &Door, language: Language) -> minijinja::Value {
        let who = door.text(language, "signed_in", &[("who", &self.actor)]);
        context! { who, csrf => self.session.csrf() }
    }
}

impl FromRequestParts<App> for Operator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let session =
            signed_in(parts, app, Role::Operator).await.map_err(ApiError::into_response)?;
        let known = session.and_then(|session| {
            // The digest of the operator's token: another token of the same name does not revive a
            // session.
            let digest = ServiceTokenDigest::from_hex(&session.visitor.name)?;
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
        Self { text: cut(text.as_ref(), CELL), link: None }
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
        Self { text: cut(text, 2 * CELL), link: None }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Proof {
    token: String,
}

async fn ask(State(app): State<App>, language: Language) -> Result<Response, ApiError> {
    app.door()?.page("console_sign_in.html", language, StatusCode::OK, context! {})
}

async fn sign_in(
    State(app): State<App>,
    Client(source): Client,
    language: Language,
    earlier: Result<Operator, Response>,
    Form(proof): Form<Proof>,
) -> Result<Response, ApiError> {
    let door = app.door()?;
    let token = proof.token.trim();
    let Some(actor) = app.tokens.actor(token).filter(|actor| is_operator(actor)) else {
        app.registry.operator_refused(source)?;
        let values = context! { problem => door.text(language, "console_wrong_token", &[]) };
        return door.page("console_sign_in.html", language, StatusCode::FORBIDDEN, values);
    };
    let name = ServiceToken::new(token.to_owned()).digest().to_hex();
    let (registry, actor) =
        (app.registry.clone(), Actor { name: actor, source: source.to_string() });
    let earlier = earlier.ok().map(|operator| operator.session.token);
    let opened =
        detached(async move { registry.operator_sign_in(&name, earlier.as_ref(), actor).await })
            .await?;
    Ok(with_cookie(door, Role::Operator, Some(&opened.token), "/console"))
}

async fn sign_out(
    State(app): State<App>,
    Client(source): Client,
    language: Language,
    operator: Operator,
    Form(own): Form<Own>,
) -> Result<Response, ApiError> {
    let door = app.door()?;
    if !operator.session.has(&own.csrf) {
        return stale(door, (language, Side::Operators), "/console");
    }
    let (registry, actor, session) =
        (app.registry.clone(), operator.acts_from(source), operator.session);
    detached(async move { registry.sign_out(&session.token, session.visitor, false, actor).await })
        .await?;
    Ok(with_cookie(door, Role::Operator, None, "/console/sign-in"))
}
