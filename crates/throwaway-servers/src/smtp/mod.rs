//! A mail server that stores the received mails in memory (RFC 5321), with STARTTLS (RFC 3207) and
//! AUTH (RFC 4954).

mod session;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use tokio::io::BufReader;
use tokio_rustls::TlsAcceptor;

use crate::certificate::Certificate;
use crate::running::Running;

/// Options of a mail server.
#[derive(Clone, Debug, Default)]
pub struct SmtpOptions {
    /// Port; 0 for a free one.
    pub port: u16,
    /// Uses TLS from the first byte, instead of STARTTLS.
    pub implicit_tls: bool,
    /// Uses no TLS at all.
    pub plain: bool,
    /// User and password of the only client that may send; with `None` every client may.
    pub user: Option<(String, String)>,
}

/// A received mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Sender in the envelope.
    pub from: String,
    /// Recipients in the envelope.
    pub to: Vec<String>,
    /// Headers and body.
    pub raw: String,
    /// True if the session used TLS.
    pub tls: bool,
    /// True if the client was authenticated.
    pub authenticated: bool,
}

/// State that all sessions share.
pub(crate) struct Shared {
    options: SmtpOptions,
    tls: TlsAcceptor,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    /// Number of attempts for each recipient.
    attempts: BTreeMap<String, u32>,
    sessions: u32,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running mail server.
///
/// The beginning of a recipient's address selects a fault:
/// - `busy-N`: the recipient is rejected with 451 for the first N times, then accepted.
/// - `unknown`: the recipient is rejected with 550.
/// - `quoting`: the mail is rejected with 550, and the reply quotes the mail.
/// - `slow`: the mail is accepted after two seconds.
/// - `deaf`: the mail is accepted, and the connection closed without a reply.
/// - `odd`: the mail is accepted, with a reply that is not valid UTF-8.
pub struct SmtpServer {
    shared: Arc<Shared>,
    running: Option<Running>,
    port: u16,
    /// Certificate of the authority that clients have to trust (PEM).
    pub ca_pem: String,
}

impl SmtpServer {
    /// Starts a server with an empty mailbox.
    ///
    /// # Errors
    /// If the port is in use.
    pub fn start(options: SmtpOptions) -> Result<Self> {
        let certificate = Certificate::make()?;
        let (port, tls) = (options.port, TlsAcceptor::from(certificate.server));
        let shared = Arc::new(Shared { options, tls, state: Mutex::default() });
        let mut server = Self { shared, running: None, port, ca_pem: certificate.ca_pem };
        server.resume()?;
        Ok(server)
    }

    /// Returns the port, which stays the same while the server is stopped.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server as if it were killed. The received mails stay.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Starts the server again on the same port.
    ///
    /// # Errors
    /// If another process uses the port.
    pub fn resume(&mut self) -> Result<()> {
        let shared = self.shared.clone();
        let running = Running::start(self.port, move |stream| {
            let shared = shared.clone();
            async move {
                shared.state().sessions += 1;
                // A broken session is an error of the client, which reports it.
                if shared.options.implicit_tls {
                    if let Ok(stream) = shared.tls.accept(stream).await {
                        drop(session::serve(BufReader::new(stream), &shared, true).await);
                    }
                } else {
                    drop(session::serve_in_clear(stream, &shared).await);
                }
            }
        })?;
        self.port = running.address.port();
        self.running = Some(running);
        Ok(())
    }

    /// Returns the received mails, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.state().received.clone()
    }

    /// Returns the number of received mails.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.state().received.len()
    }

    /// Returns the number of started mails, counted by their recipients.
    #[must_use]
    pub fn begun(&self) -> u32 {
        self.shared.state().attempts.values().sum()
    }

    /// Returns the number of connections so far.
    #[must_use]
    pub fn sessions(&self) -> u32 {
        self.shared.state().sessions
    }
}
