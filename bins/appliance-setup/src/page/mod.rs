//! `appliance-setup serve`: the first-boot page.

mod driver;
mod form;
mod listen;
mod render;
mod routes;
mod sessions;
mod tls;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use appliance_install::{Install, Step};
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use self::driver::{Driver, FormView, Screen, View};
use self::listen::listen;
use self::render::{EditionLabels, Pages};
use self::routes::{Page, router};
use self::sessions::Sessions;
use self::tls::TlsArgs;
use crate::options::{BootstrapArgs, OutputArgs, ServiceArgs, product};
use crate::status::Status;
use crate::{print_line, report};

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// Address and port of the page. The default accepts connections from this machine only; use
    /// for example 0.0.0.0:80 to accept them from the network.
    #[arg(
        long,
        env = "APPLIANCE_LISTEN",
        default_value = "127.0.0.1:8090",
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,
    /// URL of the product, for the sign-in link on the last page.
    #[arg(long, env = "APPLIANCE_PRODUCT_URL", value_name = "URL")]
    product_url: Option<String>,
    #[command(flatten)]
    labels: EditionLabels,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    output_args: OutputArgs,
    #[command(flatten)]
    bootstrap_args: BootstrapArgs,
}

/// Serves the page and installs, until the process is terminated.
pub(crate) async fn serve(install: Install, args: &ServeArgs, state: &Path) -> Result<ExitCode> {
    if let Step::Done { .. } = install.step() {
        return print_line(&Status::new(install.step(), None).text());
    }
    // Once the identity is known, no secret is sent to the service.
    let client = Arc::new(if install.check_open().is_ok() {
        args.service.confidential_client(state)?
    } else {
        args.service.client(state)?
    });
    let acceptor = args.tls.acceptor()?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("the page cannot be served on {}", args.listen))?;
    let address = listener.local_addr().context("the address of the page is not known")?;
    let pages = Pages::new(
        install.appliance_id().to_owned(),
        client.service().to_owned(),
        args.product_url.clone(),
        args.labels.clone(),
    )?;
    let view =
        watch::Sender::new(View { screen: Screen::Form(Box::<FormView>::default()), skew: None });
    let (commands, received) = mpsc::channel(4);
    let page = Page {
        sessions: Arc::new(Sessions::new(move |token| {
            // If standard output is closed, the installer finds the token on standard error.
            let urls: Vec<_> =
                reachable(address).iter().map(|it| format!("{scheme}://{it}/")).collect();
            let urls = urls.join(" or ");
            if let Err(error) =
                print_line(&format!("Open {urls} and enter the setup token {token}"))
            {
                report(&format!("{error:#}; the setup token is {token}"));
            }
        })?),
        pages: Arc::new(pages),
        client: client.clone(),
        commands,
        view: view.subscribe(),
        is_secure: acceptor.is_some(),
    };
    let trust = args.service.trust(state);
    let product = product(&args.output_args, Some(&args.bootstrap_args), &trust, state)?;
    let driver =
        Driver { install, state: state.to_owned(), client, product, commands: received, view };
    let mut terminated = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    tokio::select! {
        () = listen(listener, acceptor, router(page)) => Ok(ExitCode::SUCCESS),
        () = driver.run() => Ok(ExitCode::SUCCESS),
        _ = terminated.recv() => Ok(ExitCode::SUCCESS),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("Ctrl-C cannot be handled")?;
            Ok(ExitCode::from(130))
        }
    }
}

/// Returns the addresses under which the page can be reached. A browser cannot open `0.0.0.0` or
/// `[::]`, which stand for all addresses of the machine.
fn reachable(address: SocketAddr) -> Vec<SocketAddr> {
    if !address.ip().is_unspecified() {
        return vec![address];
    }
    // A socket for all addresses of IPv6 takes IPv4, too.
    let is_usable = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local() && address.is_ipv6(),
    };
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default().into_iter();
    let mut ips: Vec<IpAddr> =
        interfaces.map(|interface| interface.ip()).filter(is_usable).collect();
    ips.sort();
    ips.dedup();
    if ips.is_empty() {
        ips.push(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    ips.into_iter().map(|ip| SocketAddr::new(ip, address.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn browser_gets_addresses_that_it_can_open() {
        for (listen, expected) in
            [("192.0.2.1:80", Some("192.0.2.1:80")), ("0.0.0.0:8080", None), ("[::]:8080", None)]
        {
            let listen: std::net::SocketAddr = listen.parse().unwrap();
            let found = reachable(listen);
            assert!(!found.is_empty());
            for address in found {
                assert!(!address.ip().is_unspecified(), "{address}");
                assert_eq!(address.port(), listen.port());
                assert!(expected.is_none_or(|expected| address.to_string() == expected));
            }
        }
    }
}
