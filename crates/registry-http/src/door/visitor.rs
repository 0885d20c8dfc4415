//! Who looks at the portal: the session in a cookie.

use axum::extract::FromRequestParts;
use axum::http::header::COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use registry_core::secret::SignInToken;
use registry_core::sign_in::{Role, Visitor};
use registry_core::text::EmailAddress;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::app::App;
use crate::problem::ApiError;

const SESSION: &str = "registry-session";

/// A customer who is signed in.
pub(crate) struct Customer {
    pub(crate) contact: EmailAddress,
    pub(crate) visitor: Visitor,
    pub(crate) token: SignInToken,
}

impl Customer {
    /// What every form of this session carries; another site does not know it.
    pub(crate) fn csrf(&self) -> String {
        let digest = Sha256::digest(format!("csrf {}", self.token.expose()));
        digest.iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
    }

    pub(crate) fn has(&self, csrf: &str) -> bool {
        self.csrf().as_bytes().ct_eq(csrf.as_bytes()).into()
    }
}

/// The customer, if somebody is signed in.
pub(crate) struct MaybeCustomer(pub(crate) Option<Customer>);

impl FromRequestParts<App> for MaybeCustomer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        for token in tokens(&parts.headers) {
            if let Some(visitor) = app.registry.session(&token).await?
                && visitor.role == Role::Customer
            {
                let contact = EmailAddress::from_stored(visitor.name.clone());
                return Ok(Self(Some(Customer { contact, visitor, token })));
            }
        }
        Ok(Self(None))
    }
}

/// Another page of this host may have set a cookie of the same name: each that looks like one of ours is tried, but not many.
fn tokens(headers: &HeaderMap) -> Vec<SignInToken> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let ours = pairs.filter(|(name, value)| *name == SESSION && value.len() == 64).take(4);
    ours.map(|(_, value)| SignInToken::new(value.to_owned())).collect()
}

/// The cookie of a session, or one that ends it.
pub(crate) fn cookie(token: Option<&SignInToken>, is_secure: bool) -> Option<HeaderValue> {
    let value = token.map(SignInToken::expose).unwrap_or_default();
    let age = if token.is_some() { "" } else { "; Max-Age=0" };
    let secure = if is_secure { "; Secure" } else { "" };
    // Hexadecimal digits are fit for a header.
    HeaderValue::from_str(&format!("{SESSION}={value}; Path=/; HttpOnly; SameSite=Strict{age}{secure}")).ok()
}
