//! A mail server that takes a mail and withholds its reply until the test releases it: so a test
//! can act while registryd is sending.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

struct State {
    mails: Vec<String>,
    /// Number of the first mail whose reply is withheld; counted from 1.
    hold_from: usize,
}

/// A mail server without TLS and passwords (RFC 5321), on a free port.
pub(crate) struct HoldingSmtp {
    port: u16,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl HoldingSmtp {
    /// Starts a server that withholds the reply to mail number `hold_from` and to all later ones.
    pub(crate) fn start(hold_from: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Mutex::new(State { mails: Vec::new(), hold_from });
        let shared = Arc::new((state, Condvar::new()));
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = accepting.clone();
                // An error means that the client is gone, which some tests bring about.
                std::thread::spawn(move || converse(&stream?, &shared));
            }
        });
        Self { port, shared }
    }

    /// Returns the environment in which registryd uses this server.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("REGISTRY_MAIL_SMTP_HOST", "localhost".to_owned()),
            ("REGISTRY_MAIL_SMTP_PORT", self.port.to_string()),
            ("REGISTRY_MAIL_SMTP_TLS", "none".to_owned()),
        ]
    }

    /// Returns the mails received so far, also those without a reply.
    pub(crate) fn mails(&self) -> Vec<String> {
        self.shared.0.lock().unwrap().mails.clone()
    }

    /// Sends the withheld replies, and withholds none from now on.
    pub(crate) fn release(&self) {
        self.shared.0.lock().unwrap().hold_from = usize::MAX;
        self.shared.1.notify_all();
    }
}

/// Serves one connection.
fn converse(stream: &TcpStream, shared: &(Mutex<State>, Condvar)) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let mut reply = stream;
    reply.write_all(b"220 holding.example ESMTP\r\n")?;
    while let Some(line) = lines.next() {
        let line = line?;
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        let text = match verb.as_str() {
            "DATA" => {
                reply.write_all(b"354 go ahead\r\n")?;
                let mut mail = String::new();
                for line in lines.by_ref() {
                    let line = line?;
                    if line == "." {
                        break;
                    }
                    mail.push_str(&line);
                    mail.push('\n');
                }
                take(mail, shared);
                "250 2.0.0 taken"
            }
            "QUIT" => return reply.write_all(b"221 2.0.0 bye\r\n"),
            "EHLO" => "250-holding.example\r\n250 8BITMIME",
            "MAIL" | "RCPT" | "RSET" | "NOOP" => "250 2.0.0 ok",
            _ => "502 5.5.2 not known here",
        };
        reply.write_all(format!("{text}\r\n").as_bytes())?;
    }
    Ok(())
}

/// Keeps a mail, and returns when its reply may be sent.
fn take(mail: String, (state, released): &(Mutex<State>, Condvar)) {
    let mut state = state.lock().unwrap();
    state.mails.push(mail);
    let number = state.mails.len();
    drop(released.wait_while(state, |state| number >= state.hold_from));
}
