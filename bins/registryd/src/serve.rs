//! Puts the service together and runs it until it is told to stop.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, ensure};
use axum::http::HeaderName;
use registry_core::signup::{BlockedDomains, SelfService};
use registry_http::{AdmittedToken, AppState, HttpSettings, ServiceTokens, WebPages, WebSettings};
use registry_wiring::{App, Config, Tokens, watch};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch::{Receiver, channel};
use tokio::task::JoinSet;

use crate::{Options, logging};

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let Options { data, listen, config } = options;
    let config = Config::load_over(config.as_deref(), data, listen)?;
    logging::start(&config.log)?;
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in Config::unknown_variables(names) {
        tracing::warn!("{name} is in the environment and is no key of the configuration");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let listen = config.listen;
    let listener = TcpListener::bind(listen).await;
    let listener = listener
        .with_context(|| format!("{listen} cannot be listened on (`listen`, REGISTRY_LISTEN)"))?;
    let address = listener.local_addr().context("no address")?;
    let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let settings = Arc::new(http_settings(&config)?);
    let wired = registry_wiring::build(&config, &public_url).await?;
    wired.data.note_public_url(&public_url)?;
    let mut stopped = stop_signal()?;
    let mut workers = JoinSet::new();
    for _ in 0..if config.mail.worker { config.mail.parallel } else { 0 } {
        let (registry, mut stop) = (wired.registry.clone(), stopped.clone());
        workers
            .spawn(registry_wiring::deliver_mail(registry, async move { wait(&mut stop).await }));
    }
    if config.retention.sweeper {
        let (registry, mut stop) = (wired.registry.clone(), stopped.clone());
        let every = config.retention.sweep_every.to_std();
        workers.spawn(registry_wiring::sweep(
            registry,
            every,
            async move { wait(&mut stop).await },
        ));
    }
    if let Some(ring) = wired.ring.clone() {
        let mut stop = stopped.clone();
        tokio::spawn(watch("the license keys", move || ring.look(), async move {
            wait(&mut stop).await
        }));
    }
    let tokens = Arc::new(ServiceTokens::default());
    admit(&config, &tokens)?;
    let (admitted, mut stop) = (tokens.clone(), stopped.clone());
    let watched = config.clone();
    let look = move || admit(&watched, &admitted);
    tokio::spawn(watch("the tokens", look, async move { wait(&mut stop).await }));
    let door = config.door.enabled.then(|| door(&config, &public_url)).transpose()?;
    announce(&config, &wired, &format!("http://{address}"))?;
    let app = AppState::new(wired.registry, wired.files, tokens, settings.clone());
    let app = match door {
        Some(door) => app.with_web(door),
        None => app,
    };
    if public_url.starts_with("https://") && config.http.trusted_proxies.is_empty() {
        tracing::warn!(
            "`public_url` is https, and `http.trusted_proxies` names no proxy: all clients count as one source"
        );
    }
    tokio::spawn(report(app.clone()));
    let router = registry_http::router(app.clone());
    let finished =
        registry_http::serve(listener, router, &settings, async move { wait(&mut stopped).await })
            .await;
    app.finish().await;
    while let Some(ended) = workers.join_next().await {
        ended.context("a worker broke off")?;
    }
    if finished {
        tracing::info!("stopped; every request was answered");
        Ok(())
    } else {
        Err(anyhow!("stopped after {:?} with requests still open", settings.shutdown_timeout))
    }
}

/// Admits the tokens of the data folder as they are now.
fn admit(config: &Config, tokens: &ServiceTokens) -> anyhow::Result<()> {
    let known = Tokens::open(config)?;
    let admitted = known
        .admitted()
        .filter_map(|it| Some(AdmittedToken { actor: it.actor(), digest: it.digest()? }))
        .collect();
    tokens.admit(admitted);
    Ok(())
}

fn http_settings(config: &Config) -> anyhow::Result<HttpSettings> {
    let http = &config.http;
    Ok(HttpSettings {
        body_limit: http.body_limit,
        request_timeout: http.request_timeout.to_std(),
        read_timeout: http.read_timeout.to_std(),
        shutdown_timeout: http.shutdown_timeout.to_std(),
        connections: http.connections,
        trusted_proxies: http.trusted_proxies.clone(),
        source_header: HeaderName::try_from(&http.source_header)
            .context("`http.source_header` is no header's name")?,
    })
}

/// The customer's pages.
fn door(config: &Config, public_url: &str) -> anyhow::Result<WebPages> {
    let catalogue = config.catalogue()?;
    let self_service =
        config.door.self_service.clone().unwrap_or_else(|| vec![catalogue.free().to_string()]);
    for edition in &self_service {
        let known = catalogue.find(edition).map(|found| found.name.as_str() == edition);
        ensure!(
            matches!(known, Ok(true)),
            "`door.self_service` names `{edition}`, which is no edition"
        );
    }
    ensure!(
        !self_service.is_empty(),
        "`door.self_service` names no edition; to serve no pages, set `door.enabled`"
    );
    let blocked = BlockedDomains::new(&config.door.blocked_domains)
        .map_err(|domain| anyhow!("`door.blocked_domains`: `{domain}` is no domain"))?;
    let self_service =
        SelfService { editions: self_service, products: config.products.clone(), blocked };
    let settings = WebSettings {
        brand: serde_json::to_value(registry_wiring::brand(config, public_url)?)
            .context("the branding cannot be shown")?,
        self_service,
        checkout_url: config.door.checkout_url.clone(),
        public_url: public_url.to_owned(),
    };
    Ok(WebPages::new(settings)?)
}

/// Says what does not work at the start: nobody asks for readiness on a small machine.
async fn report(app: AppState) {
    for (part, problem) in app.not_ready().await {
        tracing::warn!(part, problem, "at the start");
    }
}

/// Says where everything is, and, on standard output, that it listens.
fn announce(config: &Config, wired: &App, address: &str) -> anyhow::Result<()> {
    let data = &wired.data;
    tracing::info!("data folder    {}", data.path().display());
    if let Some(smtp) = &config.mail.smtp {
        tracing::info!("mail server    {}", smtp.host);
    } else {
        tracing::info!("mailbox        {}", data.mailbox().display());
    }
    if let Some(s3) = &config.s3 {
        tracing::info!("images         s3://{}", s3.bucket);
    }
    tracing::info!("service token  {}", wired.service_token_file.display());
    tracing::info!("API to try     {address}/docs");
    if config.door.enabled {
        tracing::info!(
            "pages          {address}/ to register, {address}/portal, {address}/console"
        );
    }
    let mut output = std::io::stdout().lock();
    writeln!(output, "listening on {address}")
        .and_then(|()| output.flush())
        .context("standard output is closed")
}

/// Turns true at SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<Receiver<bool>> {
    let (sender, receiver) = channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be watched")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be watched")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: finishing the requests in flight"),
            _ = interrupt.recv() => tracing::info!("SIGINT: finishing the requests in flight"),
        }
        sender.send_replace(true);
    });
    Ok(receiver)
}

async fn wait(stop: &mut Receiver<bool>) {
    // The sender lives until it has sent; an error would mean the same.
    drop(stop.wait_for(|stopped| *stopped).await);
}
