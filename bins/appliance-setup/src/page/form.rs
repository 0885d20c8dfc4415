//! The form, and what may be wrong in it.

use appliance_install::{Admin, EditionChoice, ProvisioningMethod, SecretText, SetupForm};
use serde::{Deserialize, Serialize};

use crate::rules::{is_email, is_token, unfit, weakness};

/// What was typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Form {
    pub(crate) csrf: String,
    way: String,
    code: SecretText,
    edition: String,
    license: SecretText,
    company: String,
    first_name: String,
    last_name: String,
    email: String,
    password: SecretText,
    repeated: SecretText,
}

/// What is shown again: never the password.
#[derive(Clone, Default, Serialize)]
pub(crate) struct Values {
    way: String,
    code: String,
    edition: String,
    license: String,
    company: String,
    first_name: String,
    last_name: String,
    email: String,
}

/// What is wrong in a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    pub(crate) field: &'static str,
    pub(crate) text: String,
}

/// Longer than any code, in characters.
const LONGEST: usize = 200;

impl Values {
    pub(crate) fn of(setup_form: &SetupForm) -> Self {
        let SetupForm { company, admin, way } = setup_form;
        let (code, edition) = match way {
            ProvisioningMethod::Code { code } => (code.expose().to_owned(), ""),
            ProvisioningMethod::Offline => (String::new(), ""),
            ProvisioningMethod::WithoutCode { edition, .. } => (String::new(), edition.as_str()),
        };
        Self {
            way: if edition.is_empty() { "code" } else { "without" }.to_owned(),
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
            way: self.way.clone(),
            code: self.code.expose().to_owned(),
            edition: self.edition.clone(),
            license: self.license.expose().to_owned(),
            company: self.company.clone(),
            first_name: self.first_name.clone(),
            last_name: self.last_name.clone(),
            email: self.email.clone(),
        }
    }

    /// What was entered, if all of it is right; `kept` is the password that was typed before, for
    /// where it is left empty.
    pub(crate) fn check(&self, kept: Option<&SecretText>) -> Result<SetupForm, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |field, text: &str| problems.push(Problem { field, text: text.to_owned() });
        let way = if self.way == "without" {
            self.without_code(&mut wrong)
        } else {
            self.with_code(&mut wrong)
        };
        let company = text("company", "the name of your company", &self.company, &mut wrong);
        let first_name = text("first_name", "the first name", &self.first_name, &mut wrong);
        let last_name = text("last_name", "the last name", &self.last_name, &mut wrong);
        let email = text("email", "the e-mail address", &self.email, &mut wrong);
        if !email.is_empty() && !is_email(&email) {
            wrong("email", "This is not an e-mail address. It looks like name@example.com.");
        }
        let password =
            self.password(kept, &[&company, &first_name, &last_name, &email], &mut wrong);
        let admin = Admin { first_name, last_name, email, password };
        if problems.is_empty() { Ok(SetupForm { company, admin, way }) } else { Err(problems) }
    }

    fn with_code(&self, wrong: &mut impl FnMut(&'static str, &str)) -> ProvisioningMethod {
        let code = self.code.expose().trim();
        if !code.chars().any(char::is_alphanumeric) {
            wrong("code", "Enter the install code from your registration e-mail.");
        } else if code.chars().count() > LONGEST {
            wrong("code", "This is longer than any install code.");
        }
        ProvisioningMethod::Code { code: SecretText::new(code.to_owned()) }
    }

    fn without_code(&self, wrong: &mut impl FnMut(&'static str, &str)) -> ProvisioningMethod {
        let license = Some(self.license.expose().trim().to_owned()).filter(|text| !text.is_empty());
        let edition = match self.edition.as_str() {
            "ee" => EditionChoice::Ee,
            "ce" => EditionChoice::Ce,
            _ => {
                wrong("edition", "Choose an edition.");
                EditionChoice::Ce
            }
        };
        if license.as_deref().is_some_and(|text| !is_token(text)) {
            wrong(
                "license",
                "This is no license: it is one line of letters and digits, with two dots in it.",
            );
        }
        ProvisioningMethod::WithoutCode { edition, license: license.map(SecretText::new) }
    }

    fn password(
        &self,
        kept: Option<&SecretText>,
        others: &[&str],
        wrong: &mut impl FnMut(&'static str, &str),
    ) -> SecretText {
        if let (Some(kept), "", "") = (kept, self.password.expose(), self.repeated.expose()) {
            return kept.clone();
        }
        if let Some(weakness) = weakness(self.password.expose(), others) {
            wrong("password", &weakness);
        } else if self.password != self.repeated {
            wrong("repeated", "The two passwords differ.");
        }
        self.password.clone()
    }
}

fn text(
    field: &'static str,
    what: &str,
    typed: &str,
    wrong: &mut impl FnMut(&'static str, &str),
) -> String {
    let typed = typed.trim();
    if typed.is_empty() {
        wrong(field, &format!("Enter {what}."));
    } else if let Some(problem) = unfit(typed) {
        wrong(field, &problem);
    }
    typed.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(change: impl FnOnce(&mut Form)) -> Form {
        let secret = |text: &str| SecretText::new(text.to_owned());
        let mut form = Form {
            way: "code".into(),
            code: secret(" k7qp m2rx 9tdv "),
            company: " Acme & Söhne ".into(),
            first_name: "Ada".into(),
            last_name: "Lovelace".into(),
            email: "ada@example.com".into(),
            password: secret("correct horse battery staple"),
            repeated: secret("correct horse battery staple"),
            ..Form::default()
        };
        change(&mut form);
        form
    }

    #[test]
    fn a_form_is_taken_as_people_type_it() {
        let setup_form = form(|_| {}).check(None).unwrap();
        assert_eq!(
            (setup_form.company.as_str(), setup_form.admin.email.as_str()),
            ("Acme & Söhne", "ada@example.com")
        );
        assert_eq!(
            setup_form.way,
            ProvisioningMethod::Code { code: SecretText::new("k7qp m2rx 9tdv".into()) }
        );
        let without =
            form(|it| (it.way, it.edition) = ("without".into(), "ce".into())).check(None).unwrap();
        assert_eq!(
            without.way,
            ProvisioningMethod::WithoutCode { edition: EditionChoice::Ce, license: None }
        );
    }

    #[test]
    fn each_mistake_is_named_beside_its_field() {
        let secret = |text: &str| SecretText::new(text.to_owned());
        for (change, field) in [
            ((|it: &mut Form| it.code = SecretText::new(" - ".into())) as fn(&mut Form), "code"),
            (|it| it.code = SecretText::new("K".repeat(300)), "code"),
            (|it| (it.way, it.edition) = ("without".into(), "gold".into()), "edition"),
            (|it| it.company = "  ".into(), "company"),
            (|it| it.company = "A".repeat(201), "company"),
            (|it| it.company = "Acme\u{0}".into(), "company"),
            (|it| it.first_name = String::new(), "first_name"),
            (|it| it.last_name = String::new(), "last_name"),
            (|it| it.email = "ada".into(), "email"),
            (|it| it.email = "ada@".into(), "email"),
            (|it| it.email = "ada lovelace@example.com".into(), "email"),
            (|it| it.password = SecretText::new("short".into()), "password"),
            (|it| it.repeated = SecretText::default(), "repeated"),
        ] {
            let problems = form(change).check(None).unwrap_err();
            assert_eq!(
                problems.iter().map(|problem| problem.field).collect::<Vec<_>>(),
                [field],
                "{problems:?}"
            );
        }
        assert_eq!(Form::default().check(None).unwrap_err().len(), 6, "all of them at once");
        // The password that was typed before.
        let kept = secret("another horse altogether");
        let setup_form =
            form(|it| (it.password, it.repeated) = Default::default()).check(Some(&kept)).unwrap();
        assert_eq!(setup_form.admin.password, kept);
        let changed = form(|_| {}).check(Some(&kept)).unwrap();
        assert_eq!(changed.admin.password, secret("correct horse battery staple"));
    }
}
