//! The page's paths.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use appliance_install::{Client, Clock as _, SecretText, SystemClock};
use axum::extract::{
    DefaultBodyLimit, Form as Posted, FromRequestParts, OptionalFromRequestParts, State,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot, watch};

use super::driver::{Command, Phase, Reopened, Shown};
use super::form::{Form, Problem, Values};
use super::render::{Network, Pages, SCRIPT, STYLE, guard};
use super::sessions::{Session, Sessions};

const COOKIE: &str = "appliance-setup";

/// What a wrong token costs.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) pages: Arc<Pages>,
    pub(crate) client: Arc<Client>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) shown: watch::Receiver<Shown>,
    /// Whether it is served over TLS.
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
            guard(response.headers_mut());
            response
        }))
        .with_state(page)
}

impl FromRequestParts<Page> for Session {
    type Rejection = Redirect;

    async fn from_request_parts(parts: &mut Parts, page: &Page) -> Result<Self, Redirect> {
        let cookies =
            parts.headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = cookies
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        // Another page of this host may have set one of the same name: cookies do not tell ports
        // apart.
        let mut ids = pairs.filter(|(name, _)| *name == COOKIE).map(|(_, id)| id);
        let session = ids.find_map(|id| page.sessions.find(id));
        session.ok_or_else(|| Redirect::to("/"))
    }
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
    let shown = page.shown.borrow().clone();
    match &shown.phase {
        Phase::Form(known) => {
            let refused =
                known.refused.iter().map(|text| Problem { field: "code", text: text.clone() });
            let problems: Vec<_> = refused.collect();
            page.pages.form(&session.csrf, known, &known.values, &problems, None, shown.skew)
        }
        Phase::Progress(progress) => {
            page.pages.progress(&session.csrf, &shown, progress, SystemClock.now())
        }
        Phase::Done(done) => page.pages.done(done),
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
            // Hexadecimal digits are fit for a header.
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            response
        }
        Ok(None) => {
            tokio::time::sleep(PAUSE).await;
            page.pages.token(Some(
                "This is not the token that stands on the console now. Each is good once.",
            ))
        }
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(text: &str) -> Response {
    eprintln!("appliance-setup: {text}");
    (StatusCode::INTERNAL_SERVER_ERROR, "This did not work; the console says why.").into_response()
}

/// A form of this page has the session's secret in it.
fn is_ours(session: &Session, csrf: &str) -> Result<(), Response> {
    let text =
        "This form is from another session. Go back, load the page again, and send it once more.";
    if session.has(csrf) { Ok(()) } else { Err((StatusCode::FORBIDDEN, text).into_response()) }
}

/// The form, while it is open.
fn open_form(page: &Page) -> Option<(Box<Reopened>, Option<i64>)> {
    let shown = page.shown.borrow().clone();
    match shown.phase {
        Phase::Form(known) => Some((known, shown.skew)),
        Phase::Progress(_) | Phase::Done(_) => None,
    }
}

async fn install(
    State(page): State<Page>,
    session: Session,
    Posted(form): Posted<Form>,
) -> Result<Response, Response> {
    is_ours(&session, &form.csrf)?;
    let Some((known, skew)) = open_form(&page) else {
        return Ok(Redirect::to("/").into_response());
    };
    let again = |values: &Values, problems: &[Problem]| {
        let mut form = page.pages.form(&session.csrf, &known, values, problems, None, skew);
        *form.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
        form
    };
    let setup_form = match form.check(known.password.as_ref()) {
        Ok(setup_form) => setup_form,
        Err(problems) => return Ok(again(&form.values(), &problems)),
    };
    match send(&page, |answer| Command::Submit(Box::new(setup_form), answer)).await {
        Ok(()) => Ok(Redirect::to("/").into_response()),
        Err(text) => Ok(again(&form.values(), &[Problem { field: "code", text }])),
    }
}

async fn network(
    State(page): State<Page>,
    session: Session,
    Posted(form): Posted<Form>,
) -> Result<Response, Response> {
    is_ours(&session, &form.csrf)?;
    let probed = page.client.probe().await;
    let Some((known, _)) = open_form(&page) else { return Ok(Redirect::to("/").into_response()) };
    let service = page.client.service();
    let network = match probed {
        Ok(()) => Network {
            kind: "good",
            text: format!("The license service at {service} answers as it should."),
        },
        Err(service_error) => Network { kind: "bad", text: service_error.message(service) },
    };
    Ok(page.pages.form(
        &session.csrf,
        &known,
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
    let is_waiting = matches!(page.shown.borrow().phase, Phase::Progress(_));
    if is_waiting { page.pages.code(&session.csrf) } else { Redirect::to("/").into_response() }
}

async fn change_code(
    State(page): State<Page>,
    session: Session,
    Posted(form): Posted<CodeForm>,
) -> Result<Redirect, Response> {
    is_ours(&session, &form.csrf)?;
    if form.code.expose().chars().any(char::is_alphanumeric) {
        // Where the installation went on meanwhile, the page shows that.
        send(&page, |answer| Command::ChangeCode(form.code, answer)).await.ok();
    }
    Ok(Redirect::to("/"))
}

async fn retry(
    State(page): State<Page>,
    session: Session,
    Posted(form): Posted<CodeForm>,
) -> Result<Redirect, Response> {
    is_ours(&session, &form.csrf)?;
    page.commands.try_send(Command::Retry).ok();
    Ok(Redirect::to("/"))
}

async fn steps(State(page): State<Page>, session: Option<Session>) -> Response {
    let shown = page.shown.borrow().clone();
    match (&shown.phase, session) {
        (Phase::Progress(progress), Some(_)) => {
            page.pages.steps(&shown, progress, SystemClock.now())
        }
        (Phase::Form(_) | Phase::Progress(_) | Phase::Done(_), _) => {
            StatusCode::CONFLICT.into_response()
        }
    }
}

/// Hands a command to the driver, and waits for what comes of it.
async fn send(
    page: &Page,
    command: impl FnOnce(oneshot::Sender<Result<(), String>>) -> Command,
) -> Result<(), String> {
    let (answer, answered) = oneshot::channel();
    let busy = || "The installation is busy with another request. Load the page again.".to_owned();
    page.commands.try_send(command(answer)).map_err(|_| busy())?;
    answered.await.map_err(|_| busy())?
}
