//! `/portal`: a customer signs in by a mailed link, sees the tenants, downloads the image, and gets a fresh install code.

use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use minijinja::context;
use minijinja::value::Serde;
use registry_core::appliance::Appliance;
use registry_core::audit::Actor;
use registry_core::guesses::Source;
use registry_core::id::TenantId;
use registry_core::refusal::Refusal;
use registry_core::registry::reissue::Reissue;
use registry_core::release::size_in_words;
use registry_core::secret::SignInToken;
use registry_core::sign_in::Role;
use registry_core::store::{TenantRecord, TenantSelector};
use registry_core::text::EmailAddress;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::language::{Catalogue, Language, day};
use super::limit::asked_too_often;
use super::pages::{Door, Side};
use super::refusals::{stale, why};
use super::visitor::{Customer, MaybeCustomer, Own, SignedIn, with_cookie};
use crate::app::App;
use crate::endpoints::detached;
use crate::idempotency::form_key;
use crate::problem::ApiError;
use crate::source::Client;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    email: String,
}

/// Which page of the tenants.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Turned {
    cursor: Option<String>,
}

#[derive(Serialize)]
struct ShownTenant {
    id: Uuid,
    company: String,
    edition: String,
    status: String,
    registered: String,
    appliances: Vec<ShownAppliance>,
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

fn sign_in_form(door: &Door, language: Language, email: &str, problem: Option<String>) -> Result<Response, ApiError> {
    let status = if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    door.page("sign_in.html", language, status, context! { email, problem })
}

pub(crate) async fn ask(State(app): State<App>, language: Language) -> Result<Response, ApiError> {
    sign_in_form(app.door()?, language, "", None)
}

/// The answer is the same for known and unknown addresses, and does not wait for what is done about it.
pub(crate) async fn mail_link(
    State(app): State<App>,
    Client(source): Client,
    language: Language,
    Form(asked): Form<Asked>,
) -> Result<Response, ApiError> {
    let door = app.door()?;
    let Ok(contact) = EmailAddress::parse(&asked.email) else {
        return sign_in_form(door, language, &asked.email, Some(door.text(language, "wrong_email", &[])));
    };
    if let Some(refused) = asked_too_often(&app, language, source, Some(&contact))? {
        return Ok(refused);
    }
    let minutes = app.registry.settings().sign_in_lifetime.num_minutes().to_string();
    let text = door.text(language, "sent_lead", &[("email", contact.as_str()), ("minutes", &minutes)]);
    let registry = app.registry.clone();
    tokio::spawn(async move {
        if let Err(error) = registry.sign_in_mail(contact, source).await {
            tracing::error!(cause = %error, "no link that signs in was mailed");
        }
    });
    door.message((language, Side::Customers), StatusCode::OK, ("sent_title", text), None)
}

/// Following a link changes nothing: scanners do it, too.
pub(crate) async fn link(State(app): State<App>, language: Language) -> Result<Response, ApiError> {
    app.door()?.page("link.html", language, StatusCode::OK, context! {})
}

pub(crate) async fn sign_in(
    State(app): State<App>,
    Client(source): Client,
    language: Language,
    MaybeCustomer(earlier): MaybeCustomer,
    Path(token): Path<String>,
) -> Result<Response, ApiError> {
    let door = app.door()?;
    let (registry, token) = (app.registry.clone(), SignInToken::new(token));
    let signing_in = async move {
        let opened = registry.sign_in(&token, source).await?;
        // The browser forgets its earlier session: nobody could end that one any more.
        if let Some(Customer { session, .. }) = earlier {
            let actor = actor(&session, source);
            registry.sign_out(&session.token, session.visitor, false, actor).await?;
        }
        Ok(opened)
    };
    let opened = match detached(signing_in).await {
        Ok(opened) => opened,
        Err(error) if matches!(error.refusal, Some(Refusal::SignInLinkInvalid)) => {
            let text = door.text(language, "link_bad", &[]);
            let again = Some(("/portal/sign-in", "link_again"));
            return door.message((language, Side::Customers), StatusCode::FORBIDDEN, ("link_bad_title", text), again);
        }
        Err(error) => return Err(error),
    };
    Ok(with_cookie(door, Role::Customer, Some(&opened.token), "/portal"))
}

/// Who acts in a customer's session, for the audit.
fn actor(session: &SignedIn, source: Source) -> Actor {
    Actor { name: format!("customer:{}", session.visitor.name), source: source.to_string() }
}

pub(crate) async fn sign_out(
    State(app): State<App>,
    Client(source): Client,
    language: Language,
    MaybeCustomer(customer): MaybeCustomer,
    Form(own): Form<Own>,
) -> Result<Response, ApiError> {
    let door = app.door()?;
    let Some(Customer { session, .. }) = customer else { return Ok(Redirect::to("/portal").into_response()) };
    if !session.has(&own.csrf) {
        return stale(door, (language, Side::Customers), "/portal");
    }
    let (registry, actor, everywhere) = (app.registry.clone(), actor(&session, source), !own.everywhere.is_empty());
    detached(async move { registry.sign_out(&session.token, session.visitor, everywhere, actor).await }).await?;
    Ok(with_cookie(door, Role::Customer, None, "/portal/sign-in"))
}

pub(crate) async fn show(
    State(app): State<App>,
    language: Language,
    MaybeCustomer(customer): MaybeCustomer,
    Query(turned): Query<Turned>,
) -> Result<Response, ApiError> {
    let Some(customer) = customer else { return Ok(Redirect::to("/portal/sign-in").into_response()) };
    let cursor = turned.cursor.as_deref().filter(|cursor| !cursor.is_empty());
    overview(&app, language, &customer, cursor, None).await
}

async fn overview(
    app: &App,
    language: Language,
    customer: &Customer,
    cursor: Option<&str>,
    notice: Option<String>,
) -> Result<Response, ApiError> {
    let door = app.door()?;
    let texts = door.texts(language);
    let (tenants, next) = app.registry.tenants_of(&customer.contact, cursor).await?;
    let tenants: Vec<_> = tenants.iter().map(|record| shown(record, texts)).collect();
    let release = app.registry.release_offered().await?.map(|release| ShownRelease {
        version: door.text(language, "download_version", &[("version", release.version.as_str())]),
        file_name: release.file_name.clone(),
        size: size_in_words(release.size).replace('.', &door.text(language, "decimal_mark", &[])),
        sha256: release.sha256.clone(),
    });
    let who = door.text(language, "signed_in", &[("who", customer.contact.as_str())]);
    let values = context! {
        who, csrf => customer.session.csrf(), notice, next, tenants => Serde(&tenants), release => release.as_ref().map(Serde),
    };
    door.page("portal.html", language, StatusCode::OK, values)
}

fn shown(record: &TenantRecord, texts: &Catalogue) -> ShownTenant {
    let tenant = &record.tenant;
    let text = |name: &str| texts.get(name).cloned().unwrap_or_default();
    let appliance = |appliance: &Appliance| ShownAppliance {
        id: appliance.id.to_string(),
        last_check_in: appliance.last_check_in_at.map_or_else(|| text("never"), |at| day(texts, at)),
        license_until: match (&appliance.license, appliance.revoked_at) {
            (_, Some(_)) => text("revoked"),
            (Some(license), None) => day(texts, license.expires_at),
            (None, None) => "–".to_owned(),
        },
    };
    ShownTenant {
        id: tenant.id.0,
        company: tenant.company_name.to_string(),
        edition: tenant.edition.to_string(),
        status: text(&format!("status_{}", tenant.status.as_str())),
        registered: day(texts, tenant.registered_at),
        appliances: record.appliances.iter().map(appliance).collect(),
        may_reissue: !tenant.status.is_closed(),
    }
}

/// The tenant, where it is the customer's, and open. Another's is as good as none.
async fn own_tenant(app: &App, customer: &Customer, id: Uuid) -> Result<Option<TenantRecord>, ApiError> {
    let own = app.registry.tenant_of(&customer.contact, TenantId(id)).await?;
    Ok(own.filter(|record| !record.tenant.status.is_closed()))
}

pub(crate) async fn reissue(
    State(app): State<App>,
    language: Language,
    MaybeCustomer(customer): MaybeCustomer,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let Some(customer) = customer else { return Ok(Redirect::to("/portal/sign-in").into_response()) };
    let Some(record) = own_tenant(&app, &customer, id).await? else {
        return Ok(Redirect::to("/portal").into_response());
    };
    let door = app.door()?;
    let gaps = [("company", record.tenant.company_name.as_str()), ("email", customer.contact.as_str())];
    let lead = door.text(language, "reissue_lead", &gaps);
    let values = context! { lead, csrf => customer.session.csrf(), form => app.registry.draw_id().to_string() };
    door.page("reissue.html", language, StatusCode::OK, values)
}

pub(crate) async fn reissue_now(
    State(app): State<App>,
    Client(source): Client,
    language: Language,
    MaybeCustomer(customer): MaybeCustomer,
    Path(id): Path<Uuid>,
    Form(own): Form<Own>,
) -> Result<Response, ApiError> {
    let Some(customer) = customer else { return Ok(Redirect::to("/portal/sign-in").into_response()) };
    let door = app.door()?;
    if !customer.session.has(&own.csrf) {
        return stale(door, (language, Side::Customers), &format!("/portal/tenants/{id}/reissue"));
    }
    if own_tenant(&app, &customer, id).await?.is_none() {
        return Ok(Redirect::to("/portal").into_response());
    }
    if let Some(refused) = asked_too_often(&app, language, source, Some(&customer.contact))? {
        return Ok(refused);
    }
    let key = form_key(format!("portal {}", customer.session.visitor.name), &own.form, &id.to_string());
    let reissue = Reissue { selector: TenantSelector::Id(TenantId(id)), strict: false, send_email: true, key };
    let (registry, actor) = (app.registry.clone(), actor(&customer.session, source));
    match detached(async move { registry.code_reissue(reissue, actor).await }).await {
        Ok(_) => {
            let notice = door.text(language, "reissue_done", &[("email", customer.contact.as_str())]);
            overview(&app, language, &customer, None, Some(notice)).await
        }
        Err(error) => match &error.refusal {
            Some(refusal) => {
                let text = door.text(language, "reissue_refused", &[("problem", &why(door, language, refusal))]);
                let reader = (language, Side::Customers);
                door.message(reader, error.status, ("reissue_title", text), Some(("/portal", "back")))
            }
            None => Err(error),
        },
    }
}

/// A fresh link to the current image, for whoever has a tenant that is not closed.
pub(crate) async fn download(
    State(app): State<App>,
    MaybeCustomer(customer): MaybeCustomer,
) -> Result<Response, ApiError> {
    let Some(customer) = customer else { return Ok(Redirect::to("/portal/sign-in").into_response()) };
    if app.registry.newest_open(&customer.contact).await?.is_none() {
        return Ok(Redirect::to("/portal").into_response());
    }
    let link = app.registry.download_offered().await?;
    Ok(link.map_or_else(|| Redirect::to("/portal"), |link| Redirect::to(link.expose())).into_response())
}
