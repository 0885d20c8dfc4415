//! `appliance-setup serve`: the first-boot page.

mod driver;
mod form;
mod render;
mod routes;
mod sessions;
mod tls;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use appliance_install::Install;
use axum::Router;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use self::driver::{Driver, Phase, Reopened, Shown};
use self::render::Pages;
use self::routes::{Page, router};
use self::sessions::Sessions;
use self::tls::{Tls, TlsListener};
use crate::options::{Bootstrapping, Handing, Service};

#[derive(Args)]
pub(crate) struct Serve {
    /// Where the page is. Others in the network reach it on another address than this one, such as 0.0.0.0:80.
    #[arg(long, env = "APPLIANCE_LISTEN", default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where the operator signs in once all is done.
    #[arg(long, env = "APPLIANCE_PRODUCT_URL", value_name = "URL")]
    product_url: Option<String>,
    #[command(flatten)]
    tls: Tls,
    #[command(flatten)]
    service: Service,
    #[command(flatten)]
    handing: Handing,
    #[command(flatten)]
    bootstrapping: Bootstrapping,
}

/// Serves the page until it is told to end, and installs meanwhile.
pub(crate) async fn serve(install: Install, asked: &Serve, state: &Path, appliance_id: String) -> Result<ExitCode> {
    let client = Arc::new(asked.service.client(state)?);
    let acceptor = asked.tls.acceptor()?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    let listener = TcpListener::bind(asked.listen).await.with_context(|| format!("{} cannot be had", asked.listen))?;
    let address = listener.local_addr().context("the page has no address")?;
    let pages = Pages::new(appliance_id, client.service().to_owned(), asked.product_url.clone())?;
    let shown = watch::Sender::new(Shown { phase: Phase::Form(Box::<Reopened>::default()), skew: None });
    let (commands, received) = mpsc::channel(4);
    let page = Page {
        sessions: Arc::new(Sessions::new(move |token| {
            println!("Open {scheme}://{address}/ and enter the setup token {token}");
        })?),
        pages: Arc::new(pages),
        client: client.clone(),
        commands,
        shown: shown.subscribe(),
        is_secure: acceptor.is_some(),
    };
    let product = asked.handing.product(state, asked.bootstrapping.job());
    let driver = Driver { install, state: state.to_owned(), client, product, commands: received, shown };
    let mut terminated = signal(SignalKind::terminate()).context("signals cannot be watched")?;
    tokio::select! {
        served = listen(listener, acceptor, router(page)) => {
            served.context("the page cannot be served")?;
            Ok(ExitCode::SUCCESS)
        }
        () = driver.run() => Ok(ExitCode::SUCCESS),
        _ = terminated.recv() => Ok(ExitCode::SUCCESS),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("Ctrl-C cannot be watched")?;
            Ok(ExitCode::from(130))
        }
    }
}

async fn listen(listener: TcpListener, acceptor: Option<TlsAcceptor>, router: Router) -> std::io::Result<()> {
    match acceptor {
        Some(acceptor) => axum::serve(TlsListener::new(listener, acceptor)?, router).await,
        None => axum::serve(listener, router).await,
    }
}
