//! `/signup`: a customer registers. The code goes by mail only, which proves the inbox.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use minijinja::context;
use minijinja::value::Serde;
use registry_core::audit::Actor;
use registry_core::edition::EditionName;
use registry_core::refusal::Refusal;
use registry_core::registry::idempotency::IdempotencyKey;
use registry_core::registry::register::NewTenant;
use registry_core::registry::sign_in::MailRequest;
use registry_core::signup::{self, Mistake, chosen};
use registry_core::text::EmailAddress;
use serde::{Deserialize, Serialize};

use super::errors::why;
use super::form::Form;
use super::language::Language;
use super::pages::WebPages;
use crate::app::AppState;
use crate::idempotency::form_key;
use crate::problem::ApiError;
use crate::source::Client;

/// What was typed.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Typed {
    form: String,
    company_name: String,
    contact_name: String,
    contact_email: String,
    edition: String,
    product_code: String,
    /// Nobody sees this field; programs fill it in.
    leave_empty: String,
}

/// A field as it is shown.
#[derive(Serialize)]
struct Field {
    name: &'static str,
    label: String,
    hint: Option<String>,
    kind: &'static str,
    autocomplete: &'static str,
    value: String,
    needed: bool,
    options: Vec<String>,
    problem: Option<String>,
}

/// Something that is wrong with the form: with a field of it, or with all of it.
#[derive(Serialize)]
struct Problem {
    field: Option<&'static str>,
    /// What the field is called.
    label: Option<String>,
    text: String,
}

impl Problem {
    fn new(web: &WebPages, language: Language, field: Option<&'static str>, text: String) -> Self {
        Self { field, label: field.map(|field| web.text(language, named(field), &[])), text }
    }
}

/// An edition that is bought elsewhere.
#[derive(Serialize)]
struct Bought<'a> {
    name: &'a str,
    url: String,
}

/// The name of a field's label.
fn named(field: &str) -> &'static str {
    match field {
        "company_name" => "signup_company",
        "contact_name" => "signup_name",
        "contact_email" => "signup_email",
        "product_code" => "signup_product",
        _ => "signup_edition",
    }
}

pub(crate) async fn show(
    State(app): State<AppState>,
    language: Language,
) -> Result<Response, ApiError> {
    let typed = Typed { form: app.registry.draw_id().to_string(), ..Typed::default() };
    form(&app, language, &typed, StatusCode::OK, &[])
}

pub(crate) async fn register(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    Form(typed): Form<Typed>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let problems = check(web, language, &typed);
    if !problems.is_empty() {
        return form(&app, language, &typed, StatusCode::UNPROCESSABLE_ENTITY, &problems);
    }
    if !typed.leave_empty.is_empty() {
        tracing::info!(%source, "a form with every field filled in, as programs do, was dropped");
        return done(web, language, &typed);
    }
    let new = new_tenant(web, &typed);
    let contact = EmailAddress::parse(&typed.contact_email)?;
    let counted = app.registry.count_mail_request(
        source,
        MailRequest::Registration(&contact),
        new.key.as_ref().map(IdempotencyKey::counted_by),
    );
    if let Err(refusal) = counted {
        return refused(&app, language, typed, refusal.into());
    }
    let actor = Actor { name: "signup".to_owned(), source: source.to_string() };
    match app.registry.tenant_register(new, actor).await {
        Ok(_) => done(web, language, &typed),
        Err(error) => refused(&app, language, typed, error.into()),
    }
}

/// What goes wrong is said above the form, with all that was typed: a mistake, too much, a form
/// that was sent before with other contents, or a failure of ours.
fn refused(
    app: &AppState,
    language: Language,
    typed: Typed,
    error: ApiError,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let (field, text, typed) = match &error.refusal {
        Some(Refusal::KeyReused) => {
            let fresh = Typed { form: app.registry.draw_id().to_string(), ..typed };
            (Some("company_name"), web.text(language, "wrong_again", &[]), fresh)
        }
        Some(Refusal::Invalid { field, .. }) => {
            (Some(*field), web.text(language, "wrong_text", &[]), typed)
        }
        Some(refusal @ Refusal::TooOften { .. }) => (None, why(web, language, refusal), typed),
        None if error.status == StatusCode::SERVICE_UNAVAILABLE => {
            (None, web.text(language, "busy", &[]), typed)
        }
        Some(_) | None => return Err(error),
    };
    let mut page =
        form(app, language, &typed, error.status, &[Problem::new(web, language, field, text)])?;
    let again = error.into_response().headers().get(header::RETRY_AFTER).cloned();
    page.headers_mut().extend(again.map(|again| (header::RETRY_AFTER, again)));
    Ok(page)
}

fn new_tenant(web: &WebPages, typed: &Typed) -> NewTenant {
    let fields = [
        &typed.company_name,
        &typed.contact_name,
        &typed.contact_email,
        &typed.edition,
        &typed.product_code,
    ];
    let all = fields.map(|field| field.trim()).join("\u{1f}");
    let service = &web.settings.self_service;
    NewTenant {
        company_name: typed.company_name.clone(),
        contact_name: Some(typed.contact_name.clone()),
        contact_email: typed.contact_email.clone(),
        edition: chosen(&service.editions, &typed.edition).to_owned(),
        product_code: Some(chosen(&service.products, &typed.product_code).to_owned()),
        send_email: true,
        key: form_key("signup".to_owned(), &typed.form, &all),
        ..NewTenant::default()
    }
}

/// Every mistake at once, beside its field.
fn check(web: &WebPages, language: Language, typed: &Typed) -> Vec<Problem> {
    let typed = signup::Typed {
        company_name: &typed.company_name,
        contact_name: &typed.contact_name,
        contact_email: &typed.contact_email,
        edition: &typed.edition,
        product_code: &typed.product_code,
    };
    let problem = |(field, mistake): (&'static str, Mistake)| {
        Problem::new(
            web,
            language,
            Some(field),
            web.text(language, &format!("wrong_{mistake}"), &[]),
        )
    };
    web.settings.self_service.mistakes(&typed).into_iter().map(problem).collect()
}

fn form(
    app: &AppState,
    language: Language,
    typed: &Typed,
    status: StatusCode,
    problems: &[Problem],
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let label = |name: &str| web.text(language, name, &[]);
    let problem =
        |name: &str| problems.iter().find(|it| it.field == Some(name)).map(|it| it.text.clone());
    let field = |name, kind, autocomplete, value: &str, needed| Field {
        name,
        label: label(named(name)),
        hint: None,
        kind,
        autocomplete,
        value: value.to_owned(),
        needed,
        options: Vec::new(),
        problem: problem(name),
    };
    let email = field("contact_email", "email", "email", &typed.contact_email, true);
    let mut fields = vec![
        field("company_name", "text", "organization", &typed.company_name, true),
        field("contact_name", "text", "name", &typed.contact_name, false),
        Field { hint: Some(label("signup_email_hint")), ..email },
    ];
    let edition = field("edition", "text", "off", &typed.edition, true);
    let product = field("product_code", "text", "off", &typed.product_code, true);
    let service = &web.settings.self_service;
    for (choice, options) in [(edition, &service.editions), (product, &service.products)] {
        if options.len() > 1 {
            fields.push(Field { options: options.clone(), ..choice });
        }
    }
    let editions = app.registry.settings().editions.names().map(EditionName::as_str);
    let others = editions.filter(|name| !service.editions.iter().any(|it| it == name));
    let bought: Vec<_> = match &web.settings.checkout_url {
        Some(url) => {
            others.map(|name| Bought { name, url: url.replace("{edition}", name) }).collect()
        }
        None => Vec::new(),
    };
    let values = context! {
        form => typed.form.clone(), fields => Serde(&fields), problems => Serde(problems), bought => Serde(&bought),
    };
    web.page("signup.html", language, status, values)
}

fn done(web: &WebPages, language: Language, typed: &Typed) -> Result<Response, ApiError> {
    let lead = web.text(language, "done_lead", &[("email", typed.contact_email.trim())]);
    web.page("done.html", language, StatusCode::OK, context! { lead })
}
