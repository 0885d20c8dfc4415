//! Proxies that lose a connection at one message, or record the messages.
//!
//! The messages are described in the PostgreSQL documentation, "Message Formats".

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::proxy;

/// A request of a client, and the server's answer.
#[derive(Clone, Copy)]
pub(crate) struct Exchange {
    request: &'static [u8],
    answer: &'static [u8],
}

/// A query, and the end of its command.
pub(crate) const COMMIT: Exchange =
    Exchange { request: b"Q\0\0\0\x0bCOMMIT\0", answer: b"C\0\0\0\x0bCOMMIT\0" };

/// The execution of a statement outside of a transaction, which is committed when the server is
/// ready for the next one.
pub(crate) const EXECUTE: Exchange =
    Exchange { request: b"E\0\0\0\x09\0\0\0\0\0", answer: b"Z\0\0\0\x05I" };

/// The first word of a query that begins a transaction.
const BEGIN: &[u8] = b"BEGIN";

/// The end of a transaction that was rolled back.
const ROLLED_BACK: &[u8] = b"C\0\0\0\x0dROLLBACK\0";

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Finds a message in a stream of data, even if it is split between two reads.
struct Finder {
    message: &'static [u8],
    tail: Vec<u8>,
}

impl Finder {
    fn new(message: &'static [u8]) -> Self {
        Self { message, tail: Vec::new() }
    }

    fn finds(&mut self, bytes: &[u8]) -> bool {
        self.tail.extend_from_slice(bytes);
        let found = contains(&self.tail, self.message);
        let excess = self.tail.len().saturating_sub(self.message.len() - 1);
        self.tail.drain(..excess);
        found
    }
}

/// Starts a proxy to the server of the database at `url`. Returns the URL behind it, and a switch.
/// When the switch is set, the request of the exchange reaches the server, but the connection is
/// lost before the answer arrives.
pub(crate) async fn lose_answers(url: &str, exchange: Exchange) -> (String, Arc<AtomicBool>) {
    let is_lossy = Arc::new(AtomicBool::new(false));
    let switch = is_lossy.clone();
    let serve = move |client, server| lose_answer(exchange, switch.clone(), client, server);
    (proxy::start(url, serve).await, is_lossy)
}

async fn lose_answer(
    exchange: Exchange,
    is_lossy: Arc<AtomicBool>,
    client: TcpStream,
    server: TcpStream,
) {
    let (is_sent, is_answered) = (AtomicBool::new(false), Notify::new());
    let (mut request, mut answer) = (Finder::new(exchange.request), Finder::new(exchange.answer));
    let passes_request = |bytes: &[u8]| {
        if is_lossy.load(Ordering::SeqCst) && request.finds(bytes) {
            is_sent.store(true, Ordering::SeqCst);
        }
        true
    };
    let passes_answer = |bytes: &[u8]| {
        let is_lost = is_sent.load(Ordering::SeqCst);
        if is_lost && answer.finds(bytes) {
            is_answered.notify_one();
        }
        !is_lost
    };
    tokio::select! {
        () = proxy::relay(client, server, passes_request, passes_answer) => {}
        () = is_answered.notified() => {}
    }
}

/// Starts a proxy to the server of the database at `url`. Returns the URL behind it, and a switch.
/// When the switch is set, the next connection that begins a transaction is lost instead, and the
/// switch is reset.
pub(crate) async fn lose_next_begin(url: &str) -> (String, Arc<AtomicBool>) {
    let is_armed = Arc::new(AtomicBool::new(false));
    let switch = is_armed.clone();
    let serve = move |client, server| lose_begin(switch.clone(), client, server);
    (proxy::start(url, serve).await, is_armed)
}

async fn lose_begin(is_armed: Arc<AtomicBool>, client: TcpStream, server: TcpStream) {
    let (is_lost, mut begin) = (Notify::new(), Finder::new(BEGIN));
    let passes_request = |bytes: &[u8]| {
        let loses = begin.finds(bytes) && is_armed.swap(false, Ordering::SeqCst);
        if loses {
            is_lost.notify_one();
        }
        !loses
    };
    tokio::select! {
        () = proxy::relay(client, server, passes_request, |_| true) => {}
        () = is_lost.notified() => {}
    }
}

/// Data that a client and a server sent to each other.
#[derive(Default)]
pub(crate) struct Recorded {
    requests: Mutex<Vec<u8>>,
    answers: Mutex<Vec<u8>>,
}

impl Recorded {
    pub(crate) fn clear(&self) {
        self.requests.lock().unwrap().clear();
        self.answers.lock().unwrap().clear();
    }

    /// True if the server rolled a transaction back although it was requested to commit it.
    pub(crate) fn has_failed_commit(&self) -> bool {
        let (requests, answers) = (self.requests.lock().unwrap(), self.answers.lock().unwrap());
        contains(&requests, COMMIT.request)
            && !contains(&requests, b"ROLLBACK")
            && contains(&answers, ROLLED_BACK)
    }
}

/// Starts a proxy to the server of the database at `url`. Returns the URL behind it, and the data
/// that it has recorded so far.
pub(crate) async fn record(url: &str) -> (String, Arc<Recorded>) {
    let recorded = Arc::new(Recorded::default());
    let shared = recorded.clone();
    let serve = move |client, server| {
        let recorded = shared.clone();
        async move {
            let keep = |in_part: &Mutex<Vec<u8>>, bytes: &[u8]| {
                in_part.lock().unwrap().extend_from_slice(bytes);
                true
            };
            let passes_request = |bytes: &[u8]| keep(&recorded.requests, bytes);
            let passes_answer = |bytes: &[u8]| keep(&recorded.answers, bytes);
            proxy::relay(client, server, passes_request, passes_answer).await;
        }
    };
    (proxy::start(url, serve).await, recorded)
}
