//! The mail templates. Those in the vendor's folder replace the embedded ones.

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;

macro_rules! embedded {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../templates/", $name)))),+]
    };
}

/// The embedded templates, with their file names.
const EMBEDDED: &[(&str, &str)] = embedded![
    "layout.html",
    "install_code.subject",
    "install_code.txt",
    "install_code.html",
    "portal_link.subject",
    "portal_link.txt",
    "portal_link.html",
];

/// Reasons why the templates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The vendor's folder cannot be read.
    #[error("{path} cannot be read: {error}", path = .0.display(), error = .1)]
    Unreadable(PathBuf, std::io::Error),
    /// The vendor's folder has a file that is not a template. A misspelt template would otherwise
    /// be ignored silently.
    #[error(
        "{path} is not a mail template; known are {names}",
        path = .0.display(),
        names = names()
    )]
    Unknown(PathBuf),
    /// A template is broken.
    #[error("the mail template {0}")]
    Broken(String),
}

/// Templates of a mail that no longer exists. A folder that has them is still accepted.
const RETIRED: [&str; 3] =
    ["registration_link.subject", "registration_link.txt", "registration_link.html"];

fn names() -> String {
    EMBEDDED.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// A rendered mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Subject, on one line.
    pub subject: String,
    /// Plain text body.
    pub text: String,
    /// HTML body.
    pub html: String,
}

pub(crate) struct Templates(Environment<'static>);

impl Templates {
    /// Loads the embedded templates, and then those in `folder`, which replace them.
    pub(crate) fn load(folder: Option<&Path>) -> Result<Self, TemplateError> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        let is_html =
            |name: &str| Path::new(name).extension().is_some_and(|extension| extension == "html");
        templates.set_auto_escape_callback(move |name| {
            if is_html(name) { AutoEscape::Html } else { AutoEscape::None }
        });
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        templates.set_syntax(syntax.map_err(|error| broken("syntax", &error))?);
        for (name, text) in EMBEDDED {
            templates.add_template(name, text).map_err(|error| broken(name, &error))?;
        }
        for (name, text) in folder.map(read).transpose()?.unwrap_or_default() {
            templates.add_template_owned(name, text).map_err(|error| broken(name, &error))?;
        }
        Ok(Self(templates))
    }

    /// Renders the three templates of a mail.
    pub(crate) fn render(
        &self,
        mail: &str,
        view: &impl Serialize,
    ) -> Result<Rendered, TemplateError> {
        let part = |kind: &str| {
            let name = format!("{mail}.{kind}");
            let rendered =
                self.0.get_template(&name).and_then(|template| template.render(Serde(view)));
            rendered.map_err(|error| broken(&name, &error))
        };
        Ok(Rendered {
            subject: one_line(&part("subject")?),
            text: part("txt")?,
            html: part("html")?,
        })
    }
}

fn broken(name: &str, error: &minijinja::Error) -> TemplateError {
    let line = error.line().map(|line| format!(", line {line}")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    TemplateError::Broken(format!("`{name}` is broken{line}: {}{detail}", error.kind()))
}

/// Reads the vendor's templates.
fn read(folder: &Path) -> Result<Vec<(&'static str, String)>, TemplateError> {
    let unreadable = |path: &Path, error| TemplateError::Unreadable(path.to_owned(), error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if file_name.starts_with('.') || RETIRED.contains(&file_name.as_str()) {
            continue;
        }
        let known = EMBEDDED.iter().find(|(name, _)| *name == file_name);
        let (name, _) = known.ok_or_else(|| TemplateError::Unknown(path.clone()))?;
        found.push((
            *name,
            std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?,
        ));
    }
    Ok(found)
}

/// Joins the lines of a text, for a header.
fn one_line(text: &str) -> String {
    // A mail program would decode an encoded word (RFC 2047), so a company's name could forge a
    // subject. With a word joiner inside, it is plain text.
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace("=?", "=\u{2060}?")
}

#[cfg(test)]
mod tests {
    use lettre::Message as Email;

    use super::*;

    #[test]
    fn encoded_word_stays_text() {
        let subject = one_line("Acme =?utf-8?q?Call_1-900?=\r\nLtd");
        assert_eq!(subject, "Acme =\u{2060}?utf-8?q?Call_1-900?= Ltd");
        let mail = Email::builder()
            .from("a@b.example".parse().unwrap())
            .to("c@d.example".parse().unwrap());
        let mail = mail.subject(subject).body(String::new()).unwrap().formatted();
        let read = mail_parser::MessageParser::default()
            .parse(&mail)
            .unwrap()
            .subject()
            .unwrap()
            .to_owned();
        assert!(read.contains("utf-8?q?Call_1-900?="), "{read}");
    }
}
