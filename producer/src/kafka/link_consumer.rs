//! The topic of links from its start and on, outside any group.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::{QuietContext, ServerError, server_error};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::CLIENT_ID;
use crate::kafka::endpoint::Endpoint;

/// Nothing is committed, and little is fetched ahead: a link is small, and the client's own cost of
/// one is not. Four times as much of each was no faster, and left 24 MiB between a million links.
const REQUIRED: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "false"),
    ("log.connection.close", "false"),
    ("queued.min.messages", "1000"),
    ("queued.max.messages.kbytes", "512"),
    ("max.partition.fetch.bytes", "65536"),
    ("fetch.max.bytes", "1048576"),
    ("fetch.queue.backoff.ms", "5"),
    ("reconnect.backoff.max.ms", "2000"),
    ("group.id", "clicktrail-links"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("auto.offset.reset", "earliest"),
];

/// Reads every record of a topic, and then waits for more.
pub struct LinkConsumer {
    consumer: BaseConsumer<QuietContext>,
    /// Partitions that were not read yet to where they ended at the start.
    behind: BTreeMap<i32, i64>,
}

impl std::fmt::Debug for LinkConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkConsumer").field("behind", &self.behind).finish_non_exhaustive()
    }
}

impl LinkConsumer {
    /// Takes the ends of every partition and starts at their beginnings. Blocks.
    ///
    /// # Errors
    /// The topic is not there, or no broker answered within `wait`; for people.
    pub fn open(endpoint: &Endpoint, wait: Duration) -> Result<Self, String> {
        let text = |error: ServerError| error.to_string();
        let config = endpoint.brokers.config(CLIENT_ID, &[], REQUIRED).map_err(text)?;
        let consumer: BaseConsumer<QuietContext> =
            config.create_with_context(QuietContext).map_err(|error| text(server_error(&error)))?;
        let topic = endpoint.topic.as_str();
        let metadata = consumer
            .fetch_metadata(Some(topic), wait)
            .map_err(|error| format!("no broker answers: {error}"))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions = found.map(|found| found.partitions()).unwrap_or_default();
        if partitions.is_empty() {
            return Err(format!("topic {topic} does not exist: run `processors setup`"));
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
