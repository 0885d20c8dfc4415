//! Servers for tests and the demo, which begin on a free port of this machine and end with the
//! value that stands for them: a mail server with STARTTLS and AUTH ([`SmtpServer`]), and an object
//! store that verifies signatures ([`S3Server`]).
//!
//! They speak the real protocols over real connections, so that what is tested is what runs. What
//! they are told to get wrong, they get wrong on the wire.

mod certificate;
mod running;
mod s3;
mod smtp;

pub use certificate::Certificate;
pub use s3::{S3Options, S3Server};
pub use smtp::{Received, SmtpOptions, SmtpServer};

/// Has this process's TLS clients use `ring`, as registryd does: some of them insist on being told.
pub fn use_ring() {
    // Fails where it was said before.
    drop(rustls::crypto::ring::default_provider().install_default());
}
