//! `processors setup`: creates topics, schemas and tables, or updates them. Safe to run twice.
#![expect(clippy::disallowed_methods, reason = "waits until a deadline for servers that start")]

use broker::{Brokers, ErrorClass, Registry, ServerError};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use schemas::{LINKS_NEWEST, LinkDecoder, NEWEST, TopicName, TopicSpec, compat, unframe};

use crate::config::{KafkaArgs, Servers};
use crate::kafka::log_reader::{LogItem, LogReader};
use crate::kafka::topics::{TopicLayout, Topics};
use crate::setup::cluster_tables;

/// How topics are created, and how long tables keep what has a retention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SetupOptions {
    /// Partitions; `None`: the number in the topic's description.
    pub(crate) partitions: Option<i32>,
    /// Replicas of each partition; -1 uses the broker's default.
    pub(crate) replication: i32,
    /// Days for which ClickHouse keeps the bytes of dead letters.
    pub(crate) payload_days: NonZeroU16,
}

/// Pause between attempts while a server does not answer, or another `setup` runs.
const RETRY: Duration = Duration::from_millis(500);

/// Attempts `work` until it succeeds, its error is fatal, or `wait` is over.
///
/// # Errors
/// The last one of `work`.
pub(crate) async fn until_deadline<T>(
    wait: Duration,
    mut work: impl AsyncFnMut() -> Result<T, ServerError>,
) -> Result<T, ServerError> {
    let deadline = Instant::now() + wait;
    loop {
        match work().await {
            Err(error) if error.class == ErrorClass::Retryable && Instant::now() < deadline => {
                tracing::debug!(code = error.code, %error, "setup retries");
                tokio::time::sleep(RETRY).await;
            }
            outcome => return outcome,
        }
    }
}

/// Makes all changes. Each step reports its changes immediately, so that they are known if a later step
/// fails. Each step is safe to repeat.
///
/// # Errors
/// A server does not answer, or refuses a change.
pub(crate) async fn apply(
    servers: &Servers,
    options: SetupOptions,
    report: &mut impl FnMut(String),
) -> Result<(), ServerError> {
    topics(servers, options).await?.into_iter().for_each(&mut *report);
    subjects(servers).await?.into_iter().for_each(&mut *report);
    cluster_tables::apply(&servers.clickhouse.cluster()?, options.payload_days, report).await
}

async fn topics(servers: &Servers, options: SetupOptions) -> Result<Vec<String>, ServerError> {
    let topics = Topics::open(&servers.kafka.brokers())?;
    let mut changes = Vec::new();
    for (name, spec) in &servers.kafka.topics() {
        let layout = TopicLayout {
            partitions: options.partitions.unwrap_or(spec.partitions),
            replication: options.replication,
        };
        changes.extend(topics.ensure(name, spec, layout).await?);
    }
    Ok(changes)
}

/// Registers the newest schemas, after a check that this program can read all schemas in use.
async fn subjects(servers: &Servers) -> Result<Vec<String>, ServerError> {
    let registry = servers.registry.registry()?;
    let KafkaArgs { topic, links_topic, .. } = &servers.kafka;
    let mut changes = Vec::new();
    let clicks = |written: &str| compat::check(written).map_err(|error| error.to_string());
    readable(&registry, topic, clicks).await?;
    ids_agree(&registry, &servers.kafka.brokers(), topic.as_str()).await?;
    changes.extend(subject(&registry, topic, &TopicSpec::clicks(), NEWEST).await?);
    let links =
        |written: &str| LinkDecoder::new(written).map(drop).map_err(|error| error.to_string());
    readable(&registry, links_topic, links).await?;
    changes.extend(subject(&registry, links_topic, &TopicSpec::links(), LINKS_NEWEST).await?);
    Ok(changes)
}

async fn readable(
    registry: &Registry,
    topic: &TopicName,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<(), ServerError> {
    let subject = topic.subject();
    for written in registry.versions(&subject).await? {
        check(&written).map_err(|error| {
            let text = format!(
                "subject {subject} holds a schema whose records this program cannot read: use a \
                 release that can ({error})"
            );
            ServerError::fatal("schema_incompatible", text)
        })?;
    }
    Ok(())
}

async fn subject(
    registry: &Registry,
    topic: &TopicName,
    spec: &TopicSpec,
    newest: &str,
) -> Result<Vec<String>, ServerError> {
    let (subject, mut changes) = (topic.subject(), Vec::new());
    let level = spec.compatibility.as_deref().unwrap_or_default();
    if registry.compatibility(&subject).await?.as_deref() != Some(level) {
        registry.set_compatibility(&subject, level).await?;
        changes.push(format!("registry: set compatibility of {subject} to {level}"));
    }
    if registry.lookup(&subject, newest).await?.is_none() {
        let id = registry.register(&subject, newest).await?;
        changes.push(format!("registry: registered {subject} as schema {id}"));
    }
    Ok(changes)
}

/// Schema ids are part of the log: the newest record of each partition must be readable by the schema
/// that this registry has for its id. Otherwise the log was written with another registry.
async fn ids_agree(registry: &Registry, brokers: &Brokers, topic: &str) -> Result<(), ServerError> {
    let (brokers, name) = (brokers.clone(), topic.to_owned());
    let newest = tokio::task::spawn_blocking(move || {
        let mut newest = Vec::new();
        let mut log = LogReader::open_tail(&brokers, &name)?;
        while log.next(&mut |item| {
            if let LogItem::Record(record) = item {
                newest.extend(record.value().map(<[u8]>::to_vec));
            }
        })? {}
        Ok::<_, ServerError>(newest)
    });
    let newest = newest.await.map_err(|error| ServerError::fatal("task_panicked", error))??;
    let framed = newest.iter().filter_map(|value| unframe(value).ok());
    for (id, datum) in framed {
        let known = registry.schema(id).await?;
        let readable = known.as_deref().and_then(|text| schemas::Decoder::new(text).ok());
        if readable.is_none_or(|decoder| decoder.decode(datum).is_err()) {
            let text = format!(
                "topic {topic} holds records of schema id {id}, which this registry {}: point \
                 SCHEMA_REGISTRY_URL at the registry that the log was written with, or restore it \
                 (RUNBOOK, registry_ids_disagree)",
                if known.is_some() { "gives to another schema" } else { "does not know" },
            );
            return Err(ServerError::fatal("registry_ids_disagree", text));
        }
    }
    Ok(())
}
