//! The mail port: renders mails from templates, and delivers them to a mail server, or as `.eml`
//! files into a folder, which is the embedded default: what a customer would receive can be opened
//! with any mail reader.

mod brand;
mod folder;
mod render;
mod sample;
mod smtp;
mod templates;
mod view;

pub use brand::{Brand, BrandError, BrandSettings};
pub use folder::FolderMailer;
pub use render::{RenderError, Renderer, Sender};
pub use sample::MailKind;
pub use smtp::{SmtpError, SmtpMailer, SmtpSettings, SmtpTls};
pub use templates::{Rendered, TemplateError};
