//! `processors run`: puts the parts together and runs the loop until told to stop.

use broker::ServerError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use prometheus_client::registry::Registry as MetricRegistry;
use service::admin_port::{self, Health};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clickhouse::server::{Server, Table};
use crate::config::{RulesArgs, RunArgs, Servers};
use crate::decode::schema_cache::Decoders;
use crate::exit::say;
use crate::kafka::consumer::Consumer;
use crate::kafka::dead_letter_writer::DeadLetters;
use crate::link_dimension::Links;
use crate::metrics::Metrics;
use crate::metrics::rules::RuleMetrics;
use crate::rules::folder::Shelf;
use crate::run::driver::Driver;
use crate::run::pipeline::Pipeline;
use crate::run::retry::until_done;
use crate::setup::gather_facts::preflight;

/// What `run` needs to know.
#[derive(Debug, Args)]
pub struct RunCommand {
    #[command(flatten)]
    pub(super) servers: Servers,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

pub(super) async fn run(args: RunCommand) -> Result<(), ServerError> {
    let shutdown = service::shutdown::on_signal()
        .map_err(|error| ServerError::fatal("signal_handler", error))?;
    let (brokers, topic) = (args.servers.kafka.brokers(), &args.servers.kafka.topic);
    let terms = args.run.terms(&brokers);
    let mut registry = MetricRegistry::default();
    let metrics = Metrics::register(&mut registry, terms.pace.limits);
    let rule_metrics = RuleMetrics::register(&mut registry);
    let folder = args.rules.rules.clone();
    let shelf = tokio::task::spawn_blocking(move || Arc::new(Shelf::open(&folder, rule_metrics)));
    let shelf = shelf.await.map_err(|error| ServerError::fatal("task_panicked", error))?;
    let ready = Arc::new(AtomicBool::new(false));
    let probe = probe(Arc::clone(&ready), Arc::clone(&shelf));
    let mut beside = serve_admin(&args.run, registry, probe, shutdown.clone()).await?;
    beside.spawn(Arc::clone(&shelf).watch(shutdown.clone()));

    let server = args.servers.clickhouse.server()?;
    let table = tokio::select! {
        table = open(&args.servers, &server, &metrics) => table?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let decoders = Decoders::new(args.servers.registry.registry()?);
    let letters = DeadLetters::open(&brokers, &topic.dead_letters())?;
    let pipeline = Pipeline::new(topic.as_str(), decoders, table, letters, metrics.clone())
        .ruled_by(shelf.current());
    let consumer = Consumer::join(&brokers, &args.run.group(), topic.as_str())?;
    beside.spawn(links(&args, &server, &metrics)?.run(shutdown.clone()));
    ready.store(true, Ordering::Relaxed);
    tracing::info!(%topic, group = args.run.group, ?server, ?brokers, "running");
    let outcome = Driver::new(consumer, pipeline, terms).run(shutdown.clone()).await;
    shutdown.cancel();
    drop(beside);
    outcome?;
    say(format_args!(
        "run: records={} rows={} batches={}",
        metrics.records.get(),
        metrics.rows.get(),
        metrics.batches.get()
    ));
    Ok(())
}

/// What fills the dimension of links, in a group beside that of the clicks.
fn links(args: &RunCommand, server: &Server, metrics: &Metrics) -> Result<Links, ServerError> {
    Ok(Links {
        brokers: args.servers.kafka.brokers(),
        topic: args.servers.kafka.links_topic.to_string(),
        group: format!("{}-links", args.run.group),
        registry: args.servers.registry.registry()?,
        server: server.clone(),
        metrics: metrics.clone(),
    })
}

/// Waits for the servers as long as it takes, and refuses what would break the promise.
async fn open(servers: &Servers, server: &Server, metrics: &Metrics) -> Result<Table, ServerError> {
    let table = until_done!("open", metrics, Table::open(server));
    let findings = until_done!("preflight", metrics, preflight(servers));
    let mut refused = Vec::new();
    for finding in findings {
        match finding.bearable {
            true => tracing::warn!(code = "preflight", "{finding}"),
            false => refused.push(finding.to_string()),
        }
    }
    match refused.is_empty() {
        true => Ok(table),
        false => Err(ServerError::fatal("preflight", refused.join(". Also: "))),
    }
}

/// Whether it works, and which rules it works without.
fn probe(ready: Arc<AtomicBool>, shelf: Arc<Shelf>) -> impl Fn() -> Health + Send + Sync {
    move || {
        if !ready.load(Ordering::Relaxed) {
            return Health::NotReady("waiting for ClickHouse, broker or registry".to_owned());
        }
        let wrong = shelf.wrong();
        match wrong.is_empty() {
            true => Health::Ready,
            false => Health::Degraded(wrong),
        }
    }
}

async fn serve_admin(
    args: &RunArgs,
    registry: MetricRegistry,
    probe: impl Fn() -> Health + Send + Sync + 'static,
    shutdown: CancellationToken,
) -> Result<JoinSet<()>, ServerError> {
    let address = args.admin_listen;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let text = format!(
            "{address}: {error}; choose another with --admin-listen or \
                            CLICKTRAIL_PROCESSORS_ADMIN_LISTEN"
        );
        ServerError::fatal("admin_listen", text)
    })?;
    let mut admin = JoinSet::new();
    admin.spawn(admin_port::run(listener, Arc::new(registry), probe, shutdown));
    Ok(admin)
}
