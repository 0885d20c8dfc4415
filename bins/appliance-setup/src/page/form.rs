//! The first-boot form, and its validation.

use appliance_install::{Admin, EditionChoice, ProvisioningMethod, SecretText, SetupForm};
use serde::{Deserialize, Serialize};

use crate::rules::{is_compact_jws, is_email, password_problem, text_problem};

/// The form as a browser submits it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Form {
    pub(crate) csrf: String,
    #[serde(rename = "way")]
    method: String,
    code: SecretText,
    edition: String,
    license: SecretText,
    company: String,
    first_name: String,
    last_name: String,
    email: String,
    password: SecretText,
    #[serde(rename = "repeated")]
    password_confirmation: SecretText,
}

/// Values that the form is filled with again. The password is never among them.
#[derive(Clone, Default, Serialize)]
pub(crate) struct Values {
    method: String,
    code: String,
    edition: String,
    license: String,
    company: String,
    first_name: String,
    last_name: String,
    email: String,
}

/// Error in a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    pub(crate) field: &'static str,
    pub(crate) text: String,
}

/// Maximum length of a code, in characters; every real code is shorter.
const MAX_CODE_LENGTH: usize = 200;

impl Values {
    pub(crate) fn new(setup_form: &SetupForm) -> Self {
        let SetupForm { company, admin, method } = setup_form;
        let (code, edition) = match method {
            ProvisioningMethod::Code { code } => (code.expose().to_owned(), ""),
            ProvisioningMethod::Offline => (String::new(), ""),
            ProvisioningMethod::WithoutCode { edition, .. } => (String::new(), edition.as_str()),
        };
        Self {
            method: if edition.is_empty() { "code" } else { "without" }.to_owned(),
            code,
            edition: edition.to_owned(),
            license: String::new(),
            company: company.clone(),
            first_name: admin.first_name.clone(),
            last_name: admin.last_name.clone(),
            email: admin.email.clone(),
        }
    }
}

impl Form {
    pub(crate) fn values(&self) -> Values {
        Values {
            method: self.method.clone(),
            code: self.code.expose().to_owned(),
            edition: self.edition.clone(),
            license: self.license.expose().to_owned(),
            company: self.company.clone(),
            first_name: self.first_name.clone(),
            last_name: self.last_name.clone(),
            email: self.email.clone(),
        }
    }

    /// Validates the form. Empty password fields keep `earlier_password`, the password of an
    /// earlier submission.
    ///
    /// # Errors
    /// All problems, in the order of the fields.
    pub(crate) fn check(
        &self,
        earlier_password: Option<&SecretText>,
    ) -> Result<SetupForm, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut report =
            |field, text: &str| problems.push(Problem { field, text: text.to_owned() });
        let method = if self.method == "without" {
            self.without_code(&mut report)
        } else {
            self.with_code(&mut report)
        };
        let company = text("company", "the name of your company", &self.company, &mut report);
        let first_name = text("first_name", "the first name", &self.first_name, &mut report);
        let last_name = text("last_name", "the last name", &self.last_name, &mut report);
        let email = text("email", "the email address", &self.email, &mut report);
        if !email.is_empty() && !is_email(&email) {
            report("email", "This is not an email address. An example is name@example.com.");
        }
        let related = [&*company, &*first_name, &*last_name, &*email];
        let password = self.password(earlier_password, &related, &mut report);
        let admin = Admin { first_name, last_name, email, password };
        if problems.is_empty() { Ok(SetupForm { company, admin, method }) } else { Err(problems) }
    }

    fn with_code(&self, report: &mut impl FnMut(&'static str, &str)) -> ProvisioningMethod {
        let code = self.code.expose().trim();
        if !code.chars().any(char::is_alphanumeric) {
            report("code", "Enter the install code from your registration email.");
        } else if code.chars().count() > MAX_CODE_LENGTH {
            report("code", "This is too long for an install code.");
        }
        ProvisioningMethod::Code { code: SecretText::new(code.to_owned()) }
    }

    fn without_code(&self, report: &mut impl FnMut(&'static str, &str)) -> ProvisioningMethod {
        let license = Some(self.license.expose().trim().to_owned()).filter(|text| !text.is_empty());
        let edition = match self.edition.as_str() {
            "ee" => EditionChoice::Ee,
            "ce" => EditionChoice::Ce,
            _ => {
                report("edition", "Choose an edition.");
                EditionChoice::Ce
            }
        };
        if license.as_deref().is_some_and(|text| !is_compact_jws(text)) {
            report(
                "license",
                "This is not a license. A license is one line of letters and digits with two dots.",
            );
        }
        ProvisioningMethod::WithoutCode { edition, license: license.map(SecretText::new) }
    }

    fn password(
        &self,
        earlier_password: Option<&SecretText>,
        related: &[&str],
        report: &mut impl FnMut(&'static str, &str),
    ) -> SecretText {
        if let (Some(earlier), "", "") =
            (earlier_password, self.password.expose(), self.password_confirmation.expose())
        {
            return earlier.clone();
        }
        if let Some(problem) = password_problem(self.password.expose(), related) {
            report("password", &problem);
        } else if self.password != self.password_confirmation {
            report("repeated", "The two passwords differ.");
        }
        self.password.clone()
    }
}

/// Validates a required text, and returns it without surrounding spaces.
fn text(
    field: &'static str,
    description: &str,
    value: &str,
    report: &mut impl FnMut(&'static str, &str),
) -> String {
    let value = value.trim();
    if value.is_empty() {
        report(field, &format!("Enter {description}."));
    } else if let Some(problem) = text_problem(value) {
        report(field, &problem);
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(change: impl FnOnce(&mut Form)) -> Form {
        let secret = |text: &str| SecretText::new(text.to_owned());
        let mut form = Form {
            method: "code".into(),
            code: secret(" k7qp m2rx 9tdv "),
            company: " Acme & Söhne ".into(),
            first_name: "Ada".into(),
            last_name: "Lovelace".into(),
            email: "ada@example.com".into(),
            password: secret("correct horse battery staple"),
            password_confirmation: secret("correct horse battery staple"),
            ..Form::default()
        };
        change(&mut form);
        form
    }

    #[test]
    fn valid_form_is_accepted() {
        let setup_form = form(|_| {}).check(None).unwrap();
        assert_eq!(
            (setup_form.company.as_str(), setup_form.admin.email.as_str()),
            ("Acme & Söhne", "ada@example.com")
        );
        assert_eq!(
            setup_form.method,
            ProvisioningMethod::Code { code: SecretText::new("k7qp m2rx 9tdv".into()) }
        );
        let without = form(|it| (it.method, it.edition) = ("without".into(), "ce".into()));
        let without = without.check(None).unwrap();
        assert_eq!(
            without.method,
            ProvisioningMethod::WithoutCode { edition: EditionChoice::Ce, license: None }
        );
    }

    #[test]
    fn each_mistake_names_its_field() {
        for (change, field) in [
            ((|it: &mut Form| it.code = SecretText::new(" - ".into())) as fn(&mut Form), "code"),
            (|it| it.code = SecretText::new("K".repeat(300)), "code"),
            (|it| (it.method, it.edition) = ("without".into(), "gold".into()), "edition"),
            (|it| it.company = "  ".into(), "company"),
            (|it| it.company = "A".repeat(201), "company"),
            (|it| it.company = "Acme\u{0}".into(), "company"),
            (|it| it.first_name = String::new(), "first_name"),
            (|it| it.last_name = String::new(), "last_name"),
            (|it| it.email = "ada".into(), "email"),
            (|it| it.email = "ada@".into(), "email"),
            (|it| it.email = "ada lovelace@example.com".into(), "email"),
            (|it| it.password = SecretText::new("short".into()), "password"),
            (|it| it.password_confirmation = SecretText::default(), "repeated"),
        ] {
            let problems = form(change).check(None).unwrap_err();
            assert_eq!(
                problems.iter().map(|problem| problem.field).collect::<Vec<_>>(),
                [field],
                "{problems:?}"
            );
        }
        assert_eq!(Form::default().check(None).unwrap_err().len(), 6, "all mistakes at once");
    }

    #[test]
    fn empty_password_keeps_the_earlier_one() {
        let earlier = SecretText::new("another horse altogether".to_owned());
        let submitted = form(|it| (it.password, it.password_confirmation) = Default::default());
        let setup_form = submitted.check(Some(&earlier)).unwrap();
        assert_eq!(setup_form.admin.password, earlier);
        let changed = form(|_| {}).check(Some(&earlier)).unwrap();
        assert_eq!(changed.admin.password.expose(), "correct horse battery staple");
    }
}
