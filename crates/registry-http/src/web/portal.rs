//! `/portal`: customers sign in by a mailed link, see their tenants, download the image, and
//! request a new install code.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use minijinja::context;
use minijinja::value::Serde;
use registry_core::appliance::Appliance;
use registry_core::id::TenantId;
use registry_core::rate_limit::Source;
use registry_core::refusal::Refusal;
use registry_core::registry::idempotency::IdempotencyKey;
use registry_core::registry::sign_in::MailRequest;
use registry_core::release::{Release, format_size};
use registry_core::secret::SignInToken;
use registry_core::sign_in::Role;
use registry_core::store::TenantRecord;
use registry_core::text::EmailAddress;
use registry_core::{Error, Registry};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::errors::expired_form_page;
use super::form::Form;
use super::formatting::{
    date, edition, last_check_in, license_until, minutes, more_appliances, truncate,
};
use super::language::Language;
use super::pages::{Audience, WebPages};
use super::reissue::reissue_by_mail;
use super::session::{Customer, OptionalCustomer, SessionForm, redirect_with_cookie};
use crate::app::AppState;
use crate::idempotency::form_key;
use crate::problem::ApiError;
use crate::source::Client;

/// Maximum number of appliances that are shown of a tenant.
const APPLIANCES: usize = 6;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct SignInForm {
    email: String,
}

/// The query of the portal page.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct PageQuery {
    /// Cursor of the page of tenants.
    cursor: Option<String>,
    /// Proof that an action has just succeeded, see `Session::done_value`.
    done: String,
}

#[derive(Serialize)]
struct TenantView {
    id: Uuid,
    company: String,
    edition: String,
    status: String,
    registered: String,
    appliances: Vec<ApplianceView>,
    /// A note about further appliances, if there are any.
    more: Option<String>,
    may_reissue: bool,
}

#[derive(Serialize)]
struct ApplianceView {
    id: String,
    last_check_in: String,
    license_until: String,
}

#[derive(Serialize)]
struct ReleaseView {
    version: String,
    file_name: String,
    size: String,
    sha256: String,
}

fn sign_in_form(
    web: &WebPages,
    language: Language,
    email: &str,
    problem: Option<String>,
) -> Result<Response, ApiError> {
    let status = if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    web.page("sign_in.html", language, status, context! { email, problem })
}

pub(crate) async fn sign_in_page(
    State(app): State<AppState>,
    language: Language,
) -> Result<Response, ApiError> {
    sign_in_form(app.web()?, language, "", None)
}

/// Mails a sign-in link. The response is the same for known and unknown addresses, and does not
/// wait for the mail to be queued.
pub(crate) async fn send_link(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    Form(form): Form<SignInForm>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let Ok(contact) = EmailAddress::parse(&form.email) else {
        let problem = web.text(language, "mistake_email", &[]);
        return sign_in_form(web, language, &form.email, Some(problem));
    };
    app.registry.count_mail_request(source, MailRequest::Link(&contact), None)?;
    let lifetime = app.registry.settings().sign_in.link_lifetime;
    let minutes = minutes(web, language, lifetime.num_minutes());
    let values = [("email", contact.as_str()), ("minutes", minutes.as_str())];
    let text = web.text(language, "sign_in_sent_lead", &values);
    app.do_later(send_link_later(app.registry.clone(), contact, source));
    let reader = (language, Audience::Customers);
    web.message(reader, StatusCode::OK, ("sign_in_sent_title", text), None)
}

/// Queues the mail after a random delay: the work for known addresses must not slow down the
/// client's next request measurably. A busy store gets three attempts.
async fn send_link_later(registry: Arc<Registry>, contact: EmailAddress, source: Source) {
    let milliseconds = registry.new_id().as_u128() % 500;
    tokio::time::sleep(Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default()))
        .await;
    for _ in 0..3 {
        match registry.sign_in_mail(contact.clone(), source).await {
            Ok(()) => return,
            Err(error) => tracing::error!(cause = %error, "a sign-in link was not queued"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The page behind a sign-in link. It only has a button: mail scanners open links, too, and must
/// not use them up.
pub(crate) async fn sign_in_link_page(
    State(app): State<AppState>,
    language: Language,
) -> Result<Response, ApiError> {
    app.web()?.page("sign_in_link.html", language, StatusCode::OK, context! {})
}

pub(crate) async fn sign_in(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    OptionalCustomer(previous): OptionalCustomer,
    Path(token): Path<String>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let token = SignInToken::new(token);
    let previous = previous.map(|customer| customer.session.token);
    match app.registry.sign_in(&token, previous.as_ref(), source).await {
        Ok(opened) => Ok(redirect_with_cookie(web, Role::Customer, Some(&opened.token), "/portal")),
        Err(Error::Refused(Refusal::SignInLinkInvalid)) => invalid_link_page(web, language),
        Err(error) => Err(error.into()),
    }
}

fn invalid_link_page(web: &WebPages, language: Language) -> Result<Response, ApiError> {
    let text = web.text(language, "sign_in_link_invalid", &[]);
    web.message(
        (language, Audience::Customers),
        StatusCode::FORBIDDEN,
        ("sign_in_link_invalid_title", text),
        Some(("/portal/sign-in", "sign_in_link_request")),
    )
}

pub(crate) async fn sign_out(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    OptionalCustomer(customer): OptionalCustomer,
    Form(form): Form<SessionForm>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let Some(Customer { session, .. }) = customer else {
        return Ok(Redirect::to("/portal").into_response());
    };
    if !session.csrf_matches(&form.csrf) {
        return expired_form_page(web, (language, Audience::Customers), "/portal");
    }
    let (actor, everywhere) = (session.customer_actor(source), !form.everywhere.is_empty());
    session.end(&app, everywhere, actor).await?;
    Ok(redirect_with_cookie(web, Role::Customer, None, "/portal/sign-in"))
}

pub(crate) async fn portal_page(
    State(app): State<AppState>,
    language: Language,
    customer: Customer,
    Query(query): Query<PageQuery>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let cursor = query.cursor.as_deref().filter(|cursor| !cursor.is_empty());
    let (records, next) = app.registry.tenants_of(&customer.contact, cursor).await?;
    let tenants: Vec<_> = records.iter().map(|it| tenant_view(web, language, it)).collect();
    let may_download = next.is_some() || tenants.iter().any(|tenant| tenant.may_reissue);
    let release = app.registry.release_offered().await?.filter(|_| may_download);
    let release = release.map(|release| release_view(web, language, &release));
    let contact = customer.contact.as_str();
    let values = context! {
        signed_in => web.text(language, "signed_in", &[("who", contact)]),
        csrf => customer.session.csrf(),
        notice => notice(web, language, &customer, &query),
        next,
        tenants => Serde(&tenants),
        release => release.as_ref().map(Serde),
    };
    web.page("portal.html", language, StatusCode::OK, values)
}

/// The notice after a re-issue, if one has just succeeded in this session.
fn notice(
    web: &WebPages,
    language: Language,
    customer: &Customer,
    query: &PageQuery,
) -> Option<String> {
    let is_done = query.done == customer.session.done_value("reissue");
    let email = customer.contact.as_str();
    is_done.then(|| web.text(language, "reissue_done", &[("email", email)]))
}

fn release_view(web: &WebPages, language: Language, release: &Release) -> ReleaseView {
    let version = [("version", release.version.as_str())];
    ReleaseView {
        version: web.text(language, "download_version", &version),
        file_name: release.file_name.clone(),
        size: format_size(release.size).replace('.', &web.text(language, "decimal_mark", &[])),
        sha256: release.sha256.clone(),
    }
}

fn tenant_view(web: &WebPages, language: Language, record: &TenantRecord) -> TenantView {
    let tenant = &record.tenant;
    let appliance = |appliance: &Appliance| ApplianceView {
        id: truncate(appliance.id.as_str(), 72),
        last_check_in: last_check_in(web, language, appliance),
        license_until: license_until(web, language, appliance),
    };
    TenantView {
        id: tenant.id.0,
        company: truncate(tenant.company_name.as_str(), 300),
        edition: edition(web, (language, Audience::Customers), record),
        status: web.label(language, "status", tenant.status.as_str()),
        registered: date(web.texts(language), tenant.registered_at),
        appliances: record.appliances.iter().take(APPLIANCES).map(appliance).collect(),
        more: more_appliances(web, language, record.appliances.len(), APPLIANCES),
        may_reissue: !tenant.status.is_closed(),
    }
}

pub(crate) async fn reissue_page(
    State(app): State<AppState>,
    language: Language,
    customer: Customer,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let record = app.registry.open_tenant_of(&customer.contact, TenantId(id)).await?;
    let web = app.web()?;
    let values =
        [("company", record.tenant.company_name.as_str()), ("email", customer.contact.as_str())];
    let lead = web.text(language, "reissue_lead", &values);
    let (csrf, form) = (customer.session.csrf(), app.registry.new_id().to_string());
    web.page("reissue.html", language, StatusCode::OK, context! { lead, csrf, form })
}

pub(crate) async fn reissue(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    customer: Customer,
    Path(id): Path<Uuid>,
    Form(form): Form<SessionForm>,
) -> Result<Response, ApiError> {
    let session = &customer.session;
    if !session.csrf_matches(&form.csrf) {
        let form_path = format!("/portal/tenants/{id}/reissue");
        return expired_form_page(app.web()?, (language, Audience::Customers), &form_path);
    }
    app.registry.open_tenant_of(&customer.contact, TenantId(id)).await?;
    let key = form_key(format!("portal {}", session.principal.name), &form.form, &id.to_string());
    let dedupe_digest = key.as_ref().map(IdempotencyKey::dedupe_digest);
    app.registry.count_mail_request(
        source,
        MailRequest::Reissue(&customer.contact),
        dedupe_digest,
    )?;
    reissue_by_mail(&app, id, key, session.customer_actor(source)).await?;
    let done = session.done_value("reissue");
    Ok(Redirect::to(&format!("/portal?done={done}")).into_response())
}

/// Redirects to a new link to the current image. The customer needs a tenant that is neither
/// suspended nor cancelled.
pub(crate) async fn download(
    State(app): State<AppState>,
    Client(source): Client,
    customer: Customer,
) -> Result<Response, ApiError> {
    let link = app.registry.portal_download(&customer.contact, source).await?;
    Ok(Redirect::to(link.expose()).into_response())
}
