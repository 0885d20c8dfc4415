//! One connection to the mail server.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::{Received, Shared};

/// End of a session, or of its part without TLS.
enum SessionEnd {
    Quit,
    StartTls,
}

struct Session<'a, Stream> {
    stream: BufReader<Stream>,
    shared: &'a Shared,
    tls: bool,
    authenticated: bool,
    from: Option<String>,
    to: Vec<String>,
}

/// Serves a connection that starts without TLS.
pub(super) async fn serve_in_clear(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut session = Session::new(BufReader::new(stream), shared, false);
    session.reply("220 throwaway.example ESMTP").await?;
    if let SessionEnd::StartTls = session.run().await? {
        // Everything from before the handshake is discarded (RFC 3207 §4.2), and so is buffered
        // input.
        let stream = shared.tls.accept(session.stream.into_inner()).await?;
        Session::new(BufReader::new(stream), shared, true).run().await?;
    }
    Ok(())
}

/// Serves a connection over TLS.
pub(super) async fn serve<Stream: AsyncRead + AsyncWrite + Unpin>(
    stream: BufReader<Stream>,
    shared: &Shared,
    tls: bool,
) -> io::Result<()> {
    let mut session = Session::new(stream, shared, tls);
    session.reply("220 throwaway.example ESMTP").await?;
    session.run().await.map(drop)
}

fn connection_aborted() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionAborted)
}

/// Returns the address in `FROM:<address> PARAMETER…`.
fn address(argument: &str) -> Option<String> {
    Some(argument.split_once('<')?.1.split_once('>')?.0.to_owned())
}

impl<'a, Stream: AsyncRead + AsyncWrite + Unpin> Session<'a, Stream> {
    fn new(stream: BufReader<Stream>, shared: &'a Shared, tls: bool) -> Self {
        Self { stream, shared, tls, authenticated: false, from: None, to: Vec::new() }
    }

    async fn reply(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }

    async fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(connection_aborted());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    async fn run(&mut self) -> io::Result<SessionEnd> {
        loop {
            let line = self.read_line().await?;
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            let options = &self.shared.options;
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => self.greet().await?,
                "STARTTLS" if !self.tls && !options.plain => {
                    self.reply("220 go ahead").await?;
                    return Ok(SessionEnd::StartTls);
                }
                "AUTH" => self.authenticate(argument).await?,
                "MAIL" if options.user.is_some() && !self.authenticated => {
                    self.reply("530 5.7.0 authentication required").await?;
                }
                "MAIL" => {
                    (self.from, self.to) = (address(argument), Vec::new());
                    self.reply("250 2.1.0 ok").await?;
                }
                "RCPT" => self.recipient(argument).await?,
                "DATA" if self.to.is_empty() => self.reply("503 5.5.1 no recipients").await?,
                "DATA" => self.data().await?,
                "RSET" => {
                    (self.from, self.to) = (None, Vec::new());
                    self.reply("250 2.0.0 ok").await?;
                }
                "NOOP" => self.reply("250 2.0.0 ok").await?,
                "QUIT" => {
                    self.reply("221 2.0.0 bye").await?;
                    return Ok(SessionEnd::Quit);
                }
                _ => self.reply("502 5.5.2 not known here").await?,
            }
        }
    }

    async fn greet(&mut self) -> io::Result<()> {
        let options = &self.shared.options;
        let mut lines = vec!["throwaway.example", "8BITMIME", "SIZE 10485760"];
        if !self.tls && !options.plain {
            lines.push("STARTTLS");
        }
        if options.user.is_some() && (self.tls || options.plain) {
            lines.push("AUTH PLAIN LOGIN");
        }
        let last = lines.len() - 1;
        let lines = lines.iter().enumerate();
        let reply: Vec<_> = lines
            .map(|(index, line)| format!("250{}{line}", if index == last { ' ' } else { '-' }))
            .collect();
        self.reply(&reply.join("\r\n")).await
    }

    async fn authenticate(&mut self, argument: &str) -> io::Result<()> {
        let decode = |text: &str| {
            String::from_utf8(BASE64_STANDARD.decode(text).unwrap_or_default()).unwrap_or_default()
        };
        let (mechanism, initial) = argument.split_once(' ').unwrap_or((argument, ""));
        let credentials = if mechanism.eq_ignore_ascii_case("PLAIN") {
            let response =
                if initial.is_empty() { self.challenge("").await? } else { initial.to_owned() };
            let response = decode(&response);
            let mut parts = response.split('\0').skip(1).map(str::to_owned);
            parts.next().zip(parts.next())
        } else {
            let user = if initial.is_empty() {
                self.challenge("VXNlcm5hbWU6").await?
            } else {
                initial.to_owned()
            };
            Some((decode(&user), decode(&self.challenge("UGFzc3dvcmQ6").await?)))
        };
        self.authenticated = credentials.is_some() && credentials == self.shared.options.user;
        let reply = if self.authenticated {
            "235 2.7.0 welcome"
        } else {
            "535 5.7.8 not these credentials"
        };
        self.reply(reply).await
    }

    async fn challenge(&mut self, text: &str) -> io::Result<String> {
        self.reply(&format!("334 {text}")).await?;
        self.read_line().await
    }

    async fn recipient(&mut self, argument: &str) -> io::Result<()> {
        let Some(to) = address(argument) else { return self.reply("501 5.1.3 no address").await };
        let attempts = {
            let mut state = self.shared.state();
            let attempts = state.attempts.entry(to.clone()).or_default();
            *attempts += 1;
            *attempts
        };
        let busy = to
            .strip_prefix("busy-")
            .and_then(|rest| rest.split(['-', '@', '+']).next()?.parse::<u32>().ok());
        if busy.is_some_and(|times| attempts <= times) {
            return self.reply("451 4.3.0 try again later").await;
        }
        if to.starts_with("unknown") {
            return self.reply("550 5.1.1 no such user").await;
        }
        self.to.push(to);
        self.reply("250 2.1.5 ok").await
    }

    async fn data(&mut self) -> io::Result<()> {
        self.reply("354 go ahead").await?;
        let mut raw = String::new();
        loop {
            let line = self.read_line().await?;
            if line == "." {
                break;
            }
            raw.push_str(line.strip_prefix('.').unwrap_or(&line));
            raw.push_str("\r\n");
        }
        let to = std::mem::take(&mut self.to);
        let has_recipient = |prefix: &str| to.iter().any(|it| it.starts_with(prefix));
        if has_recipient("quoting") {
            // The quotation starts at the code. A reply has at most 512 octets (RFC 5321
            // §4.5.3.1.5).
            let quoted = raw.split_once("install code:").map_or(raw.as_str(), |(_, rest)| rest);
            let quoted: String =
                quoted.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(400).collect();
            return self.reply(&format!("550 5.6.0 not wanted: {quoted}")).await;
        }
        if has_recipient("slow") {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let (from, deaf, odd) =
            (self.from.take().unwrap_or_default(), has_recipient("deaf"), has_recipient("odd"));
        let received = Received { from, to, raw, tls: self.tls, authenticated: self.authenticated };
        self.shared.state().received.push(received);
        if odd {
            // Some real servers reply in Latin-1.
            self.stream.write_all(b"250 2.0.0 angenommen f\xfcr Zustellung\r\n").await?;
            return self.stream.flush().await;
        }
        if deaf { Err(connection_aborted()) } else { self.reply("250 2.0.0 taken").await }
    }
}
