//! Servers for tests and the demo: a mail server with STARTTLS and AUTH ([`SmtpServer`]), and an
//! object store that verifies signatures ([`S3Server`]). Each listens on a free port of this
//! machine, and stops when its value is dropped.
//!
//! The servers speak the real protocols over real connections, so the tests cover the same code as
//! production. Requested faults happen on the wire, too.

mod certificate;
mod running;
mod s3;
mod smtp;

pub use certificate::Certificate;
pub use s3::{S3Options, S3Server};
pub use smtp::{Received, SmtpOptions, SmtpServer};

/// Makes `ring` the default of this process's TLS clients, as in registryd. Some clients fail
/// without a default.
pub fn install_ring_provider() {
    // Fails if a default was set before.
    drop(rustls::crypto::ring::default_provider().install_default());
}
