//! The server of `producer serve`: the order in which its parts start and stop.
//!
//! It starts ports, links and outbox, and then accepts visitors; it does not wait for broker and
//! registry. At a stop it accepts no more visitors, ends the requests in flight, writes the clicks in
//! memory to the disk and delivers them, until a deadline. The links stop at the same time.
#![expect(clippy::disallowed_methods, reason = "delivers until a deadline")]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use service::admin_port::{self, Health};
use service::descriptors::Descriptors;
use service::shutdown;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::day_keys::{KeyRing, key_refresher};
use crate::collector::{Collector, CollectorParts};
use crate::config::ServeArgs;
use crate::delivery::Delivery;
use crate::exit::Failure;
use crate::links::link_source::LinkSource;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::public_port::{self, PortConnections, Services};
use crate::redirect::Redirector;
use crate::request_span::Sampling;
use crate::stop_deadline::{DRAIN_TIMEOUT, StopDeadline};

/// Connections that the system queues until this process accepts them.
const BACKLOG: u32 = 1024;
/// Bytes of answers that the system buffers for one connection: it bounds the memory of a client that
/// does not read, and lets this process notice it. (Linux doubles the value for its own records.)
const SEND_BUFFER: u32 = 64 * 1024;
/// Smallest default of the connections of one client.
const CLIENT_SHARE_MIN: usize = 64;

/// The stages of a run of the server.
#[repr(u8)]
#[derive(Clone, Copy)]
enum Stage {
    Starting,
    Serving,
    Stopping,
}

/// The current stage, shared with the health probe.
#[derive(Clone)]
struct ServerStage(Arc<AtomicU8>);

impl ServerStage {
    fn set(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    fn health(&self, links: Health, problems: Vec<String>) -> Health {
        const SERVING: u8 = Stage::Serving as u8;
        const STARTING: u8 = Stage::Starting as u8;
        match self.0.load(Ordering::Relaxed) {
            // Redirects work without broker and disk, so the service stays ready.
            SERVING => links.with(problems),
            STARTING => Health::NotReady("starting".to_owned()),
            _ => Health::NotReady("stopping".to_owned()),
        }
    }
}

/// The results of a run of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeSummary {
    /// Visitors redirected.
    pub redirects: u64,
    /// Clicks made.
    pub clicks: u64,
    /// Clicks of an earlier run that the outbox held at the start.
    pub recovered: u64,
    /// Clicks that the broker acknowledged.
    pub delivered: u64,
    /// Clicks that stay in the outbox.
    pub waiting: u64,
    /// Clicks that were lost.
    pub undelivered: u64,
}

/// Runs the server until SIGTERM or SIGINT; `exports` says whether spans are exported.
///
/// # Errors
/// The server cannot start. Once it serves, it reports losses in the summary only.
pub async fn run(
    args: &ServeArgs,
    exports: bool,
    report: impl FnOnce(&ServeSummary),
) -> Result<ServeSummary, Failure> {
    let stop = shutdown::on_signal().map_err(Failure::invariant)?;
    let mut reload = signal(SignalKind::hangup()).map_err(Failure::invariant)?;
    let metrics = Metrics::default();
    metrics.attempts.set_stuck_after(Duration::from_secs(args.stuck_seconds));
    let public = bind(args.listen)?;
    let admin_listen = args.admin.admin_listen;
    let admin = listen(bind(admin_listen)?, admin_listen)?;
    // Before other parts open descriptors.
    let descriptors = Descriptors::raise();
    let links = LinkSource::start(args, &metrics).await?;
    let mut delivery = Delivery::open(&args.kafka, "serve", args.outbox_drop, &metrics)?;
    delivery.start()?;
    let stage = ServerStage(Arc::new(AtomicU8::new(Stage::Starting as u8)));
    let shutdown = CancellationToken::new();
    let keys = Arc::new(args.privacy.key_ring(&metrics));
    let mut admin_port = JoinSet::new();
    let probe = {
        let (stage, problems, links) = (stage.clone(), delivery.problems(), links.health());
        let keys = Arc::clone(&keys);
        move || {
            let problems = problems.current().into_iter().chain(keys.problem());
            stage.health(links(), problems.collect())
        }
    };
    let (registry, hosts) = (Arc::new(metrics.registry()), args.admin.hosts.admin_hosts.clone());
    admin_port.spawn(admin_port::run(admin, registry, probe, hosts, shutdown.clone()));

    start_keys(args, &keys).await?;
    let redirector = redirector(args, exports, &delivery.outbox, &keys, &metrics)?;
    redirector.set_links(Arc::clone(&links.table));
    let collector = collector(args, &delivery.outbox, &keys, &metrics)?;
    let public = listen(public, args.listen)?;
    let limits = args.public.limits(connections(args, descriptors), args.threads, DRAIN_TIMEOUT);
    let services =
        Services { redirector: Arc::clone(&redirector), collector, metrics: metrics.clone() };
    let mut port = JoinSet::new();
    port.spawn(public_port::run(public, services, limits, shutdown.child_token()));
    stage.set(Stage::Serving);
    tracing::info!(
        listen = %args.listen, admin = %admin_listen, topic = %args.kafka.topic,
        links = metrics.links_in_memory.get(), version = env!("CARGO_PKG_VERSION"), "serving"
    );
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = reload.recv() => links.reload(&metrics).await,
            ended = port.join_next() => {
                let cause = anyhow::anyhow!("the public port has stopped unexpectedly: {ended:?}");
                return Err(Failure::invariant(cause));
            }
        }
    }
    stage.set(Stage::Stopping);
    tracing::info!("stopping");
    // The admin port answers until the end, so that it shows the last losses.
    let deadline = StopDeadline::after(args.kafka.flush_wait());
    let outbox = Arc::clone(&delivery.outbox);
    let (links_ended, waiting) = tokio::join!(
        deadline.within("links", links.finish()),
        deadline.within("clicks", finish(args, shutdown, port, delivery)),
    );
    let waiting = waiting.transpose()?.unwrap_or_else(|| outbox.waiting());
    let summary = summary(&outbox, waiting, &metrics);
    report(&summary);
    links_ended.transpose()?;
    admin_port.shutdown().await;
    Ok(summary)
}

/// Waits for the requests in flight, then for the delivery of clicks; returns how many still wait.
async fn finish(
    args: &ServeArgs,
    shutdown: CancellationToken,
    mut port: JoinSet<io::Result<()>>,
    mut delivery: Delivery,
) -> Result<u64, Failure> {
    shutdown.cancel();
    while port.join_next().await.is_some() {}
    let until = tokio::time::Instant::now() + args.kafka.flush_wait();
    let go_on = move || tokio::time::Instant::now() < until;
    let finished = tokio::task::spawn_blocking(move || delivery.finish(go_on));
    finished.await.map_err(Failure::invariant)
}

fn summary(outbox: &Outbox, waiting: u64, metrics: &Metrics) -> ServeSummary {
    let undelivered = metrics.undelivered();
    if undelivered > 0 {
        tracing::error!(undelivered, "clicks were lost");
    }
    if waiting > 0 {
        tracing::warn!(waiting, "clicks stay in the outbox until the next start");
    }
    ServeSummary {
        redirects: metrics.redirects(),
        clicks: metrics.clicks_offered.get(),
        recovered: outbox.recovered().clicks,
        delivered: metrics.clicks_delivered.get(),
        waiting,
        undelivered,
    }
}

/// Reads the keys of visitor ids before the first visitor, and from then on periodically.
async fn start_keys(args: &ServeArgs, keys: &Arc<KeyRing>) -> Result<(), Failure> {
    let (outbox, store) = (&args.kafka.outbox, &args.follow.store.links_db);
    let store = args.privacy.key_store(outbox, store).map_err(Failure::of_chain)?;
    key_refresher::start(keys, store).await.map_err(Failure::invariant)
}

fn redirector(
    args: &ServeArgs,
    exports: bool,
    outbox: &Arc<Outbox>,
    keys: &Arc<KeyRing>,
    metrics: &Metrics,
) -> Result<Arc<Redirector<Arc<Outbox>>>, Failure> {
    let sampling = Sampling { exports, ratio: args.trace_sample };
    let outbox = Arc::clone(outbox);
    let redirector = Redirector::new(outbox, metrics.clone(), node(args), sampling);
    let client_policy = args.public.client_policy(args.privacy.privacy(), Arc::clone(keys));
    Ok(Arc::new(redirector.with_client_policy(client_policy)))
}

/// The collector; `None` if no token is set.
fn collector(
    args: &ServeArgs,
    outbox: &Arc<Outbox>,
    keys: &Arc<KeyRing>,
    metrics: &Metrics,
) -> Result<Option<Arc<Collector>>, Failure> {
    let Some(tokens) = args.public.tokens().map_err(Failure::configuration)? else {
        return Ok(None);
    };
    let limits = args.public.collector_limits();
    tracing::info!(
        memory_bytes_max = limits.memory_bytes(),
        requests_at_once = limits.working_max(),
        "the collector is on"
    );
    let parts = CollectorParts {
        tokens,
        limits,
        outbox: Arc::clone(outbox),
        privacy: args.privacy.privacy(),
        keys: Arc::clone(keys),
        node: node(args),
        metrics: metrics.clone(),
    };
    Ok(Some(Arc::new(Collector::new(parts))))
}

/// Bounds of the public port's connections, within the descriptors of the process.
fn connections(args: &ServeArgs, descriptors: Descriptors) -> PortConnections {
    let connections = descriptors.connections(args.connections);
    tracing::info!(
        descriptors = descriptors.limit(),
        connections,
        "limits of file descriptors and connections"
    );
    if connections < args.connections as usize {
        tracing::warn!(
            wanted = args.connections,
            connections,
            "the limit of file descriptors allows fewer connections than configured: raise it"
        );
    }
    let share =
        args.connections_per_client.map_or(CLIENT_SHARE_MIN.max(connections / 4), |it| it as usize);
    PortConnections { max: connections, per_client: share.min(connections) }
}

fn node(args: &ServeArgs) -> String {
    args.node.clone().unwrap_or_else(host_name)
}

/// Binds the address now, so that a port in use is an error at once; the port accepts visitors later.
fn bind(address: SocketAddr) -> Result<TcpSocket, Failure> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let bound = socket.and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(address)?;
        Ok(socket)
    });
    bound.with_context(|| format!("cannot listen on {address}")).map_err(Failure::unavailable)
}

fn listen(socket: TcpSocket, address: SocketAddr) -> Result<TcpListener, Failure> {
    socket
        .listen(BACKLOG)
        .with_context(|| format!("cannot listen on {address}"))
        .map_err(Failure::unavailable)
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "producer".to_owned(),
        name => name.to_owned(),
    }
}
