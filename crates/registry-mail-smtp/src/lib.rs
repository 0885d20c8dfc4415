//! The mail port: renders mails from templates and delivers them, so far as `.eml` files in a folder, which is the
//! embedded default: what a customer would receive can be opened with any mail reader.

mod folder;
mod render;

pub use folder::FolderMailer;
pub use render::{Renderer, Sender, TemplateError};
