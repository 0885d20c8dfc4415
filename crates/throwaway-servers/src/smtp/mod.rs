//! A mail server that keeps what it is sent (RFC 5321), with STARTTLS (RFC 3207) and AUTH (RFC
//! 4954).

mod session;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use tokio::io::BufReader;
use tokio_rustls::TlsAcceptor;

use crate::certificate::Certificate;
use crate::running::Running;

/// How a mail server begins.
#[derive(Clone, Debug, Default)]
pub struct SmtpOptions {
    /// The port; 0 for a free one.
    pub port: u16,
    /// TLS from the first byte, instead of STARTTLS.
    pub implicit_tls: bool,
    /// No TLS at all.
    pub plain: bool,
    /// Who may send; anybody where this is none.
    pub user: Option<(String, String)>,
}

/// A mail that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// The mail.
    pub raw: String,
    /// Whether it came over TLS.
    pub tls: bool,
    /// Whether its sender had said who it was.
    pub authenticated: bool,
}

/// What all sessions share.
pub(crate) struct Shared {
    options: SmtpOptions,
    tls: TlsAcceptor,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    /// How often each recipient was tried.
    tries: BTreeMap<String, u32>,
    sessions: u32,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A mail server that runs.
///
/// What a recipient's address begins with decides what becomes of mails to it: `busy-N` is answered
/// 451 N times before it is taken, `unknown` 550, `quoting` 550 with the mail in the answer, `slow`
/// is taken after two seconds, after `deaf` is taken the connection breaks off before the answer,
/// and `odd` is taken with an answer that is no UTF-8.
pub struct SmtpServer {
    shared: Arc<Shared>,
    running: Option<Running>,
    port: u16,
    /// The authority that clients have to trust, as PEM.
    pub ca_pem: String,
}

impl SmtpServer {
    /// Starts a server with an empty mailbox.
    ///
    /// # Errors
    /// Where the port is taken.
    pub fn start(options: SmtpOptions) -> Result<Self> {
        let certificate = Certificate::make()?;
        let (port, tls) = (options.port, TlsAcceptor::from(certificate.server));
        let shared = Arc::new(Shared { options, tls, state: Mutex::default() });
        let mut server = Self { shared, running: None, port, ca_pem: certificate.ca_pem };
        server.resume()?;
        Ok(server)
    }

    /// Its port, also while it is stopped.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as if it were killed; what it received stays.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Starts it again where it was.
    ///
    /// # Errors
    /// Where its port was taken meanwhile.
    pub fn resume(&mut self) -> Result<()> {
        let shared = self.shared.clone();
        let running = Running::start(self.port, move |stream| {
            let shared = shared.clone();
            async move {
                shared.state().sessions += 1;
                // A session that breaks off is for the client to notice.
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

    /// What was received so far, in its order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.state().received.clone()
    }

    /// How many mails were received so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.state().received.len()
    }

    /// How many mails were begun so far, by their recipients.
    #[must_use]
    pub fn begun(&self) -> u32 {
        self.shared.state().tries.values().sum()
    }

    /// How many connections there were.
    #[must_use]
    pub fn sessions(&self) -> u32 {
        self.shared.state().sessions
    }
}
