//! Sessions of the portal and the console. The browser keeps a session's token in a cookie.

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

/// Returns the cookie's name. Each role has one, since a browser may be signed in in both roles.
/// Over https, the name has the prefix of cookies that browsers accept from this host only (RFC
/// 6265bis §4.1.3.2).
fn cookie_name(role: Role, is_secure: bool) -> &'static str {
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
    /// The form's id: a form that is sent twice is one change.
    pub(super) form: String,
    pub(super) everywhere: String,
}

/// A signed-in session.
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
    /// The secret in every form of this session. Other sites do not know it.
    pub(crate) fn csrf(&self) -> String {
        hex(&Sha256::digest(format!("csrf {}", self.token.expose())))
    }

    /// True if a form carries this session's secret.
    pub(crate) fn csrf_matches(&self, csrf: &str) -> bool {
        self.csrf().as_bytes().ct_eq(csrf.as_bytes()).into()
    }

    /// Ends this session, or with `everywhere` all sessions of its holder.
    pub(super) async fn end(
        self,
        app: &AppState,
        everywhere: bool,
        actor: Actor,
    ) -> Result<(), ApiError> {
        let registry = app.registry.clone();
        let sign_out =
            async move { registry.sign_out(&self.token, self.principal, everywhere, actor).await };
        app.complete(sign_out).await
    }

    /// The actor for the audit, in a customer's session.
    pub(crate) fn customer_actor(&self, source: Source) -> Actor {
        Actor::customer(&self.principal.name, source)
    }

    /// The value of `?done=` after an action. It is a secret of the session, so a link from
    /// somebody else cannot show the notice.
    pub(crate) fn done_value(&self, action: &str) -> String {
        hex(&Sha256::digest(format!("done {action} {}", self.token.expose())))[..16].to_owned()
    }
}

/// The customer, if one is signed in.
pub(crate) struct OptionalCustomer(pub(crate) Option<Customer>);

impl FromRequestParts<AppState> for OptionalCustomer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let session = find_session(parts, app, Role::Customer).await?;
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

/// Finds the request's session in this role, if there is one.
pub(super) async fn find_session(
    parts: &Parts,
    app: &AppState,
    role: Role,
) -> Result<Option<Session>, ApiError> {
    let name = cookie_name(role, app.web()?.settings.is_secure());
    for token in cookie_tokens(&parts.headers, name) {
        if let Some(principal) = app.registry.session(&token).await?
            && principal.role == role
        {
            return Ok(Some(Session { principal, token }));
        }
    }
    Ok(None)
}

/// Returns the tokens in cookies of this name, at most four. There may be several: another page of
/// this host can set a cookie of the same name. The header is read as bytes, since other cookies
/// may not be text.
fn cookie_tokens(headers: &HeaderMap, cookie: &str) -> Vec<SignInToken> {
    let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    let values = pairs
        .filter_map(|pair| pair.trim_ascii().strip_prefix(cookie.as_bytes())?.strip_prefix(b"="));
    let texts = values.filter_map(|value| std::str::from_utf8(value).ok());
    let tokens = texts.filter(|value| value.len() == 64).take(4);
    tokens.map(|value| SignInToken::new(value.to_owned())).collect()
}

/// Redirects to a path and sets the session's cookie, or deletes the cookie if `token` is `None`.
pub(super) fn redirect_with_cookie(
    web: &WebPages,
    role: Role,
    token: Option<&SignInToken>,
    path: &str,
) -> Response {
    let mut response = Redirect::to(path).into_response();
    if let Some(cookie) = cookie(role, token, web.settings.is_secure()) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

fn cookie(role: Role, token: Option<&SignInToken>, is_secure: bool) -> Option<HeaderValue> {
    let value = token.map(SignInToken::expose).unwrap_or_default();
    let age = if token.is_some() { "" } else { "; Max-Age=0" };
    let name = cookie_name(role, is_secure);
    let secure = if is_secure { "; Secure" } else { "" };
    // Never `None`: a token has hexadecimal digits only, which a header may contain.
    HeaderValue::from_str(&format!(
        "{name}={value}; Path=/; HttpOnly; SameSite=Strict{age}{secure}"
    ))
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_is_found_beside_any_other() {
        let token = "0".repeat(64);
        let own = format!("registry-session={token}");
        let line = |before: &[u8], after: &[u8]| [before, own.as_bytes(), after].concat();
        for (line, count) in [
            (line(b"", b""), 1),
            (line(b"other=1; ", b" ;other=2"), 1),
            (line(b"other=\xff; ", b""), 1),
            (line(b"", b"; other=\xff"), 1),
            (line(b"\xff;", b";\xff=\xff;"), 1),
            (line(b"registry-session=\xff; ", b""), 1),
            (line(&[b"registry-session=".as_slice(), &[0xff; 64], b";"].concat(), b""), 1),
            (line(format!("{own}; ").repeat(4).as_bytes(), b""), 4),
            (line(b"x-", b""), 0),
            (line(b"", b"\xff"), 0),
            (b"registry-session".to_vec(), 0),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(COOKIE, HeaderValue::from_static("first=line"));
            headers.append(COOKIE, HeaderValue::from_bytes(&line).unwrap());
            let tokens = cookie_tokens(&headers, "registry-session");
            assert_eq!(tokens.len(), count, "{}", line.escape_ascii());
            assert!(tokens.iter().all(|found| found.expose() == token));
        }
    }
}
