//! The processor: connects the parts of `processors run`, and runs them until shutdown.

use std::sync::Arc;
use std::time::Duration;

use broker::ServerError;
use prometheus_client::registry::Registry as MetricRegistry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clickhouse::server::Server;
use crate::clickhouse::shard_tables::ShardTables;
use crate::config::{RulesArgs, RunArgs, Servers};
use crate::dead_letter_copy::DeadLetterCopy;
use crate::kafka::dead_letter_writer::DeadLetterWriter;
use crate::kafka::group_consumer::GroupConsumer;
use crate::link_dimension::LinkDimension;
use crate::metrics::processor::ProcessorMetrics;
use crate::metrics::rules::RuleMetrics;
use crate::rules::folder::RulesFolder;
use crate::run::dead_letter_gauge;
use crate::run::dead_letter_resolver;
use crate::run::driver::Driver;
use crate::run::driver_settings::DriverSettings;
use crate::run::job_gauge;
use crate::run::membership::Membership;
use crate::run::pipeline::Pipeline;
use crate::run::readiness::{Activity, Readiness};
use crate::run::reset_watch::ResetWatch;
use crate::run::sink::Sink as _;
use crate::run::topic_copy::TopicCopy;
use service::admin_port::{self, Health};
use service::attempts::Attempts;

/// The parts of `processors run`.
pub(crate) struct Processor<'a> {
    servers: &'a Servers,
    args: &'a RunArgs,
    settings: DriverSettings,
    metrics: ProcessorMetrics,
    rules: Arc<RulesFolder>,
    readiness: Readiness,
    /// Tasks that run beside the driver.
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
}

impl<'a> Processor<'a> {
    /// Loads the rules and serves the admin port.
    ///
    /// # Errors
    /// The address of the admin port cannot be used.
    pub(crate) async fn start(
        servers: &'a Servers,
        args: &'a RunArgs,
        rules: &RulesArgs,
        shutdown: CancellationToken,
    ) -> Result<Self, ServerError> {
        let settings = args.pipeline.driver(&servers.kafka.brokers());
        let mut registry = MetricRegistry::default();
        let metrics = ProcessorMetrics::register(&mut registry, settings.linger.limits);
        metrics.attempts.set_stuck_after(Duration::from_secs(args.stuck_seconds));
        let rule_metrics = RuleMetrics::register(&mut registry);
        let folder = rules.rules.clone();
        let rules =
            tokio::task::spawn_blocking(move || RulesFolder::open(&folder, rule_metrics)).await;
        let rules = Arc::new(rules.map_err(|error| ServerError::fatal("task_panicked", error))?);
        let readiness = Readiness::default();
        let probe = probe(readiness.clone(), Arc::clone(&rules), metrics.attempts.clone());
        let listener = listen(args).await?;
        let mut tasks = JoinSet::new();
        let (registry, hosts) = (Arc::new(registry), args.admin.hosts.admin_hosts.clone());
        tasks.spawn(admin_port::run(listener, registry, probe, hosts, shutdown.clone()));
        tasks.spawn(Arc::clone(&rules).watch(shutdown.clone()));
        Ok(Self { servers, args, settings, metrics, rules, readiness, tasks, shutdown })
    }

    /// Waits for the servers, then processes clicks until shutdown; returns what was counted, or `None`
    /// if the shutdown began before the servers answered.
    ///
    /// # Errors
    /// As [`Driver::run`], or what the preflight refuses.
    pub(crate) async fn run(mut self) -> Result<Option<ProcessorMetrics>, ServerError> {
        let server = self.servers.clickhouse.server()?;
        let pipeline = self.pipeline();
        let waits = |error: &ServerError| {
            self.readiness.set(Activity::Waiting(error.to_string()));
        };
        let table = tokio::select! {
            table = pipeline.open_table_noting(&waits) => table?,
            () = self.shutdown.cancelled() => return Ok(None),
        };
        let membership = self.membership(&server).await;
        self.spawn_copies(&server)?;
        let (topic, brokers) = (&self.servers.kafka.topic, self.servers.kafka.brokers());
        let shard_weights = table.layout().text();
        tracing::info!(%topic, group = self.args.group, ?server, shard_weights, ?brokers, "running");
        let join = || Ok(self.driver(table.clone())?.run(self.shutdown.clone()));
        let outcome = membership.run(join).await;
        self.shutdown.cancel();
        drop(self.tasks);
        outcome.map(|()| Some(self.metrics))
    }

    /// The membership, with the resets of the group as they are now.
    async fn membership(&mut self, server: &Server) -> Membership {
        let (group, metrics) = (self.args.group.clone(), self.metrics.clone());
        let (mut watch, resets) = ResetWatch::new(server.clone(), group, metrics);
        watch.look().await;
        self.tasks.spawn(watch.run(self.shutdown.clone()));
        Membership {
            readiness: self.readiness.clone(),
            metrics: self.metrics.clone(),
            resets,
            stop: self.shutdown.clone(),
        }
    }

    fn driver(
        &self,
        table: ShardTables,
    ) -> Result<Driver<GroupConsumer, ShardTables, DeadLetterWriter>, ServerError> {
        let (brokers, topic) = (self.servers.kafka.brokers(), &self.servers.kafka.topic);
        let dead_letters = DeadLetterWriter::open(&brokers, &topic.dead_letters())?;
        let consumer = GroupConsumer::join(&brokers, &self.args.group(), topic.as_str())?;
        self.pipeline().driver(consumer, table, dead_letters)
    }

    fn pipeline(&self) -> Pipeline<'a> {
        Pipeline {
            servers: self.servers,
            rules: self.rules.current(),
            metrics: self.metrics.clone(),
            settings: self.settings,
            occurred: None,
            override_args: format!("--backlog --group {}", self.args.group),
        }
    }

    /// Starts the tasks that copy the topic of links and the dead-letter topic, each in a consumer group
    /// of its own, and those of the dead letters in the table.
    fn spawn_copies(&mut self, server: &Server) -> Result<(), ServerError> {
        let (kafka, group) = (&self.servers.kafka, &self.args.group);
        let copy = |stage, topic: &str, group| TopicCopy {
            stage,
            brokers: kafka.brokers(),
            topic: topic.to_owned(),
            group,
            metrics: self.metrics.clone(),
        };
        let topic = kafka.links_topic.clone();
        let links = copy("links", topic.as_str(), format!("{group}-links"));
        let letters = kafka.topic.dead_letters();
        let letters = copy("dead_letter_copy", &letters, format!("{group}-dead-letters"));
        let registry = self.servers.registry.registry()?;
        let (metrics, stop) = (|| self.metrics.clone(), || self.shutdown.clone());
        let dimension = LinkDimension::new(topic, registry, server.clone(), metrics());
        let store = DeadLetterCopy { server: server.clone(), metrics: metrics() };
        let gauge = dead_letter_gauge::run(server.clone(), metrics(), stop());
        let resolver =
            dead_letter_resolver::run(self.servers.clickhouse.cluster()?, metrics(), stop());
        let (links, letters) = (links.run(dimension, stop()), letters.run(store, stop()));
        self.tasks.spawn(links);
        self.tasks.spawn(letters);
        self.tasks.spawn(gauge);
        self.tasks.spawn(job_gauge::run(server.clone(), metrics(), stop()));
        self.tasks.spawn(resolver);
        Ok(())
    }
}

/// Readiness: whether the processor reads, what is wrong with the rules, and which attempts have failed
/// for long.
fn probe(
    readiness: Readiness,
    rules: Arc<RulesFolder>,
    attempts: Attempts,
) -> impl Fn() -> Health + Send + Sync {
    move || readiness.health().with(attempts.problems()).with(rules.problems())
}

async fn listen(args: &RunArgs) -> Result<TcpListener, ServerError> {
    let address = args.admin.admin_listen;
    TcpListener::bind(address).await.map_err(|error| {
        let text = format!(
            "{address}: {error}; choose another address with --admin-listen or \
             CLICKTRAIL_PROCESSORS_ADMIN_LISTEN"
        );
        ServerError::fatal("admin_listen", text)
    })
}
