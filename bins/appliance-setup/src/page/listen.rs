//! Accepts connections, over TLS if a certificate is configured. Timeouts and a connection limit
//! keep slow clients, or many of them, from blocking others.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Timeout of the TLS handshake, and of a request's headers.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout of a whole connection. A network test takes up to ten minutes, the maximum of
/// `--timeout`.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(11);

/// Maximum number of open connections; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;

/// Pause after a failed accept, for example without free file descriptors, until other connections
/// are closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the page until the future is dropped.
pub(crate) async fn listen(listener: TcpListener, acceptor: Option<TlsAcceptor>, router: Router) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Nobody closes the semaphore, so acquiring does not fail.
    while let Ok(permit) = connections.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            // A client that is too slow is disconnected.
            let served = serve_connection(stream, acceptor, router);
            tokio::time::timeout(CONNECTION_TIMEOUT, served).await.ok();
            drop(permit);
        });
    }
}

async fn serve_connection(stream: TcpStream, acceptor: Option<TlsAcceptor>, router: Router) {
    match acceptor {
        None => serve_http(stream, router).await,
        Some(acceptor) => {
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
            if let Ok(Ok(stream)) = handshake.await {
                serve_http(stream, router).await;
            }
        }
    }
}

async fn serve_http(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_TIMEOUT).keep_alive(false);
    http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await.ok();
}
