//! A server in a thread of its own, which ends when it is dropped.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A server that runs. Its connections end with it, as if it were killed.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Accepts connections on this port of the loopback (0: a free one), and serves each by
    /// `serve`.
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
