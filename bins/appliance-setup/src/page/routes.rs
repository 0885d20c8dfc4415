//! Routes of the page.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use appliance_install::{Client, Clock as _, SecretText, SystemClock};
use axum::extract::{
    DefaultBodyLimit, Form as Posted, FromRequestParts, OptionalFromRequestParts, State,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot, watch};

use super::driver::{Command, FormView, Screen, View};
use super::form::{Form, Problem, Values};
use super::render::{NetworkResult, Pages, SCRIPT, STYLE, add_security_headers};
use super::sessions::{Session, Sessions};
use crate::report;

const COOKIE: &str = "appliance-setup";

/// Delay of the response to a wrong token.
const WRONG_TOKEN_DELAY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) pages: Arc<Pages>,
    pub(crate) client: Arc<Client>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) view: watch::Receiver<View>,
    /// True if the page is served over TLS.
    pub(crate) is_secure: bool,
}

pub(crate) fn router(page: Page) -> Router {
    let asset = |kind, text: &'static str| {
        get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
    };
    Router::new()
        .route("/", get(index))
        .route("/token", post(token))
        .route("/install", post(install))
        .route("/network", post(network))
        .route("/code", get(another_code).post(change_code))
        .route("/retry", post(retry))
        .route("/steps", get(steps))
        .route("/style.css", asset("text/css; charset=utf-8", STYLE))
        .route("/progress.js", asset("text/javascript; charset=utf-8", SCRIPT))
        .fallback(|| async { Redirect::to("/") })
        .layer(DefaultBodyLimit::max(64 * 1024))
        .layer(middleware::map_response(async |mut response: Response| {
            add_security_headers(response.headers_mut());
            response
        }))
        .with_state(page)
}

impl FromRequestParts<Page> for Session {
    type Rejection = Redirect;

    async fn from_request_parts(parts: &mut Parts, page: &Page) -> Result<Self, Redirect> {
        let session = cookie_ids(&parts.headers).find_map(|id| page.sessions.find(id));
        session.ok_or_else(|| Redirect::to("/"))
    }
}

/// Returns the session ids in the cookies. Browsers send a host's cookies to all of its ports, so
/// another site of this host may have set a cookie of the same name, and cookies that are not text.
fn cookie_ids(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    let ids = pairs
        .filter_map(|pair| pair.trim_ascii().strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"="));
    ids.filter_map(|id| std::str::from_utf8(id).ok())
}

impl OptionalFromRequestParts<Page> for Session {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        page: &Page,
    ) -> Result<Option<Self>, Infallible> {
        Ok(<Self as FromRequestParts<Page>>::from_request_parts(parts, page).await.ok())
    }
}

async fn index(State(page): State<Page>, session: Option<Session>) -> Response {
    let Some(session) = session else { return page.pages.token(None) };
    let view = page.view.borrow().clone();
    match &view.screen {
        Screen::Form(form) => {
            let refused =
                form.refused.iter().map(|text| Problem { field: "code", text: text.clone() });
            let problems: Vec<_> = refused.collect();
            page.pages.form(&session.csrf, form, &form.values, &problems, None, view.skew)
        }
        Screen::Progress(progress) => {
            page.pages.progress(&session.csrf, &view, progress, SystemClock.now())
        }
        Screen::Done(done) => page.pages.done(done),
    }
}

#[derive(Deserialize)]
struct TokenForm {
    #[serde(default)]
    token: String,
}

async fn token(State(page): State<Page>, Posted(form): Posted<TokenForm>) -> Response {
    match page.sessions.open(&form.token) {
        Ok(Some(id)) => {
            let secure = if page.is_secure { "; Secure" } else { "" };
            let cookie = format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict{secure}");
            let mut response = Redirect::to("/").into_response();
            // Never fails: an id consists of hexadecimal digits.
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            response
        }
        Ok(None) => {
            tokio::time::sleep(WRONG_TOKEN_DELAY).await;
            page.pages.token(Some(
                "This is not the token on the machine's screen. Each token can be used only once.",
            ))
        }
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(text: &str) -> Response {
    report(text);
    let message = "The request failed. The machine's screen shows the error.";
    (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
}

/// Checks that a form was served in this session, which protects against cross-site requests.
fn check_csrf(session: &Session, csrf: &str) -> Result<(), Response> {
    let text =
        "This form belongs to another session. Go back, reload the page, and submit it again.";
    if session.has_csrf(csrf) { Ok(()) } else { Err((StatusCode::FORBIDDEN, text).into_response()) }
}

/// Returns the form and the clock skew, if the installation waits for the form.
fn open_form(page: &Page) -> Option<(Box<FormView>, Option<i64>)> {
    let view = page.view.borrow().clone();
    match view.screen {
        Screen::Form(form) => Some((form, view.skew)),
        Screen::Progress(_) | Screen::Done(_) => None,
    }
}

async fn install(
    State(page): State<Page>,
    session: Session,
    Posted(form): Posted<Form>,
) -> Result<Response, Response> {
    check_csrf(&session, &form.csrf)?;
    let Some((view, skew)) = open_form(&page) else {
        return Ok(Redirect::to("/").into_response());
    };
    let with_problems = |values: &Values, problems: &[Problem]| {
        let mut response = page.pages.form(&session.csrf, &view, values, problems, None, skew);
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
        response
    };
    let setup_form = match form.check(view.password.as_ref()) {
        Ok(setup_form) => setup_form,
        Err(problems) => return Ok(with_problems(&form.values(), &problems)),
    };
    match send(&page, |reply| Command::Submit(Box::new(setup_form), reply)).await {
        Ok(()) => Ok(Redirect::to("/").into_response()),
        Err(text) => Ok(with_problems(&form.values(), &[Problem { field: "code", text }])),
    }
}

async fn network(
    State(page): State<Page>,
    session: Session,
    Posted(form): Posted<Form>,
) -> Result<Response, Response> {
    check_csrf(&session, &form.csrf)?;
    let probe = page.client.probe().await;
    let Some((view, _)) = open_form(&page) else { return Ok(Redirect::to("/").into_response()) };
    let service = page.client.service();
    let network = match probe {
        Ok(()) => NetworkResult {
            kind: "good",
            text: format!("The license service at {service} can be reached."),
        },
        Err(service_error) => NetworkResult { kind: "bad", text: service_error.message(service) },
    };
    Ok(page.pages.form(
        &session.csrf,
        &view,
        &form.values(),
        &[],
        Some(&network),
        page.client.clock_skew(),
    ))
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct CodeForm {
    csrf: String,
    code: SecretText,
}

async fn another_code(State(page): State<Page>, session: Session) -> Response {
    let is_waiting = matches!(page.view.borrow().screen, Screen::Progress(_));
    if is_waiting { page.pages.code(&session.csrf) } else { Redirect::to("/").into_response() }
}

async fn change_code(
    State(page): State<Page>,
    session: Session,
    Posted(form): Posted<CodeForm>,
) -> Result<Redirect, Response> {
    check_csrf(&session, &form.csrf)?;
    if form.code.expose().chars().any(char::is_alphanumeric) {
        // If the code can no longer be changed, the page shows the progress.
        send(&page, |reply| Command::ChangeCode(form.code, reply)).await.ok();
    }
    Ok(Redirect::to("/"))
}

async fn retry(
    State(page): State<Page>,
    session: Session,
    Posted(form): Posted<CodeForm>,
) -> Result<Redirect, Response> {
    check_csrf(&session, &form.csrf)?;
    page.commands.try_send(Command::Retry).ok();
    Ok(Redirect::to("/"))
}

async fn steps(State(page): State<Page>, session: Option<Session>) -> Response {
    let view = page.view.borrow().clone();
    match (&view.screen, session) {
        (Screen::Progress(progress), Some(_)) => {
            page.pages.steps(&view, progress, SystemClock.now())
        }
        (Screen::Form(_) | Screen::Progress(_) | Screen::Done(_), _) => {
            StatusCode::CONFLICT.into_response()
        }
    }
}

/// Sends a command to the driver, and waits for its result.
async fn send(
    page: &Page,
    command: impl FnOnce(oneshot::Sender<Result<(), String>>) -> Command,
) -> Result<(), String> {
    let (reply, result) = oneshot::channel();
    let busy = || "The installation is busy with another request. Reload the page.".to_owned();
    page.commands.try_send(command(reply)).map_err(|_| busy())?;
    result.await.map_err(|_| busy())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_is_found_beside_any_other() {
        for (line, expected) in [
            (b"appliance-setup=1".as_slice(), &["1"][..]),
            (b"other=1; appliance-setup=2 ;appliance-setup=3", &["2", "3"]),
            (b"other=\xff; appliance-setup=1", &["1"]),
            (b"appliance-setup=1; other=\xff", &["1"]),
            (b"\xff;appliance-setup=1;\xff=\xff", &["1"]),
            (b"appliance-setup=\xff; appliance-setup=1", &["1"]),
            (b"x-appliance-setup=1; appliance-setup", &[]),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(header::COOKIE, HeaderValue::from_static("first=line"));
            headers.append(header::COOKIE, HeaderValue::from_bytes(line).unwrap());
            let ids: Vec<_> = cookie_ids(&headers).collect();
            assert_eq!(ids, expected, "{}", line.escape_ascii());
        }
    }
}
