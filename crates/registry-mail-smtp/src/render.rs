//! Mails from templates: plain text and HTML side by side (RFC 2046 §5.1.4), the code in neither subject nor headers.

use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, Message as Email};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use registry_core::clock::Timestamp;
use registry_core::mail::{InstallCodeMessage, MailError, Message, OutgoingMail};
use serde::Serialize;

const SUBJECT: &str = "install_code.subject";
const TEXT: &str = "install_code.txt";
const HTML: &str = "install_code.html";

/// Who the mails are from.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The address they come from.
    pub address: String,
    /// The name beside it, which is also what the mails call the product.
    pub product: String,
    /// Where customers re-issue codes, where there is such a place.
    pub portal_url: Option<String>,
}

/// Why mails cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The sender's address is none.
    #[error("`{0}` is not an e-mail address to send from")]
    Sender(String),
    /// The product's name cannot stand in a header.
    #[error("the product's name is empty or contains control characters")]
    Product,
    /// A template is broken.
    #[error("the mail templates are broken: {0}")]
    Template(#[from] minijinja::Error),
}

/// Renders mails.
pub struct Renderer {
    templates: Environment<'static>,
    from: Mailbox,
    sender: Sender,
}

/// What the templates of the install code mail see.
#[derive(Serialize)]
struct InstallCodeView<'a> {
    product: &'a str,
    portal_url: Option<&'a str>,
    company: &'a str,
    contact: Option<&'a str>,
    tenant_id: String,
    edition: &'a str,
    code: &'a str,
    code_ends: String,
    reissued: bool,
    download: Option<DownloadView<'a>>,
}

#[derive(Serialize)]
struct DownloadView<'a> {
    link: &'a str,
    ends: String,
    version: &'a str,
    size: String,
    sha256: &'a str,
}

impl Renderer {
    /// A renderer for this sender.
    pub fn new(sender: Sender) -> Result<Self, TemplateError> {
        let address: Address = sender.address.parse().map_err(|_| TemplateError::Sender(sender.address.clone()))?;
        if sender.product.trim().is_empty() || sender.product.chars().any(char::is_control) {
            return Err(TemplateError::Product);
        }
        let mut templates = Environment::new();
        templates.set_auto_escape_callback(|name| if name == HTML { AutoEscape::Html } else { AutoEscape::None });
        templates.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        templates.add_template(SUBJECT, include_str!("../templates/install_code.subject"))?;
        templates.add_template(TEXT, include_str!("../templates/install_code.txt"))?;
        templates.add_template(HTML, include_str!("../templates/install_code.html"))?;
        Ok(Self { templates, from: Mailbox::new(Some(sender.product.clone()), address), sender })
    }

    /// The mail as it goes over the wire (RFC 5322). Its `Message-ID` is made of its id.
    pub fn render(&self, mail: &OutgoingMail) -> Result<Vec<u8>, MailError> {
        let permanent = |error: &dyn std::fmt::Display| MailError::Permanent(format!("it cannot be rendered: {error}"));
        let Message::InstallCode(message) = &mail.message;
        let (subject, text, html) = self.install_code(message).map_err(|error| permanent(&error))?;
        let to: Address = mail.to.as_str().parse().map_err(|error| permanent(&error))?;
        let email = Email::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(one_line(&subject))
            .message_id(Some(format!("<{}@{}>", mail.id, self.from.email.domain())))
            .date(mail.queued_at.into())
            .multipart(MultiPart::alternative_plain_html(text, html));
        Ok(email.map_err(|error| permanent(&error))?.formatted())
    }

    fn install_code(&self, message: &InstallCodeMessage) -> Result<(String, String, String), minijinja::Error> {
        let code = message.code.grouped();
        let view = InstallCodeView {
            product: &self.sender.product,
            portal_url: self.sender.portal_url.as_deref(),
            company: message.company_name.as_str(),
            contact: message.contact_name.as_ref().map(registry_core::text::PersonName::as_str),
            tenant_id: message.tenant_id.to_string(),
            edition: message.edition.as_str(),
            code: &code,
            code_ends: in_words(message.code_expires_at),
            reissued: message.reissued,
            download: message.download.as_ref().map(|download| DownloadView {
                link: download.link.expose(),
                ends: in_words(download.expires_at),
                version: download.release.version.as_str(),
                size: size_in_words(download.release.size),
                sha256: &download.release.sha256,
            }),
        };
        let render = |name| self.templates.get_template(name)?.render(Serde(&view));
        Ok((render(SUBJECT)?, render(TEXT)?, render(HTML)?))
    }
}

/// `22 January 2027, 08:00 UTC`.
fn in_words(moment: Timestamp) -> String {
    moment.format("%-d %B %Y, %H:%M UTC").to_string()
}

/// Decimal units, as download pages use them: `1.23 GB`.
fn size_in_words(bytes: u64) -> String {
    let units: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    let Some((unit, name)) = units.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes} bytes");
    };
    let hundredths = u128::from(bytes) * 100 / u128::from(unit);
    format!("{}.{:02} {name}", hundredths / 100, hundredths % 100)
}

/// A header has one line, whatever a company is called.
fn one_line(text: &str) -> String {
    // What looks like an encoded word (RFC 2047) would be decoded by whoever reads it, and a company's name could say
    // anything in the vendor's own words: with a word joiner inside it is plain text, and is encoded as that.
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace("=?", "=\u{2060}?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_an_encoded_word_stays_text() {
        let subject = one_line("Acme =?utf-8?q?Call_1-900?=\r\nLtd");
        assert_eq!(subject, "Acme =\u{2060}?utf-8?q?Call_1-900?= Ltd");
        let mail = Email::builder().from("a@b.example".parse().unwrap()).to("c@d.example".parse().unwrap());
        let mail = mail.subject(subject).body(String::new()).unwrap().formatted();
        let read = mail_parser::MessageParser::default().parse(&mail).unwrap().subject().unwrap().to_owned();
        assert!(read.contains("utf-8?q?Call_1-900?="), "{read}");
    }

    #[test]
    fn sizes_are_in_decimal_units() {
        for (bytes, words) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "1.00 kB"),
            (64_000_000, "64.00 MB"),
            (5_368_709_120, "5.36 GB"),
        ] {
            assert_eq!(size_in_words(bytes), words);
        }
    }

    #[test]
    fn a_sender_that_is_no_address_is_refused() {
        let sender = Sender { address: "nobody".into(), product: "Product".into(), portal_url: None };
        assert!(matches!(Renderer::new(sender), Err(TemplateError::Sender(_))));
        for product in ["", "Product\r\nBcc: eve@example.com"] {
            let sender = Sender { address: "a@example.com".into(), product: product.into(), portal_url: None };
            assert!(matches!(Renderer::new(sender), Err(TemplateError::Product)), "{product:?}");
        }
    }
}
