//! `producer serve`: answers redirects until told to stop, then delivers what waits.
//!
//! Order of the start: links, ports, schema id, then visitors. Order of the end:
//! no new visitors, requests in flight, the queue, the books.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use schemas::{Encoder, SchemaId};
use service::admin::{self, Health};
use service::shutdown;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cmd::read_links;
use crate::config::{KafkaArgs, ServeArgs};
use crate::exit::{Exit, Failure};
use crate::http::{self, Limits};
use crate::metrics::{Metrics, OutcomeLabel, ResultLabel};
use crate::publish::{self, Publisher};
use crate::redirect::Redirector;
use crate::registry;
use crate::span::Sampling;

/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 1024;
/// How long requests in flight may take to end; each is answered from memory.
const DRAIN: Duration = Duration::from_secs(5);

/// How far the service has come.
#[repr(u8)]
#[derive(Clone, Copy)]
enum Stage {
    Starting,
    Serving,
    Stopping,
}

/// The stage, shared with the probe of the admin port.
#[derive(Clone)]
struct Progress(Arc<AtomicU8>);

impl Progress {
    fn reach(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    fn health(&self, publisher: &Publisher) -> Health {
        const SERVING: u8 = Stage::Serving as u8;
        const STARTING: u8 = Stage::Starting as u8;
        match self.0.load(Ordering::Relaxed) {
            SERVING => match publisher.trouble() {
                // Redirects go on without a broker, so the service stays ready.
                Some(trouble) => Health::Degraded(vec![trouble]),
                None => Health::Ready,
            },
            STARTING => Health::NotReady("asking the schema registry".to_owned()),
            _ => Health::NotReady("stopping".to_owned()),
        }
    }
}

/// Runs the service; `exports` says whether spans leave the process.
///
/// # Errors
/// What keeps it from starting. Once it serves, only its exit code tells of losses.
pub async fn run(args: &ServeArgs, exports: bool) -> Result<Exit, Failure> {
    let stop = shutdown::on_signal().map_err(Failure::invariant)?;
    let mut reload = signal(SignalKind::hangup()).map_err(Failure::invariant)?;
    let links = read_links(&args.links)?;
    let public = bind(args.listen)?;
    let admin = listen(bind(args.admin_listen)?, args.admin_listen)?;
    let metrics = Metrics::default();
    let publisher = Arc::new(start_publisher(&args.kafka, &metrics)?);
    let progress = Progress(Arc::new(AtomicU8::new(Stage::Starting as u8)));
    let shutdown = CancellationToken::new();
    let mut admin_port = JoinSet::new();
    let probe = {
        let (progress, publisher) = (progress.clone(), Arc::clone(&publisher));
        move || progress.health(&publisher)
    };
    admin_port.spawn(admin::run(admin, Arc::new(metrics.registry()), probe, shutdown.clone()));

    let asked = registry::newest_id(
        &args.kafka.schema_registry_url,
        &args.kafka.topic,
        args.kafka.start_wait(),
    );
    let schema = tokio::select! {
        found = asked => found.map_err(registry_failure)?,
        () = stop.cancelled() => return Ok(Exit::Done),
    };
    let redirector = redirector(args, schema, exports, &publisher, &metrics)?;
    redirector.set_links(links);
    let public = listen(public, args.listen)?;
    let limits = Limits { connections_max: args.connections as usize, drain: DRAIN };
    let mut port = JoinSet::new();
    port.spawn(http::run(
        public,
        Arc::clone(&redirector),
        metrics.clone(),
        limits,
        shutdown.child_token(),
    ));
    progress.reach(Stage::Serving);
    tracing::info!(
        listen = %args.listen, admin = %args.admin_listen, topic = %args.kafka.topic,
        %schema, links = metrics.links.get(), version = env!("CARGO_PKG_VERSION"), "serving"
    );
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = reload.recv() => reload_links(&args.links, &redirector, &metrics).await,
            ended = port.join_next() => {
                let cause = anyhow::anyhow!("the public port ended by itself: {ended:?}");
                return Err(Failure::invariant(cause));
            }
        }
    }
    progress.reach(Stage::Stopping);
    tracing::info!("stopping");
    // The admin port answers until the end: what is lost in the end is seen there too.
    let exit = finish(args, shutdown, port, publisher, &metrics).await;
    admin_port.shutdown().await;
    exit
}

async fn finish(
    args: &ServeArgs,
    shutdown: CancellationToken,
    mut port: JoinSet<()>,
    publisher: Arc<Publisher>,
    metrics: &Metrics,
) -> Result<Exit, Failure> {
    shutdown.cancel();
    while port.join_next().await.is_some() {}
    let wait = args.kafka.flush_wait();
    let flushed = tokio::task::spawn_blocking(move || {
        if publisher.flush(wait) > 0 {
            publisher.give_up();
        }
    });
    flushed.await.map_err(Failure::invariant)?;
    let redirects = metrics.requests.get_or_create(&OutcomeLabel { outcome: "redirected" }).get();
    let undelivered = metrics.undelivered();
    if undelivered > 0 {
        tracing::error!(undelivered, "clicks were lost");
    }
    let line = format!(
        "serve: redirects={redirects} clicks={} delivered={} undelivered={undelivered}",
        metrics.clicks_offered.get(),
        metrics.clicks_delivered.get(),
    );
    crate::exit::say(&line);
    Ok(if undelivered > 0 { Exit::Unavailable } else { Exit::Done })
}

/// Starts the client that both commands publish with.
///
/// # Errors
/// A configuration failure.
pub(super) fn start_publisher(args: &KafkaArgs, metrics: &Metrics) -> Result<Publisher, Failure> {
    let properties = args.properties();
    let settings = publish::Settings {
        brokers: &args.kafka_brokers,
        topic: &args.topic,
        queue_clicks: args.queue_clicks,
        queue_bytes: args.queue_bytes,
        properties: &properties,
    };
    Publisher::start(&settings, metrics.clone()).map_err(Failure::configuration)
}

/// What the registry's answer means for the process.
pub(super) fn registry_failure(error: registry::RegistryError) -> Failure {
    match error.is_retryable() {
        true => Failure::unavailable(error),
        false => Failure::configuration(error),
    }
}

fn redirector(
    args: &ServeArgs,
    schema: SchemaId,
    exports: bool,
    publisher: &Arc<Publisher>,
    metrics: &Metrics,
) -> Result<Arc<Redirector<Arc<Publisher>>>, Failure> {
    let encoder = Encoder::new(schema).map_err(Failure::invariant)?;
    let node = args.node.clone().unwrap_or_else(host_name);
    let sampling = Sampling { exports, ratio: args.trace_sample };
    let publisher = Arc::clone(publisher);
    Ok(Arc::new(Redirector::new(encoder, publisher, metrics.clone(), node, sampling)))
}

async fn reload_links(file: &Path, redirector: &Redirector<Arc<Publisher>>, metrics: &Metrics) {
    let file = file.to_owned();
    let read = tokio::task::spawn_blocking(move || read_links(&file)).await;
    let result = match read {
        Ok(Ok(links)) => {
            tracing::info!(links = links.count(), "links read again");
            redirector.set_links(links);
            "ok"
        }
        Ok(Err(Failure { cause, .. })) => {
            tracing::error!(
                cause = format!("{cause:#}"),
                "links not read again, the old ones stay"
            );
            "error"
        }
        Err(error) => {
            tracing::error!(%error, "links not read again, the old ones stay");
            "error"
        }
    };
    metrics.link_reloads.get_or_create(&ResultLabel { result }).inc();
}

/// Takes the address now, so that a port in use is told at once; visitors come later.
fn bind(address: SocketAddr) -> Result<TcpSocket, Failure> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let bound = socket.and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    });
    bound.with_context(|| format!("cannot listen on {address}")).map_err(Failure::configuration)
}

fn listen(socket: TcpSocket, address: SocketAddr) -> Result<TcpListener, Failure> {
    socket
        .listen(BACKLOG)
        .with_context(|| format!("cannot listen on {address}"))
        .map_err(Failure::configuration)
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "producer".to_owned(),
        name => name.to_owned(),
    }
}
