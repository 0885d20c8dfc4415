//! `/portal`: a customer signs in by a mailed link, sees the tenants, downloads the image, and gets
//! a fresh install code.

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
use registry_core::release::size_in_words;
use registry_core::secret::SignInToken;
use registry_core::sign_in::Role;
use registry_core::store::TenantRecord;
use registry_core::text::EmailAddress;
use registry_core::{Error, Registry};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::errors::stale;
use super::form::Form;
use super::formatting::{day, edition, last_check_in, license_until, more_appliances, truncate};
use super::language::Language;
use super::pages::{Side, WebPages};
use super::reissue::reissue_by_mail;
use super::session::{Customer, OptionalCustomer, SessionForm, with_cookie};
use crate::app::AppState;
use crate::idempotency::form_key;
use crate::problem::ApiError;
use crate::source::Client;

/// How many appliances of a tenant are shown.
const APPLIANCES: usize = 6;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Typed {
    email: String,
}

/// Which page of the tenants.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct PageQuery {
    cursor: Option<String>,
    /// What was done just now.
    done: String,
}

#[derive(Serialize)]
struct ShownTenant {
    id: Uuid,
    company: String,
    edition: String,
    status: String,
    registered: String,
    appliances: Vec<ShownAppliance>,
    /// How many more appliances it has, where it has.
    more: Option<String>,
    may_reissue: bool,
}

#[derive(Serialize)]
struct ShownAppliance {
    id: String,
    last_check_in: String,
    license_until: String,
}

#[derive(Serialize)]
struct ShownRelease {
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

pub(crate) async fn ask(
    State(app): State<AppState>,
    language: Language,
) -> Result<Response, ApiError> {
    sign_in_form(app.web()?, language, "", None)
}

/// The answer is the same for known and unknown addresses, and does not wait for what is done about
/// it.
pub(crate) async fn mail_link(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    Form(typed): Form<Typed>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let Ok(contact) = EmailAddress::parse(&typed.email) else {
        return sign_in_form(
            web,
            language,
            &typed.email,
            Some(web.text(language, "wrong_email", &[])),
        );
    };
    app.registry.count_mail_request(source, MailRequest::Link(&contact), None)?;
    let minutes = app.registry.settings().sign_in_lifetime.num_minutes().to_string();
    let text =
        web.text(language, "sent_lead", &[("email", contact.as_str()), ("minutes", &minutes)]);
    app.do_later(mail_link_later(app.registry.clone(), contact, source));
    web.message((language, Side::Customers), StatusCode::OK, ("sent_title", text), None)
}

/// Mails the link, at no time that whoever asked could guess: what is done for known addresses only
/// must not be felt by the next request. Where the store is busy it is tried again.
async fn mail_link_later(registry: Arc<Registry>, contact: EmailAddress, source: Source) {
    let milliseconds = registry.draw_id().as_u128() % 500;
    tokio::time::sleep(Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default()))
        .await;
    for _ in 0..3 {
        match registry.sign_in_mail(contact.clone(), source).await {
            Ok(()) => return,
            Err(error) => tracing::error!(cause = %error, "a link that signs in was not mailed"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Following a link changes nothing: scanners do it, too.
pub(crate) async fn link(
    State(app): State<AppState>,
    language: Language,
) -> Result<Response, ApiError> {
    app.web()?.page("link.html", language, StatusCode::OK, context! {})
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
        Ok(opened) => Ok(with_cookie(web, Role::Customer, Some(&opened.token), "/portal")),
        Err(Error::Refused(Refusal::SignInLinkInvalid)) => {
            let text = web.text(language, "link_bad", &[]);
            let again = Some(("/portal/sign-in", "link_again"));
            web.message(
                (language, Side::Customers),
                StatusCode::FORBIDDEN,
                ("link_bad_title", text),
                again,
            )
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn sign_out(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    OptionalCustomer(customer): OptionalCustomer,
    Form(own): Form<SessionForm>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let Some(Customer { session, .. }) = customer else {
        return Ok(Redirect::to("/portal").into_response());
    };
    if !session.has(&own.csrf) {
        return stale(web, (language, Side::Customers), "/portal");
    }
    let (actor, everywhere) = (session.acts_from(source), !own.everywhere.is_empty());
    app.registry.sign_out(&session.token, session.principal, everywhere, actor).await?;
    Ok(with_cookie(web, Role::Customer, None, "/portal/sign-in"))
}

pub(crate) async fn show(
    State(app): State<AppState>,
    language: Language,
    customer: Customer,
    Query(turned): Query<PageQuery>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let cursor = turned.cursor.as_deref().filter(|cursor| !cursor.is_empty());
    let reissued = || web.text(language, "reissue_done", &[("email", customer.contact.as_str())]);
    let notice = (turned.done == customer.session.done("reissue")).then(reissued);
    let (tenants, next) = app.registry.tenants_of(&customer.contact, cursor).await?;
    let tenants: Vec<_> = tenants.iter().map(|record| shown(web, language, record)).collect();
    let may_download = next.is_some() || tenants.iter().any(|tenant| tenant.may_reissue);
    let release = app.registry.release_offered().await?.filter(|_| may_download).map(|release| {
        ShownRelease {
            version: web.text(
                language,
                "download_version",
                &[("version", release.version.as_str())],
            ),
            file_name: release.file_name.clone(),
            size: size_in_words(release.size)
                .replace('.', &web.text(language, "decimal_mark", &[])),
            sha256: release.sha256.clone(),
        }
    });
    let who = web.text(language, "signed_in", &[("who", customer.contact.as_str())]);
    let values = context! {
        who, csrf => customer.session.csrf(), notice, next, tenants => Serde(&tenants), release => release.as_ref().map(Serde),
    };
    web.page("portal.html", language, StatusCode::OK, values)
}

fn shown(web: &WebPages, language: Language, record: &TenantRecord) -> ShownTenant {
    let (tenant, texts) = (&record.tenant, web.texts(language));
    let appliance = |appliance: &Appliance| ShownAppliance {
        id: truncate(appliance.id.as_str(), 72),
        last_check_in: last_check_in(web, language, appliance),
        license_until: license_until(web, language, appliance),
    };
    ShownTenant {
        id: tenant.id.0,
        company: truncate(tenant.company_name.as_str(), 300),
        edition: edition(texts, record),
        status: web.word(language, "status", tenant.status.as_str()),
        registered: day(texts, tenant.registered_at),
        appliances: record.appliances.iter().take(APPLIANCES).map(appliance).collect(),
        more: more_appliances(web, language, record.appliances.len(), APPLIANCES),
        may_reissue: !tenant.status.is_closed(),
    }
}

/// The tenant, where it is the customer's, and open. Another's is as good as none.
async fn own_tenant(
    app: &AppState,
    customer: &Customer,
    id: Uuid,
) -> Result<TenantRecord, ApiError> {
    let own = app
        .registry
        .tenant_of(&customer.contact, TenantId(id))
        .await?
        .ok_or(Refusal::TenantNotFound)?;
    if own.tenant.status.is_closed() { Err(Refusal::TenantSuspended.into()) } else { Ok(own) }
}

pub(crate) async fn reissue(
    State(app): State<AppState>,
    language: Language,
    customer: Customer,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let record = own_tenant(&app, &customer, id).await?;
    let web = app.web()?;
    let gaps =
        [("company", record.tenant.company_name.as_str()), ("email", customer.contact.as_str())];
    let lead = web.text(language, "reissue_lead", &gaps);
    let values = context! { lead, csrf => customer.session.csrf(), form => app.registry.draw_id().to_string() };
    web.page("reissue.html", language, StatusCode::OK, values)
}

pub(crate) async fn reissue_now(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    customer: Customer,
    Path(id): Path<Uuid>,
    Form(own): Form<SessionForm>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    if !customer.session.has(&own.csrf) {
        return stale(web, (language, Side::Customers), &format!("/portal/tenants/{id}/reissue"));
    }
    own_tenant(&app, &customer, id).await?;
    let key =
        form_key(format!("portal {}", customer.session.principal.name), &own.form, &id.to_string());
    let form = key.as_ref().map(IdempotencyKey::counted_by);
    app.registry.count_mail_request(source, MailRequest::Reissue(&customer.contact), form)?;
    reissue_by_mail(&app, id, key, customer.session.acts_from(source)).await?;
    let done = customer.session.done("reissue");
    Ok(Redirect::to(&format!("/portal?done={done}")).into_response())
}

/// A fresh link to the current image, for whoever has a tenant that is not closed.
pub(crate) async fn download(
    State(app): State<AppState>,
    Client(source): Client,
    customer: Customer,
) -> Result<Response, ApiError> {
    let link = app.registry.download_offered(&customer.contact, source).await?;
    Ok(Redirect::to(link.expose()).into_response())
}
