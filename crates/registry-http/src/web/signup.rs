//! `/signup`: customers register a company. The install code is sent by mail only, which proves
//! that the address is theirs.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use minijinja::context;
use minijinja::value::Serde;
use registry_core::audit::Actor;
use registry_core::edition::EditionName;
use registry_core::rate_limit::Source;
use registry_core::refusal::Refusal;
use registry_core::registry::idempotency::IdempotencyKey;
use registry_core::registry::register::NewTenant;
use registry_core::registry::sign_in::MailRequest;
use registry_core::signup::{self, FieldError, chosen};
use registry_core::tenant::TenantOrigin;
use registry_core::text::EmailAddress;
use serde::{Deserialize, Serialize};

use super::errors::refusal_text;
use super::form::Form;
use super::language::Language;
use super::pages::{Audience, WebPages};
use crate::app::AppState;
use crate::idempotency::form_key;
use crate::problem::ApiError;
use crate::source::Client;

/// The fields of the registration form.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SignupForm {
    #[serde(rename = "form")]
    id: String,
    company_name: String,
    contact_name: String,
    contact_email: String,
    edition: String,
    product_code: String,
    /// A field that people do not see, and that spam programs fill in.
    leave_empty: String,
}

#[derive(Serialize)]
struct FieldView {
    name: &'static str,
    label: String,
    hint: Option<String>,
    kind: &'static str,
    autocomplete: &'static str,
    value: String,
    required: bool,
    options: Vec<ChoiceView>,
    problem: Option<String>,
}

/// A problem with one field of the form, or with the form as a whole.
#[derive(Serialize)]
struct FormProblem {
    field: Option<&'static str>,
    /// Label of the field.
    label: Option<String>,
    text: String,
}

impl FormProblem {
    fn new(web: &WebPages, language: Language, field: Option<&'static str>, text: String) -> Self {
        Self { field, label: field.map(|field| web.text(language, label_key(field), &[])), text }
    }
}

/// An option of a field.
#[derive(Serialize)]
struct ChoiceView {
    value: String,
    label: String,
}

/// An edition that customers buy at the vendor's checkout.
#[derive(Serialize)]
struct EditionOffer<'a> {
    name: &'a str,
    url: String,
}

/// Returns the catalogue key of a field's label.
fn label_key(field: &str) -> &'static str {
    match field {
        "company_name" => "signup_company",
        "contact_name" => "signup_name",
        "contact_email" => "signup_email",
        "product_code" => "signup_product",
        _ => "signup_edition",
    }
}

pub(crate) async fn signup_page(
    State(app): State<AppState>,
    language: Language,
) -> Result<Response, ApiError> {
    let form = SignupForm { id: app.registry.new_id().to_string(), ..SignupForm::default() };
    form_page(&app, language, &form, StatusCode::OK, &[])
}

pub(crate) async fn register(
    State(app): State<AppState>,
    Client(source): Client,
    language: Language,
    Form(form): Form<SignupForm>,
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let problems = check(web, language, &form);
    if !problems.is_empty() {
        return form_page(&app, language, &form, StatusCode::UNPROCESSABLE_ENTITY, &problems);
    }
    if !form.leave_empty.is_empty() {
        tracing::info!(%source, "a registration form filled in by a program was dropped");
        return sent_page(web, language, &form);
    }
    match register_tenant(&app, source, &form).await {
        Ok(()) => sent_page(web, language, &form),
        Err(error) => refused_page(&app, language, form, error),
    }
}

async fn register_tenant(
    app: &AppState,
    source: Source,
    form: &SignupForm,
) -> Result<(), ApiError> {
    let new = new_tenant(app.web()?, form);
    let contact = EmailAddress::parse(&form.contact_email)?;
    let dedupe_digest = new.key.as_ref().map(IdempotencyKey::dedupe_digest);
    app.registry.count_mail_request(source, MailRequest::Registration(&contact), dedupe_digest)?;
    let actor = Actor { name: "signup".to_owned(), source: source.to_string() };
    app.registry.tenant_register(new, actor).await?;
    Ok(())
}

/// The form again, with all entries and the problem above it. Errors that are not about the form
/// are returned.
fn refused_page(
    app: &AppState,
    language: Language,
    form: SignupForm,
    error: ApiError,
) -> Result<Response, ApiError> {
    let Some(problem) = problem_of(app.web()?, language, &error) else { return Err(error) };
    let form = if error.refusal == Some(Refusal::KeyReused) {
        // Under its old id, the form would be refused forever.
        SignupForm { id: app.registry.new_id().to_string(), ..form }
    } else {
        form
    };
    let mut page = form_page(app, language, &form, error.status, &[problem])?;
    let retry_after = error.into_response().headers().get(header::RETRY_AFTER).cloned();
    page.headers_mut().extend(retry_after.map(|value| (header::RETRY_AFTER, value)));
    Ok(page)
}

/// Returns an error as a problem of the form: an invalid entry, a form sent before with other
/// entries, a rate limit, or an overloaded service.
fn problem_of(web: &WebPages, language: Language, error: &ApiError) -> Option<FormProblem> {
    let problem = |field, text| Some(FormProblem::new(web, language, field, text));
    let text = |key: &str| web.text(language, key, &[]);
    let Some(refusal) = &error.refusal else {
        let is_overloaded = error.status == StatusCode::SERVICE_UNAVAILABLE;
        return if is_overloaded { problem(None, text("overloaded")) } else { None };
    };
    if *refusal == Refusal::KeyReused {
        problem(Some("company_name"), text("signup_form_reused"))
    } else if let Refusal::Invalid { field, .. } = refusal {
        problem(Some(*field), text("mistake_text"))
    } else if matches!(refusal, Refusal::RateLimited { .. } | Refusal::Overloaded { .. }) {
        problem(None, refusal_text(web, (language, Audience::Customers), refusal))
    } else {
        None
    }
}

fn new_tenant(web: &WebPages, form: &SignupForm) -> NewTenant {
    let fields = [
        &form.company_name,
        &form.contact_name,
        &form.contact_email,
        &form.edition,
        &form.product_code,
    ];
    let content = fields.map(|field| field.trim()).join("\u{1f}");
    let service = &web.settings.self_service;
    NewTenant {
        company_name: form.company_name.clone(),
        contact_name: Some(form.contact_name.clone()),
        contact_email: form.contact_email.clone(),
        edition: chosen(&service.editions, &form.edition).to_owned(),
        product_code: Some(chosen(&service.products, &form.product_code).to_owned()),
        send_email: true,
        key: form_key("signup".to_owned(), &form.id, &content),
        origin: TenantOrigin::SignUp,
        ..NewTenant::default()
    }
}

/// Returns all mistakes in the form, each with its field.
fn check(web: &WebPages, language: Language, form: &SignupForm) -> Vec<FormProblem> {
    let typed = signup::SignupEntries {
        company_name: &form.company_name,
        contact_name: &form.contact_name,
        contact_email: &form.contact_email,
        edition: &form.edition,
        product_code: &form.product_code,
    };
    let problem = |(field, mistake): (&'static str, FieldError)| {
        let text = web.text(language, &format!("mistake_{mistake}"), &[]);
        FormProblem::new(web, language, Some(field), text)
    };
    web.settings.self_service.mistakes(&typed).into_iter().map(problem).collect()
}

fn form_page(
    app: &AppState,
    language: Language,
    form: &SignupForm,
    status: StatusCode,
    problems: &[FormProblem],
) -> Result<Response, ApiError> {
    let web = app.web()?;
    let (fields, offers) = (fields(web, language, form, problems), offers(app, web));
    let values = context! {
        form => form.id.clone(),
        fields => Serde(&fields),
        problems => Serde(problems),
        offers => Serde(&offers),
    };
    web.page("signup.html", language, status, values)
}

/// The fields of the form. Editions and products are fields only if there are several to choose
/// from.
fn fields(
    web: &WebPages,
    language: Language,
    form: &SignupForm,
    problems: &[FormProblem],
) -> Vec<FieldView> {
    let text = |key: &str| web.text(language, key, &[]);
    let problem =
        |name: &str| problems.iter().find(|it| it.field == Some(name)).map(|it| it.text.clone());
    let field = |name, kind, autocomplete, value: &str, required| FieldView {
        name,
        label: text(label_key(name)),
        hint: None,
        kind,
        autocomplete,
        value: value.to_owned(),
        required,
        options: Vec::new(),
        problem: problem(name),
    };
    let email = field("contact_email", "email", "email", &form.contact_email, true);
    let mut fields = vec![
        field("company_name", "text", "organization", &form.company_name, true),
        field("contact_name", "text", "name", &form.contact_name, false),
        FieldView { hint: Some(text("signup_email_hint")), ..email },
    ];
    let edition = field("edition", "text", "off", &form.edition, true);
    let product = field("product_code", "text", "off", &form.product_code, true);
    let service = &web.settings.self_service;
    let edition_label = |name: &str| {
        let edition = EditionName::new(name);
        web.settings.editions.label(&edition).to_owned()
    };
    if let Some(options) = options(&service.editions, edition_label) {
        fields.push(FieldView { options, ..edition });
    }
    if let Some(options) = options(&service.products, str::to_owned) {
        fields.push(FieldView { options, ..product });
    }
    fields
}

/// The options to choose from, if there are several.
fn options(names: &[String], label: impl Fn(&str) -> String) -> Option<Vec<ChoiceView>> {
    let option = |name: &String| ChoiceView { value: name.clone(), label: label(name) };
    (names.len() > 1).then(|| names.iter().map(option).collect())
}

/// The editions that customers cannot register here, with their checkout links.
fn offers<'a>(app: &'a AppState, web: &WebPages) -> Vec<EditionOffer<'a>> {
    let Some(url) = &web.settings.checkout_url else { return Vec::new() };
    let catalogue = &app.registry.settings().editions;
    let self_service = &web.settings.self_service.editions;
    let is_sold = |name: &&EditionName| !self_service.iter().any(|it| it == name.as_str());
    let offer = |name: &'a EditionName| EditionOffer {
        name: catalogue.label(name),
        url: url.replace("{edition}", name.as_str()),
    };
    catalogue.names().filter(is_sold).map(offer).collect()
}

fn sent_page(web: &WebPages, language: Language, form: &SignupForm) -> Result<Response, ApiError> {
    let lead = web.text(language, "signup_sent_lead", &[("email", form.contact_email.trim())]);
    web.page("signup_sent.html", language, StatusCode::OK, context! { lead })
}
