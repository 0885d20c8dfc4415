//! Who looks at the portal or the console: the session in a cookie.

use axum::extract::FromRequestParts;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Redirect, Response};
use registry_core::audit::Actor;
use registry_core::entropy::hex;
use registry_core::rate_limit::Source;
use registry_core::secret::SignInToken;
use registry_core::sign_in::{Principal, Role};
use registry_core::text::EmailAddress;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::pages::WebPages;
use crate::app::AppState;
use crate::problem::ApiError;

/// The cookie's name: one browser may be signed in in both roles. Over https, with the prefix by
/// which browsers take it from this host only (RFC 6265bis §4.1.3.2).
fn session(role: Role, is_secure: bool) -> &'static str {
    match (role, is_secure) {
        (Role::Customer, true) => "__Host-registry-session",
        (Role::Customer, false) => "registry-session",
        (Role::Operator, true) => "__Host-registry-console",
        (Role::Operator, false) => "registry-console",
    }
}

/// A form of a session.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct SessionForm {
    pub(super) csrf: String,
    /// Which form it is: sent twice, it is one change.
    pub(super) form: String,
    pub(super) everywhere: String,
}

/// Somebody who is signed in.
pub(crate) struct Session {
    pub(crate) principal: Principal,
    pub(crate) token: SignInToken,
}

/// A customer who is signed in.
pub(crate) struct Customer {
    pub(crate) contact: EmailAddress,
    pub(crate) session: Session,
}

impl Session {
    /// What every form of this session carries; another site does not know it.
    pub(crate) fn csrf(&self) -> String {
        hex(&Sha256::digest(format!("csrf {}", self.token.expose())))
    }

    /// Who acts in a customer's session, for the audit.
    pub(crate) fn acts_from(&self, source: Source) -> Actor {
        Actor::customer(&self.principal.name, source)
    }

    /// What a page is told with that something was done: no link that another made says so.
    pub(crate) fn done(&self, what: &str) -> String {
        hex(&Sha256::digest(format!("done {what} {}", self.token.expose())))[..16].to_owned()
    }

    pub(crate) fn has(&self, csrf: &str) -> bool {
        self.csrf().as_bytes().ct_eq(csrf.as_bytes()).into()
    }
}

/// The customer, if somebody is signed in.
pub(crate) struct OptionalCustomer(pub(crate) Option<Customer>);

impl FromRequestParts<AppState> for OptionalCustomer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let session = signed_in(parts, app, Role::Customer).await?;
        let customer = |session: Session| Customer {
            contact: EmailAddress::from_stored(session.principal.name.clone()),
            session,
        };
        Ok(Self(session.map(customer)))
    }
}

impl FromRequestParts<AppState> for Customer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Response> {
        let OptionalCustomer(customer) = OptionalCustomer::from_request_parts(parts, app)
            .await
            .map_err(ApiError::into_response)?;
        customer.ok_or_else(|| Redirect::to("/portal/sign-in").into_response())
    }
}

/// Who is signed in in this role, if anybody is.
pub(super) async fn signed_in(
    parts: &Parts,
    app: &AppState,
    role: Role,
) -> Result<Option<Session>, ApiError> {
    for token in tokens(&parts.headers, session(role, app.web()?.settings.is_secure())) {
        if let Some(principal) = app.registry.session(&token).await?
            && principal.role == role
        {
            return Ok(Some(Session { principal, token }));
        }
    }
    Ok(None)
}

/// Another page of this host may have set a cookie of the same name: each that looks like one of
/// ours is tried, but not many.
fn tokens(headers: &HeaderMap, cookie: &str) -> Vec<SignInToken> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs =
        cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let ours = pairs.filter(|(name, value)| *name == cookie && value.len() == 64).take(4);
    ours.map(|(_, value)| SignInToken::new(value.to_owned())).collect()
}

/// Goes to a path with the session's cookie, or with one that ends it.
pub(super) fn with_cookie(
    web: &WebPages,
    role: Role,
    token: Option<&SignInToken>,
    to: &str,
) -> Response {
    let mut response = Redirect::to(to).into_response();
    if let Some(cookie) = cookie(role, token, web.settings.is_secure()) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

fn cookie(role: Role, token: Option<&SignInToken>, is_secure: bool) -> Option<HeaderValue> {
    let value = token.map(SignInToken::expose).unwrap_or_default();
    let age = if token.is_some() { "" } else { "; Max-Age=0" };
    let name = session(role, is_secure);
    let secure = if is_secure { "; Secure" } else { "" };
    // Hexadecimal digits are fit for a header.
    HeaderValue::from_str(&format!(
        "{name}={value}; Path=/; HttpOnly; SameSite=Strict{age}{secure}"
    ))
    .ok()
}
