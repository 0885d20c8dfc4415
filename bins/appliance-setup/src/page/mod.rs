//! `appliance-setup serve`: the first-boot page.

mod driver;
mod form;
mod listen;
mod render;
mod routes;
mod sessions;
mod tls;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use appliance_install::{Install, Step};
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use self::driver::{Driver, Phase, Reopened, Shown};
use self::listen::listen;
use self::render::Pages;
use self::routes::{Page, router};
use self::sessions::Sessions;
use self::tls::Tls;
use crate::options::{BootstrapArgs, OutputArgs, Service, product};
use crate::say;
use crate::status::Status;

#[derive(Args)]
pub(crate) struct Serve {
    /// Where the page is. Others in the network reach it on another address than this one, such as
    /// 0.0.0.0:80.
    #[arg(
        long,
        env = "APPLIANCE_LISTEN",
        default_value = "127.0.0.1:8090",
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,
    /// Where the operator signs in once all is done.
    #[arg(long, env = "APPLIANCE_PRODUCT_URL", value_name = "URL")]
    product_url: Option<String>,
    #[command(flatten)]
    tls: Tls,
    #[command(flatten)]
    service: Service,
    #[command(flatten)]
    output_args: OutputArgs,
    #[command(flatten)]
    bootstrap_args: BootstrapArgs,
}

/// Serves the page until it is told to end, and installs meanwhile.
pub(crate) async fn serve(install: Install, asked: &Serve, state: &Path) -> Result<ExitCode> {
    if let Step::Done { .. } = install.step() {
        return say(&Status::of(install.step(), None).text());
    }
    let client = Arc::new(asked.service.client(state)?);
    let acceptor = asked.tls.acceptor()?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    let listener = TcpListener::bind(asked.listen)
        .await
        .with_context(|| format!("{} cannot be had", asked.listen))?;
    let address = listener.local_addr().context("the page has no address")?;
    let pages = Pages::new(
        install.appliance_id().to_owned(),
        client.service().to_owned(),
        asked.product_url.clone(),
    )?;
    let shown =
        watch::Sender::new(Shown { phase: Phase::Form(Box::<Reopened>::default()), skew: None });
    let (commands, received) = mpsc::channel(4);
    let page = Page {
        sessions: Arc::new(Sessions::new(move |token| {
            // Where nobody reads standard output any more, whoever looks for it looks there.
            if let Err(error) =
                say(&format!("Open {scheme}://{address}/ and enter the setup token {token}"))
            {
                eprintln!("appliance-setup: {error:#}; the setup token is {token}");
            }
        })?),
        pages: Arc::new(pages),
        client: client.clone(),
        commands,
        shown: shown.subscribe(),
        is_secure: acceptor.is_some(),
    };
    let trust = asked.service.trust(state);
    let product = product(&asked.output_args, Some(&asked.bootstrap_args), &trust, state)?;
    let driver =
        Driver { install, state: state.to_owned(), client, product, commands: received, shown };
    let mut terminated = signal(SignalKind::terminate()).context("signals cannot be watched")?;
    tokio::select! {
        () = listen(listener, acceptor, router(page)) => Ok(ExitCode::SUCCESS),
        () = driver.run() => Ok(ExitCode::SUCCESS),
        _ = terminated.recv() => Ok(ExitCode::SUCCESS),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("Ctrl-C cannot be watched")?;
            Ok(ExitCode::from(130))
        }
    }
}
