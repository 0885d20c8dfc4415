//! Takes connections, over TLS where a certificate is given. Those who dawdle, or come in crowds,
//! hold up nobody for long.

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

/// How long a browser may take to shake hands, and to send its headers.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may last: a test of the network takes its time.
const LONGEST: Duration = Duration::from_mins(11);

/// How many connections there are at once; more wait to be accepted.
const CONNECTIONS: usize = 256;

/// After a failed accept (no file descriptors left, say) others get time to close theirs.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves the page for ever.
pub(crate) async fn listen(listener: TcpListener, acceptor: Option<TlsAcceptor>, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // It is never closed.
    while let Ok(place) = places.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            // Whoever breaks off, or takes too long, has gone.
            tokio::time::timeout(LONGEST, converse(stream, acceptor, router)).await.ok();
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, acceptor: Option<TlsAcceptor>, router: Router) {
    match acceptor {
        None => answer(stream, router).await,
        Some(acceptor) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                answer(stream, router).await;
            }
        }
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
    http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await.ok();
}
