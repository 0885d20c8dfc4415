//! The mail port: renders mails from templates and delivers them, either to a mail server or as
//! `.eml` files into a folder.
//!
//! The folder is the default, which needs no setup. Any mail program opens its files and shows them
//! as a customer would see them.

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
pub use sample::{MailKind, sample};
pub use smtp::{SmtpError, SmtpMailer, SmtpSettings, SmtpTls};
pub use templates::{Rendered, TemplateError};
