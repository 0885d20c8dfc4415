//! A server in a separate thread, which stops when its value is dropped.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A running server. Dropping the value also closes all connections, as if the server were killed.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Accepts connections on this port of the loopback interface (0 for a free port), and serves
    /// each one with `serve`.
    pub(crate) fn start<Served: Future<Output = ()> + Send + 'static>(
        port: u16,
        serve: impl Fn(TcpStream) -> Served + Send + 'static,
    ) -> Result<Self> {
        let listener =
            StdListener::bind(("127.0.0.1", port)).with_context(|| format!("port {port}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let accepting = async move {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream));
                }
            };
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = accepting => {}
                }
            });
            runtime.shutdown_background();
        });
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
