//! The server loop: accepts and serves connections until shutdown, then lets requests in flight
//! finish.

mod connections;
mod phase;
mod stream;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Version, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt as _;

use self::connections::{Connections, Place};
use self::stream::{ClientStream, TrackedBody};
use crate::app::HttpSettings;
use crate::middleware::host::InvalidHost;

/// Pause after a failed accept. If no file descriptors are left, connections can close meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Response to a source that has all the connections that it may have.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
                          content-length: 0\r\nconnection: close\r\n\r\n";

/// Serves `router` until `stop` is ready. Then accepts no further connections, and waits for
/// requests in flight, at most `shutdown_timeout`. Returns true if all of them finished.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: &HttpSettings,
    stop: impl Future<Output = ()>,
) -> bool {
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Connections::new(settings));
    let mut http = hyper::server::conn::http1::Builder::new();
    // A client may close its direction after its request (RFC 9112, section 9.6).
    http.timer(TokioTimer::new()).header_read_timeout(None).half_close(true);
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let (router, used) = (router.clone(), place.clone());
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            used.phase().begin_request();
            let response = router.clone().oneshot(prepared(request, peer));
            let used = used.clone();
            async move {
                let response: Response = response.await.unwrap_or_else(|never| match never {});
                Ok::<_, Infallible>(response.map(|body| TrackedBody::new(body, used)))
            }
        });
        // A client that reads nothing of its response for this long is disconnected. A client that
        // reads slowly is not.
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(settings.read_timeout));
        let stream = ClientStream::new(Box::pin(stream), place, settings);
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection failed");
            }
        });
    }
    drop(listener);
    tokio::time::timeout(settings.shutdown_timeout, graceful.shutdown()).await.is_ok()
}

/// Adds to a request what the router must know about its connection.
fn prepared(request: hyper::Request<Incoming>, peer: SocketAddr) -> Request {
    let mut request = request.map(axum::body::Body::new);
    let hosts = request.headers().get_all(header::HOST).iter().count();
    // RFC 9112, section 3.2.
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        request.extensions_mut().insert(InvalidHost);
    }
    request.extensions_mut().insert(ConnectInfo(peer));
    request
}

/// Accepts a connection as soon as there is a place for it.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Connections>,
) -> Option<(TcpStream, SocketAddr, Arc<Place>)> {
    let permit = connections.free().await;
    match listener.accept().await {
        Ok((mut stream, peer)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY cannot be set");
            }
            let Some(place) = connections.enter(peer.ip(), permit) else {
                tokio::spawn(async move {
                    let told =
                        tokio::time::timeout(Duration::from_secs(1), stream.write_all(TOO_MANY));
                    drop(told.await);
                });
                return None;
            };
            Some((stream, peer, place))
        }
        Err(error) => {
            connections.not_accepted(&error);
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
