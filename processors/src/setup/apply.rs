//! `processors setup`: topics, schemas, tables. Says what it changes; safe to run twice.
#![expect(clippy::disallowed_methods, reason = "waits for servers that are still starting")]

use broker::{Brokers, ErrorClass, Registry, ServerError};
use std::time::{Duration, Instant};

use clap::Args;
use schemas::{LINKS_NEWEST, LinkDecoder, NEWEST, TopicName, TopicSpec, compat, unframe};

use crate::clickhouse::migrations::{self, migrate};
use crate::config::{KafkaArgs, Servers};
use crate::exit::{DIFFERS, DONE, say};
use crate::kafka::log_reader::LogReader;
use crate::kafka::topics::Topics;
use crate::setup::server_facts::drift;

/// What `setup` needs to know.
#[derive(Debug, Args)]
pub struct SetupArgs {
    #[command(flatten)]
    pub(crate) servers: Servers,
    /// Partitions of topics that are made now [default: as the topic's description says].
    #[arg(long, env = "CLICKTRAIL_PARTITIONS", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: Option<i32>,
    /// Copies of each partition; -1 is the broker's own default.
    #[arg(long, env = "CLICKTRAIL_REPLICATION", default_value_t = -1, allow_negative_numbers = true)]
    replication: i32,
    /// Seconds to wait for servers that are still starting.
    #[arg(long, default_value_t = 30)]
    wait_seconds: u64,
    /// Change nothing; say what differs, and exit with 1 if anything does.
    #[arg(long)]
    check: bool,
    /// Print the SQL that makes the tables; connect to no server and change nothing.
    #[arg(long, conflicts_with = "check")]
    print: bool,
}

/// Between attempts while a server is away, or another `setup` is at the same thing.
const ASK_AGAIN: Duration = Duration::from_millis(500);

pub(crate) async fn setup(args: SetupArgs) -> Result<u8, ServerError> {
    if args.print {
        let database = &args.servers.clickhouse.clickhouse_database;
        say(migrations::sql(database).trim_end());
        return Ok(DONE);
    }
    let give_up = Instant::now() + Duration::from_secs(args.wait_seconds);
    let mut count = 0;
    loop {
        let outcome = match args.check {
            true => check(&args, &mut count).await,
            false => steps(&args, &mut count).await,
        };
        match outcome {
            Ok(()) => break,
            Err(error) if error.class == ErrorClass::Retryable && Instant::now() < give_up => {
                tracing::debug!(code = error.code, %error, "trying again");
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    }
    match (args.check, count) {
        (true, 0) => say("check: everything is as it should be"),
        (true, _) => say(format_args!("check: {count} findings")),
        (false, 0) => say("setup: nothing to change"),
        (false, _) => say(format_args!("setup: {count} changes")),
    }
    Ok(if args.check && count > 0 { DIFFERS } else { DONE })
}

async fn check(args: &SetupArgs, count: &mut usize) -> Result<(), ServerError> {
    let findings = drift(&args.servers).await?;
    *count = findings.len();
    findings.iter().for_each(say);
    Ok(())
}

/// Each step tells at once what it did, also when a later one fails; each is safe to repeat.
async fn steps(args: &SetupArgs, count: &mut usize) -> Result<(), ServerError> {
    let mut tell = |changes: Vec<String>| {
        *count += changes.len();
        changes.iter().for_each(say);
    };
    tell(topics(args).await?);
    tell(subjects(args).await?);
    tell(migrate(&args.servers.clickhouse.server()?).await?);
    Ok(())
}

async fn topics(args: &SetupArgs) -> Result<Vec<String>, ServerError> {
    let topics = Topics::open(&args.servers.kafka.brokers())?;
    let mut changes = Vec::new();
    for (name, spec) in &args.servers.kafka.topics() {
        let partitions = args.partitions.unwrap_or(spec.partitions);
        changes.extend(topics.ensure(name, spec, (partitions, args.replication)).await?);
    }
    Ok(changes)
}

/// Registers the newest schemas, once it is sure that all that was ever written can be read.
async fn subjects(args: &SetupArgs) -> Result<Vec<String>, ServerError> {
    let registry = args.servers.registry.registry()?;
    let KafkaArgs { topic, links_topic, .. } = &args.servers.kafka;
    let mut changes = Vec::new();
    let clicks = |written: &str| compat::check(written).map_err(|error| error.to_string());
    readable(&registry, topic, clicks).await?;
    ids_agree(&registry, &args.servers.kafka.brokers(), topic.as_str()).await?;
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
                "subject {subject} holds a schema whose records this program cannot \
                                read: use a release that can ({error})"
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

/// Schema ids are part of the log: the newest record of each partition must be readable by what
/// this registry says its id is, or the registry is another one than the log was written with.
async fn ids_agree(registry: &Registry, brokers: &Brokers, topic: &str) -> Result<(), ServerError> {
    let (brokers, name) = (brokers.clone(), topic.to_owned());
    let newest = tokio::task::spawn_blocking(move || {
        let mut newest = Vec::new();
        let mut log = LogReader::open_tail(&brokers, &name)?;
        while log.next(&mut |record| newest.extend(record.value().map(<[u8]>::to_vec)))? {}
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
