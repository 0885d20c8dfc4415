//! Renders mails from templates, as plain text and as HTML (RFC 2046 §5.1.4). The code is neither
//! in the subject nor in a header.

use std::path::Path;

use lettre::message::header::{
    ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue,
};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message as Email};
use registry_core::mail::{MailError, Message, OutgoingMail};

use crate::brand::Brand;
use crate::sample::{self, MailKind};
use crate::templates::{Rendered, TemplateError, Templates};
use crate::view::{InstallCodeView, PortalLinkView};

/// The sender of all mails.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The sender's email address.
    pub address: String,
    /// The sender's branding.
    pub brand: Brand,
}

/// Reasons why a [`Renderer`] cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The sender's address is invalid.
    #[error("the sender `{0}` is not an email address")]
    Sender(String),
    /// A template is invalid.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// Renders mails.
pub struct Renderer {
    templates: Templates,
    from: Mailbox,
    brand: Brand,
}

impl Renderer {
    /// Loads the templates; those in `folder`, the vendor's own, replace the embedded ones. Renders
    /// a sample of every mail, so a broken template is found at the start.
    pub fn new(sender: Sender, folder: Option<&Path>) -> Result<Self, RenderError> {
        let Sender { address, brand } = sender;
        let address: Address = address.parse().map_err(|_| RenderError::Sender(address))?;
        let from = Mailbox::new(Some(brand.product.clone()), address);
        let renderer = Self { templates: Templates::load(folder)?, from, brand };
        for kind in MailKind::ALL {
            renderer.preview(*kind, None)?;
            let sample = renderer.render_message(&sample::message(*kind, None, false))?;
            if matches!(kind, MailKind::InstallCode | MailKind::InstallCodeReissued) {
                check_code(&sample)?;
            }
        }
        Ok(renderer)
    }

    /// Renders a mail with sample contents.
    pub fn preview(
        &self,
        kind: MailKind,
        company: Option<&str>,
    ) -> Result<Rendered, TemplateError> {
        self.render_message(&sample::message(kind, company, true))
    }

    /// Renders the mail as it is sent (RFC 5322). Its `Message-ID` is derived from its id.
    pub(crate) fn render(&self, mail: &OutgoingMail) -> Result<Email, MailError> {
        let permanent = |error: &dyn std::fmt::Display| {
            MailError::Permanent(format!("the mail cannot be rendered: {error}"))
        };
        let Rendered { subject, text, html } =
            self.render_message(&mail.message).map_err(|error| permanent(&error))?;
        let to: Address = mail.to.deliverable().parse().map_err(|error| permanent(&error))?;
        let mut email = Email::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(subject)
            .message_id(Some(format!("<{}@{}>", mail.id, self.from.email.domain())))
            .date(mail.queued_at.into())
            .header(AutoSubmitted);
        if let Some(address) = self.brand.reply_to() {
            email = email.reply_to(Mailbox::new(None, address));
        }
        let parts =
            MultiPart::alternative().singlepart(plain(&text)).singlepart(SinglePart::html(html));
        email.multipart(parts).map_err(|error| permanent(&error))
    }

    fn render_message(&self, message: &Message) -> Result<Rendered, TemplateError> {
        let (templates, brand) = (&self.templates, &self.brand);
        match message {
            Message::InstallCode(message) => {
                let code = message.code.grouped();
                templates.render("install_code", &InstallCodeView::of(brand, message, &code))
            }
            Message::PortalLink(message) => {
                templates.render("portal_link", &PortalLinkView::of(brand, message))
            }
        }
    }
}

/// The plain text part. If RFC 5322 §2.1.1 allows it (ASCII, lines of at most 998 characters), the
/// text is not encoded. So long links stay whole for people who copy them out of a file.
fn plain(text: &str) -> SinglePart {
    let part = SinglePart::builder().header(ContentType::TEXT_PLAIN);
    let lines: Vec<&str> = text.lines().collect();
    if text.is_ascii() && lines.iter().all(|line| line.len() <= 998 && !line.contains(['\0', '\r']))
    {
        let text = lines.join("\r\n") + "\r\n";
        return part.body(Body::dangerous_pre_encoded(
            text.into_bytes(),
            ContentTransferEncoding::SevenBit,
        ));
    }
    part.body(text.to_owned())
}

/// Checks that the templates show the code in both bodies, and not in the subject: a locked screen
/// shows subjects.
fn check_code(rendered: &Rendered) -> Result<(), TemplateError> {
    let problem = match rendered {
        Rendered { text, .. } if !text.contains(sample::CODE) => {
            "`install_code.txt` does not show `{{ code }}`"
        }
        Rendered { html, .. } if !html.contains(sample::CODE) => {
            "`install_code.html` does not show `{{ code }}`"
        }
        Rendered { subject, .. } if subject.contains(sample::CODE) => {
            "`install_code.subject` shows `{{ code }}`"
        }
        Rendered { .. } => return Ok(()),
    };
    Err(TemplateError::Broken(problem.to_owned()))
}

/// The header that keeps automatic replies away (RFC 3834 §5).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brand::BrandSettings;

    fn sender(address: &str) -> Sender {
        Sender { address: address.to_owned(), brand: Brand::new(BrandSettings::default()).unwrap() }
    }

    fn renderer(folder: &Path) -> Result<Renderer, RenderError> {
        Renderer::new(sender("registry@vendor.example"), Some(folder))
    }

    #[test]
    fn invalid_sender_is_refused() {
        assert!(matches!(Renderer::new(sender("nobody"), None), Err(RenderError::Sender(_))));
    }

    #[test]
    fn vendors_template_replaces_embedded_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("portal_link.txt"), "Go to {{ link }}").unwrap();
        std::fs::write(folder.path().join(".portal_link.txt.swp"), "an editor's").unwrap();
        let rendered =
            renderer(folder.path()).unwrap().preview(MailKind::PortalLink, None).unwrap();
        assert!(rendered.text.starts_with("Go to https://"), "{}", rendered.text);
        assert!(rendered.html.contains("<h1"), "other templates stay");
    }

    #[test]
    fn broken_template_is_named_at_start() {
        for (name, text, part) in [
            ("install_code.txt", "{{ code", "install_code.txt"),
            ("install_code.html", "line\n{{ cod }}", "`install_code.html` is broken, line 2"),
            ("install_code.subject", "{{ company.nothing.at.all }}", "install_code.subject"),
            ("install_code.txt", "Your code is on its way", "does not show `{{ code }}`"),
            ("install_code.subject", "{{ code }}", "`install_code.subject` shows"),
            ("install_code.txt", "{{ contact|upper }}{{ contact + 'x' }}", "install_code.txt"),
            ("portal_link.html", "{% if %}", "portal_link.html"),
            (
                "instal_code.txt",
                "",
                "is not a mail template; known are layout.html, install_code.subject",
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(name), text).unwrap();
            let refused = renderer(folder.path()).err().unwrap().to_string();
            assert!(refused.contains(part), "{refused}");
        }
        let missing = renderer(Path::new("/nowhere")).err().unwrap().to_string();
        assert!(missing.contains("/nowhere cannot be read"), "{missing}");
    }

    #[test]
    fn long_link_stays_whole_if_allowed() {
        let long = format!("https://registry.example/{}", "a".repeat(900));
        for (text, whole) in [
            (long.clone(), true),
            ("one\ntwo".to_owned(), true),
            (format!("{long}{}", "a".repeat(100)), false),
            (format!("ü {long}"), false),
            (format!("{long}\rb"), false),
        ] {
            let part = String::from_utf8(plain(&text).formatted()).unwrap();
            assert_eq!(part.contains("Content-Transfer-Encoding: 7bit"), whole, "{text}");
            assert_eq!(part.contains(&text.replace('\n', "\r\n")), whole, "{text}");
            let read = mail_parser::MessageParser::default()
                .parse(&part)
                .unwrap()
                .body_text(0)
                .unwrap()
                .into_owned();
            assert_eq!(read.replace("\r\n", "\n").trim_end(), text, "decoding restores the text");
        }
    }

    #[test]
    fn text_and_html_have_the_same_facts() {
        let renderer = Renderer::new(sender("registry@vendor.example"), None).unwrap();
        for (kind, parts) in [
            (
                MailKind::InstallCode,
                &["Acme", "pro", sample::CODE, "works until", "1.23 GB", "works once"][..],
            ),
            (
                MailKind::InstallCodeReissued,
                &["Your new install code", "replaces all unused codes", sample::CODE],
            ),
            (MailKind::InstallCodeWithoutImage, &["No image is available yet", sample::CODE]),
            (MailKind::PortalLink, &["works once", "Do not forward"]),
        ] {
            let mail = renderer.preview(kind, Some("Acme")).unwrap();
            let Rendered { subject, text, html } = mail;
            for part in parts {
                assert!(text.contains(part), "{kind}: {part} is missing in {text}");
                assert!(html.contains(part), "{kind}: {part} is missing in {html}");
            }
            assert!(!subject.contains(sample::CODE), "{kind}: {subject}");
        }
    }
}
