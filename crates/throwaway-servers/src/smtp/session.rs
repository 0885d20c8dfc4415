//! One connection.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::{Received, Shared};

/// What comes after a session in clear.
enum RetentionKind {
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

/// Serves a connection that begins in clear.
pub(super) async fn serve_in_clear(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut session = Session::new(BufReader::new(stream), shared, false);
    session.say("220 throwaway.example ESMTP").await?;
    if let RetentionKind::StartTls = session.converse().await? {
        // What came before the handshake is forgotten (RFC 3207 §4.2), what is still in the buffer
        // too.
        let stream = shared.tls.accept(session.stream.into_inner()).await?;
        Session::new(BufReader::new(stream), shared, true).converse().await?;
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
    session.say("220 throwaway.example ESMTP").await?;
    session.converse().await.map(drop)
}

fn broken_off() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionAborted)
}

/// The address in `FROM:<address> PARAMETER…`.
fn address(argument: &str) -> Option<String> {
    Some(argument.split_once('<')?.1.split_once('>')?.0.to_owned())
}

impl<'a, Stream: AsyncRead + AsyncWrite + Unpin> Session<'a, Stream> {
    fn new(stream: BufReader<Stream>, shared: &'a Shared, tls: bool) -> Self {
        Self { stream, shared, tls, authenticated: false, from: None, to: Vec::new() }
    }

    async fn say(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }

    async fn hear(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(broken_off());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    async fn converse(&mut self) -> io::Result<RetentionKind> {
        loop {
            let line = self.hear().await?;
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            let options = &self.shared.options;
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => self.greet().await?,
                "STARTTLS" if !self.tls && !options.plain => {
                    self.say("220 go ahead").await?;
                    return Ok(RetentionKind::StartTls);
                }
                "AUTH" => self.authenticate(argument).await?,
                "MAIL" if options.user.is_some() && !self.authenticated => {
                    self.say("530 5.7.0 authentication required").await?;
                }
                "MAIL" => {
                    (self.from, self.to) = (address(argument), Vec::new());
                    self.say("250 2.1.0 ok").await?;
                }
                "RCPT" => self.recipient(argument).await?,
                "DATA" if self.to.is_empty() => self.say("503 5.5.1 no recipients").await?,
                "DATA" => self.data().await?,
                "RSET" => {
                    (self.from, self.to) = (None, Vec::new());
                    self.say("250 2.0.0 ok").await?;
                }
                "NOOP" => self.say("250 2.0.0 ok").await?,
                "QUIT" => {
                    self.say("221 2.0.0 bye").await?;
                    return Ok(RetentionKind::Quit);
                }
                _ => self.say("502 5.5.2 not known here").await?,
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
            .map(|(at, line)| format!("250{}{line}", if at == last { ' ' } else { '-' }))
            .collect();
        self.say(&reply.join("\r\n")).await
    }

    async fn authenticate(&mut self, argument: &str) -> io::Result<()> {
        let decode = |text: &str| {
            String::from_utf8(BASE64_STANDARD.decode(text).unwrap_or_default()).unwrap_or_default()
        };
        let (mechanism, initial) = argument.split_once(' ').unwrap_or((argument, ""));
        let given = if mechanism.eq_ignore_ascii_case("PLAIN") {
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
        self.authenticated = given.is_some() && given == self.shared.options.user;
        let reply = if self.authenticated {
            "235 2.7.0 welcome"
        } else {
            "535 5.7.8 not these credentials"
        };
        self.say(reply).await
    }

    async fn challenge(&mut self, text: &str) -> io::Result<String> {
        self.say(&format!("334 {text}")).await?;
        self.hear().await
    }

    async fn recipient(&mut self, argument: &str) -> io::Result<()> {
        let Some(to) = address(argument) else { return self.say("501 5.1.3 no address").await };
        let tries = {
            let mut state = self.shared.state();
            let tries = state.tries.entry(to.clone()).or_default();
            *tries += 1;
            *tries
        };
        let busy = to
            .strip_prefix("busy-")
            .and_then(|rest| rest.split(['-', '@', '+']).next()?.parse::<u32>().ok());
        if busy.is_some_and(|times| tries <= times) {
            return self.say("451 4.3.0 try again later").await;
        }
        if to.starts_with("unknown") {
            return self.say("550 5.1.1 no such user").await;
        }
        self.to.push(to);
        self.say("250 2.1.5 ok").await
    }

    async fn data(&mut self) -> io::Result<()> {
        self.say("354 go ahead").await?;
        let mut raw = String::new();
        loop {
            let line = self.hear().await?;
            if line == "." {
                break;
            }
            raw.push_str(line.strip_prefix('.').unwrap_or(&line));
            raw.push_str("\r\n");
        }
        let to = std::mem::take(&mut self.to);
        let begins = |word: &str| to.iter().any(|it| it.starts_with(word));
        if begins("quoting") {
            // From where the code is, as far as a reply may go (RFC 5321 §4.5.3.1.5).
            let quoted = raw.split_once("install code:").map_or(raw.as_str(), |(_, rest)| rest);
            let quoted: String =
                quoted.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(400).collect();
            return self.say(&format!("550 5.6.0 not wanted: {quoted}")).await;
        }
        if begins("slow") {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let (from, deaf, odd) =
            (self.from.take().unwrap_or_default(), begins("deaf"), begins("odd"));
        let received = Received { from, to, raw, tls: self.tls, authenticated: self.authenticated };
        self.shared.state().received.push(received);
        if odd {
            // Latin-1, as servers in the field say it.
            self.stream.write_all(b"250 2.0.0 angenommen f\xfcr Zustellung\r\n").await?;
            return self.stream.flush().await;
        }
        if deaf { Err(broken_off()) } else { self.say("250 2.0.0 taken").await }
    }
}
