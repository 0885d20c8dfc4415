//! Accepts connections, over TLS if a certificate is configured. Timeouts, and a maximum number of
//! connections for each source, keep slow clients, or many connections of one, from blocking
//! others.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::render::add_security_headers;

/// Timeout of the TLS handshake, and of a request's headers.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout of a request's body, after the headers.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// Maximum size of a request's body, in bytes. The largest form is far smaller.
const MAX_BODY: usize = 64 * 1024;

/// Timeout of a whole connection. A network test takes up to ten minutes, the maximum of
/// `--timeout`.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(11);

/// Maximum number of open connections.
const MAX_CONNECTIONS: usize = 256;

/// Maximum number of open connections of one source.
const MAX_CONNECTIONS_OF_SOURCE: usize = 64;

/// Pause after a failed accept, for example without free file descriptors, until other connections
/// are closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the page until the future is dropped.
pub(crate) async fn listen(listener: TcpListener, acceptor: Option<TlsAcceptor>, router: Router) {
    let connections = Arc::new(Connections::default());
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // A connection that is not admitted is closed.
        let Some((permit, closed)) = connections.admit(peer.ip().to_canonical()) else { continue };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            // A client that is too slow is disconnected.
            let served = serve_connection(stream, acceptor, router, permit);
            tokio::select! {
                _ = tokio::time::timeout(CONNECTION_TIMEOUT, served) => {}
                _ = closed => {}
            }
        });
        // In a burst of connections, each can read its request before it counts as idle.
        tokio::task::yield_now().await;
    }
}

async fn serve_connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    permit: Permit,
) {
    match acceptor {
        None => serve_http(stream, router, permit).await,
        Some(acceptor) => {
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
            if let Ok(Ok(stream)) = handshake.await {
                serve_http(stream, router, permit).await;
            }
        }
    }
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    permit: Permit,
) {
    let pages = TowerToHyperService::new(router);
    let permit = Arc::new(permit);
    let service = service_fn(move |request: Request<Incoming>| {
        respond(pages.clone(), permit.clone(), request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_TIMEOUT).keep_alive(false);
    http.serve_connection(TokioIo::new(stream), service).await.ok();
}

/// Responds to a request after its body has arrived.
async fn respond(
    pages: TowerToHyperService<Router>,
    permit: Arc<Permit>,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(BODY_TIMEOUT, to_bytes(Body::new(body), MAX_BODY));
    match body.await {
        Ok(Ok(body)) => {
            permit.mark_active();
            pages.call(Request::from_parts(head, Body::from(body))).await
        }
        Ok(Err(_)) => Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large.")),
        Err(_) => Ok(refusal(StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time.")),
    }
}

fn refusal(status: StatusCode, text: &'static str) -> Response {
    let mut response = (status, text).into_response();
    add_security_headers(response.headers_mut());
    response
}

/// The open connections.
#[derive(Default)]
struct Connections(Mutex<Table>);

#[derive(Default)]
struct Table {
    next_number: u64,
    /// The oldest connection is the first.
    open: Vec<Connection>,
}

struct Connection {
    number: u64,
    source: IpAddr,
    /// True if no complete request has arrived.
    is_idle: bool,
    /// The connection is closed when this sender is dropped.
    _close: oneshot::Sender<()>,
}

impl Connections {
    /// Adds a connection of this source. If the source or all sources have too many, the oldest
    /// idle connection is closed, one of this source first. Returns `None` if none is idle. The
    /// connection MUST be closed when the receiver returns.
    fn admit(self: &Arc<Self>, source: IpAddr) -> Option<(Permit, oneshot::Receiver<()>)> {
        let mut table = self.table();
        let Table { next_number, open } = &mut *table;
        let of_source = open.iter().filter(|it| it.source == source).count();
        let is_within_share = of_source < MAX_CONNECTIONS_OF_SOURCE;
        if !is_within_share || open.len() >= MAX_CONNECTIONS {
            let own = open.iter().position(|it| it.is_idle && it.source == source);
            let any = || open.iter().position(|it| it.is_idle).filter(|_| is_within_share);
            let oldest = own.or_else(any)?;
            open.remove(oldest);
        }
        let number = *next_number;
        *next_number += 1;
        let (close, closed) = oneshot::channel();
        open.push(Connection { number, source, is_idle: true, _close: close });
        Some((Permit { connections: self.clone(), number }, closed))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Permit of an open connection. Dropping it makes room for another connection.
struct Permit {
    connections: Arc<Connections>,
    number: u64,
}

impl Permit {
    /// Records that a complete request head has arrived, so the connection is not closed for
    /// another one.
    fn mark_active(&self) {
        let mut table = self.connections.table();
        if let Some(connection) = table.open.iter_mut().find(|it| it.number == self.number) {
            connection.is_idle = false;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.connections.table().open.retain(|it| it.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    type Admitted = (Permit, oneshot::Receiver<()>);

    fn source(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    fn admit_share(connections: &Arc<Connections>, number: u8) -> Vec<Admitted> {
        let admit = |_| connections.admit(source(number)).unwrap();
        (0..MAX_CONNECTIONS_OF_SOURCE).map(admit).collect()
    }

    fn is_closed((_, closed): &mut Admitted) -> bool {
        closed.try_recv() == Err(TryRecvError::Closed)
    }

    #[test]
    fn source_has_a_share() {
        let connections = Arc::new(Connections::default());
        let mut other = connections.admit(source(2)).unwrap();
        let mut own = admit_share(&connections, 1);
        own[0].0.mark_active();
        own.push(connections.admit(source(1)).unwrap());
        let closed: Vec<_> = own.iter_mut().map(is_closed).collect();
        let expected: Vec<_> = (0..own.len()).map(|at| at == 1).collect();
        assert_eq!(closed, expected, "the oldest idle connection is closed");
        for (permit, _) in &own {
            permit.mark_active();
        }
        assert!(connections.admit(source(1)).is_none(), "no connection of this source is idle");
        assert!(!is_closed(&mut other));
        drop(own.pop());
        assert!(connections.admit(source(1)).is_some());
    }

    #[test]
    fn oldest_idle_connection_is_closed() {
        let connections = Arc::new(Connections::default());
        let mut shares: Vec<_> = (1..=4).map(|number| admit_share(&connections, number)).collect();
        let mut newest = connections.admit(source(5)).unwrap();
        assert!(is_closed(&mut shares[0][0]));
        let _next = connections.admit(source(5)).unwrap();
        assert!(is_closed(&mut newest), "a connection of the same source is closed first");
        assert!(!is_closed(&mut shares[0][1]));
        for (permit, _) in shares.iter().flatten() {
            permit.mark_active();
        }
        assert!(connections.admit(source(6)).is_some());
        assert_eq!(connections.table().open.len(), MAX_CONNECTIONS - 1);
        shares.clear();
        assert!(connections.table().open.is_empty());
    }
}
