//! Starts the service, and runs it until SIGTERM or SIGINT.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::http::HeaderName;
use registry_core::signup::{BlockedDomains, SelfService};
use registry_http::{AcceptedToken, AppState, HttpSettings, ServiceTokens, WebPages, WebSettings};
use registry_wiring::{App, Config, Tokens, watch};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch::{Receiver, channel};
use tokio::task::JoinSet;

use crate::{Options, attack, limits, logging};

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let Options { data, listen, config } = options;
    let config = Config::load_over(config.as_deref(), data, listen)?;
    logging::start(&config.log)?;
    for name in unknown_variables() {
        tracing::warn!("the environment variable {name} is not a configuration key");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("the async runtime cannot be started")?;
    runtime.block_on(serve(config))
}

/// Returns the environment variables that look like configuration keys and are not.
pub(crate) fn unknown_variables() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    Config::unknown_variables(names)
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let listen = config.listen;
    let listener = TcpListener::bind(listen).await;
    let listener = listener
        .with_context(|| format!("cannot listen on {listen} (`listen`, REGISTRY_LISTEN)"))?;
    let address = listener.local_addr().context("the listening address cannot be read")?;
    let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let settings = Arc::new(http_settings(&config)?);
    let built = registry_wiring::build(&config, &public_url).await?;
    let claim = built.data.claim()?;
    if claim.is_some() || config.public_url.is_some() {
        built.data.store_public_url(&public_url)?;
    } else {
        tracing::warn!(
            "another process uses this data folder, so registryctl keeps its URL for links: set \
             `public_url`"
        );
    }
    let mut stage = stages(config.http.drain_delay.to_std())?;
    let mut workers = JoinSet::new();
    for _ in 0..if config.mail.worker { config.mail.parallel } else { 0 } {
        let (registry, mut stop) = (built.registry.clone(), stage.clone());
        workers.spawn(registry_wiring::deliver_mail(registry, async move {
            reached(&mut stop, Stage::Draining).await;
        }));
    }
    if config.retention.sweeper {
        let (registry, mut stop) = (built.registry.clone(), stage.clone());
        let every = config.retention.sweep_every.to_std();
        workers.spawn(registry_wiring::sweep(registry, every, async move {
            reached(&mut stop, Stage::Draining).await;
        }));
    }
    if let Some(ring) = built.ring.clone() {
        let mut stop = stage.clone();
        tokio::spawn(watch("the license keys", move || ring.reload(), async move {
            reached(&mut stop, Stage::Draining).await;
        }));
    }
    let tokens = Arc::new(ServiceTokens::default());
    accept_tokens(&config, &tokens)?;
    let (accepted, mut stop) = (tokens.clone(), stage.clone());
    let watched = config.clone();
    let reload = move || accept_tokens(&watched, &accepted);
    tokio::spawn(watch(
        "the tokens",
        reload,
        async move { reached(&mut stop, Stage::Draining).await },
    ));
    let pages = config.web.enabled.then(|| web_pages(&config, &public_url)).transpose()?;
    announce(&config, &built, &format!("http://{address}"))?;
    let registry = built.registry.clone();
    let app = AppState::new(built.registry, built.files, tokens, settings.clone());
    let app = match pages {
        Some(pages) => app.with_web(pages),
        None => app,
    };
    attack::warn(&config, &public_url);
    tokio::spawn(attack::watch(registry));
    tokio::spawn(report(app.clone()));
    let (drained, mut draining) = (app.clone(), stage.clone());
    tokio::spawn(async move {
        reached(&mut draining, Stage::Draining).await;
        drained.drain();
    });
    let router = registry_http::router(app.clone());
    let finished = registry_http::serve(listener, router, &settings, async move {
        reached(&mut stage, Stage::Stopping).await;
    })
    .await;
    app.finish().await;
    drop(claim);
    while let Some(ended) = workers.join_next().await {
        ended.context("a worker failed")?;
    }
    if finished {
        tracing::info!("stopped; every request got its response");
        Ok(())
    } else {
        Err(anyhow!("stopped after {:?} with requests still open", settings.shutdown_timeout))
    }
}

/// Replaces the accepted tokens with those in the data folder.
fn accept_tokens(config: &Config, tokens: &ServiceTokens) -> anyhow::Result<()> {
    let known = Tokens::open(config)?;
    let accepted = known
        .accepted()
        .filter_map(|it| Some(AcceptedToken { actor: it.actor(), digest: it.digest()? }))
        .collect();
    tokens.accept(accepted);
    Ok(())
}

pub(crate) fn http_settings(config: &Config) -> anyhow::Result<HttpSettings> {
    let http = &config.http;
    Ok(HttpSettings {
        body_limit: http.body_limit,
        request_timeout: http.request_timeout.to_std(),
        read_timeout: http.read_timeout.to_std(),
        keep_alive: http.keep_alive.to_std(),
        shutdown_timeout: http.shutdown_timeout.to_std(),
        refusal_delay: config.rate_limit.refusal_delay.to_std(),
        connections: limits::connections(config),
        trusted_proxies: http.trusted_proxies.clone(),
        source_header: HeaderName::try_from(&http.source_header)
            .context("`http.source_header` is not a header name")?,
    })
}

/// Builds the web pages of customers and operators.
pub(crate) fn web_pages(config: &Config, public_url: &str) -> anyhow::Result<WebPages> {
    let catalogue = config.catalogue()?;
    let editions =
        config.web.self_service.clone().unwrap_or_else(|| vec![catalogue.free().to_string()]);
    let blocked = BlockedDomains::new(&config.web.blocked_domains)
        .map_err(|domain| anyhow!("`web.blocked_domains` has `{domain}`, which is not a domain"))?;
    let self_service = SelfService { editions, products: config.products.clone(), blocked };
    let settings = WebSettings {
        brand: serde_json::to_value(registry_wiring::brand(config, public_url)?)
            .context("the branding cannot be serialized")?,
        editions: catalogue,
        self_service,
        checkout_url: config.web.checkout_url.clone(),
        public_url: public_url.to_owned(),
    };
    Ok(WebPages::new(settings)?)
}

/// Logs the parts that do not work at the start. On a small machine nothing polls `/readyz`.
async fn report(app: AppState) {
    for (part, problem) in app.not_ready().await {
        tracing::warn!(part, problem, "not ready at the start");
    }
}

/// Logs where everything is, and prints the listening address on standard output.
fn announce(config: &Config, built: &App, address: &str) -> anyhow::Result<()> {
    let data = &built.data;
    tracing::info!("data folder    {}", data.path().display());
    if let Some(smtp) = &config.mail.smtp {
        tracing::info!("mail server    {}", smtp.host);
    } else {
        tracing::info!("mailbox        {}", data.mailbox().display());
    }
    if let Some(s3) = &config.s3 {
        tracing::info!("images         s3://{}", s3.bucket);
    }
    tracing::info!("service token  {}", built.service_token_file.display());
    tracing::info!("API to try     {address}/docs");
    if config.web.enabled {
        tracing::info!(
            "pages          {address}/ to register, {address}/portal, {address}/console"
        );
    }
    let mut output = std::io::stdout().lock();
    writeln!(output, "listening on {address}")
        .and_then(|()| output.flush())
        .context("standard output is closed")
}

/// The end of the service, in stages.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Stage {
    Serving,
    /// Load balancers turn away: `/readyz` is 503.
    Draining,
    /// The listener is closed, and requests in flight finish.
    Stopping,
}

/// Returns the stage. SIGTERM drains for some time before it stops; SIGINT, or a second signal,
/// stops at once.
fn stages(drain_delay: Duration) -> anyhow::Result<Receiver<Stage>> {
    let (sender, receiver) = channel(Stage::Serving);
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {
                tracing::info!("SIGTERM: not ready any more; stops in {drain_delay:?}");
                sender.send_replace(Stage::Draining);
                tokio::select! {
                    () = tokio::time::sleep(drain_delay) => {}
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            _ = interrupt.recv() => {}
        }
        tracing::info!("finishing the requests in flight");
        sender.send_replace(Stage::Stopping);
    });
    Ok(receiver)
}

/// Waits until the end has come so far.
async fn reached(stage: &mut Receiver<Stage>, wanted: Stage) {
    // An error means that the sender is gone, which also ends the service.
    drop(stage.wait_for(|stage| *stage >= wanted).await);
}
