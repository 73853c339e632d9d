//! The topic of links from its start and on, outside any group.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::click_producer::{Settings, config, config_error};

/// What is fetched ahead: a link is small, and the client's own cost of one is not. Four times as
/// much of each was no faster, and left 24 MiB between a million links.
const FETCH_AHEAD: [(&str, &str); 6] = [
    ("queued.min.messages", "1000"),
    ("queued.max.messages.kbytes", "512"),
    ("max.partition.fetch.bytes", "65536"),
    ("fetch.max.bytes", "1048576"),
    ("fetch.queue.backoff.ms", "5"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// Reads every record of a topic, and then waits for more.
pub struct LinkReader {
    consumer: BaseConsumer<Quiet>,
    /// Partitions that were not read yet to where they ended at the start.
    behind: BTreeMap<i32, i64>,
}

impl std::fmt::Debug for LinkReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkReader").field("behind", &self.behind).finish_non_exhaustive()
    }
}

impl LinkReader {
    /// Takes the ends of every partition and starts at their beginnings. Blocks.
    ///
    /// # Errors
    /// The topic is not there, or no broker answered within `wait`; for people.
    pub fn open(settings: &Settings<'_>, wait: Duration) -> Result<Self, String> {
        let mut ours = config(settings).map_err(|error| error.to_string())?;
        // A producer's properties, which a consumer would warn of.
        for name in PRODUCERS {
            ours.remove(name);
        }
        for (name, value) in FETCH_AHEAD {
            ours.set(name, value);
        }
        ours.set("group.id", "clicktrail-links")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer<Quiet> =
            ours.create_with_context(Quiet).map_err(|error| config_error(error).to_string())?;
        let topic = settings.topic.as_str();
        let metadata = consumer
            .fetch_metadata(Some(topic), wait)
            .map_err(|error| format!("no broker answers: {error}"))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions = found.map(|found| found.partitions()).unwrap_or_default();
        if partitions.is_empty() {
            return Err(format!("topic {topic} is not there: run `processors setup`"));
        }
        let (mut behind, mut assignment) = (BTreeMap::new(), TopicPartitionList::new());
        for partition in partitions.iter().map(|partition| partition.id()) {
            let ends = consumer.fetch_watermarks(topic, partition, wait);
            let (low, high) = ends.map_err(|error| format!("no broker answers: {error}"))?;
            if low < high {
                behind.insert(partition, high);
            }
            assignment
                .add_partition_offset(topic, partition, Offset::Beginning)
                .map_err(|error| error.to_string())?;
        }
        consumer.assign(&assignment).map_err(|error| error.to_string())?;
        Ok(Self { consumer, behind })
    }

    /// Hands the value of the next record to `take`, if one comes within `wait`. Blocks.
    ///
    /// # Errors
    /// Of `take`, or reading cannot go on. An outage is no error: the client waits it out.
    pub fn next(
        &mut self,
        wait: Duration,
        take: impl FnOnce(Option<&[u8]>) -> Result<(), String>,
    ) -> Result<(), String> {
        match self.consumer.poll(wait) {
            None => Ok(()),
            Some(Ok(message)) => {
                take(message.payload())?;
                let (partition, next) = (message.partition(), message.offset() + 1);
                if self.behind.get(&partition).is_some_and(|end| next >= *end) {
                    self.behind.remove(&partition);
                }
                Ok(())
            }
            // Also where the last offsets hold no record any more.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.behind.remove(&partition);
                Ok(())
            }
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(
                    RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::OperationTimedOut
                    | RDKafkaErrorCode::Resolve,
                ) => Ok(()),
                Some(_) | None => Err(error.to_string()),
            },
        }
    }

    /// Whether all that was there at the start has been read.
    pub fn is_caught_up(&self) -> bool {
        self.behind.is_empty()
    }
}

/// Of those that `config` sets.
const PRODUCERS: [&str; 8] = [
    "acks",
    "enable.idempotence",
    "message.timeout.ms",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "linger.ms",
    "compression.type",
    "statistics.interval.ms",
];

/// An outage is told by whoever waits for it.
#[derive(Debug, Clone, Copy, Default)]
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Quiet {}
