//! The consumer of the topic of links: reads from the start of the topic, without a group.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::{
    BATCH_UNREADABLE, BatchProbe, STATISTICS_INTERVAL, ServerError, SilenceContext,
    UNREADABLE_TRIES, UnreadableBatch, server_error,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::CLIENT_ID;
use crate::kafka::endpoint::Endpoint;

/// What the operator may change. Little is fetched ahead: a link is small, but librdkafka's own memory
/// for one is not. Four times as much was no faster, and left 24 MiB between a million links.
const DEFAULTS: &[(&str, &str)] = &[
    ("log.connection.close", "false"),
    ("queued.min.messages", "1000"),
    ("queued.max.messages.kbytes", "512"),
    ("fetch.queue.backoff.ms", "5"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// Nothing is committed.
const REQUIRED: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "false"),
    ("group.id", "clicktrail-links"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("auto.offset.reset", "earliest"),
    STATISTICS_INTERVAL,
];

/// Reads every record of a topic, and then waits for more.
pub struct LinkConsumer {
    consumer: BaseConsumer<SilenceContext>,
    /// Partitions that are not read yet up to the end that they had at the start, with that end.
    behind: BTreeMap<i32, i64>,
    /// Where reading of each partition starts, or continues after an unreadable batch.
    starts: BTreeMap<i32, i64>,
    probe: BatchProbe,
    /// Read errors since the last probe.
    errors: u32,
}

/// A record of the topic of links.
#[derive(Debug, Clone, Copy)]
pub struct TopicRecord<'a> {
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// Limit of a request that only the library's own threads answer.
const SEEK_TIMEOUT: Duration = Duration::from_secs(2);

impl std::fmt::Debug for LinkConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkConsumer").field("behind", &self.behind).finish_non_exhaustive()
    }
}

impl LinkConsumer {
    /// Reads the ends of all partitions, and starts at their beginnings. Blocks.
    ///
    /// # Errors
    /// A text for operators: the topic does not exist, or no broker answered within `wait`.
    pub fn open(endpoint: &Endpoint, wait: Duration) -> Result<Self, String> {
        let text = |error: ServerError| error.to_string();
        let config = endpoint.brokers.consumer_config(CLIENT_ID, DEFAULTS, REQUIRED);
        let config = config.map_err(text)?;
        let consumer: BaseConsumer<SilenceContext> = config
            .create_with_context(SilenceContext::default())
            .map_err(|error| text(server_error(&error)))?;
        let topic = endpoint.topic.as_str();
        let metadata = consumer
            .fetch_metadata(Some(topic), wait)
            .map_err(|error| format!("no broker answers: {error}"))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions = found.map(|found| found.partitions()).unwrap_or_default();
        if partitions.is_empty() {
            return Err(format!("topic {topic} does not exist: run `processors setup`"));
        }
        let (mut behind, mut starts) = (BTreeMap::new(), BTreeMap::new());
        let mut assignment = TopicPartitionList::new();
        for partition in partitions.iter().map(|partition| partition.id()) {
            let ends = consumer.fetch_watermarks(topic, partition, wait);
            let (low, high) = ends.map_err(|error| format!("no broker answers: {error}"))?;
            if low < high {
                behind.insert(partition, high);
            }
            starts.insert(partition, low);
            assignment
                .add_partition_offset(topic, partition, Offset::Beginning)
                .map_err(|error| error.to_string())?;
        }
        consumer.assign(&assignment).map_err(|error| error.to_string())?;
        let probe = BatchProbe::new(&endpoint.brokers, CLIENT_ID, topic);
        Ok(Self { consumer, behind, starts, probe, errors: 0 })
    }

    /// Passes the next record to `take`, if one arrives within `wait`. Blocks. Returns how many unreadable
    /// batches it passed.
    ///
    /// # Errors
    /// `take` fails, or reading cannot continue. An outage is no error: the client reconnects.
    pub fn next(
        &mut self,
        wait: Duration,
        take: impl FnOnce(TopicRecord<'_>) -> Result<(), String>,
    ) -> Result<usize, String> {
        let due = self.consumer.context().take_due();
        if !due.is_empty() {
            let passed = self.pass_unreadable(|partition| due.contains(&partition));
            return passed.map_err(|error| error.to_string());
        }
        match self.consumer.poll(wait) {
            None => return Ok(0),
            Some(Ok(message)) => {
                take(TopicRecord { key: message.key(), value: message.payload() })?;
                let (partition, next) = (message.partition(), message.offset() + 1);
                if self.behind.get(&partition).is_some_and(|end| next >= *end) {
                    self.behind.remove(&partition);
                }
                return Ok(0);
            }
            // This also happens if the last offsets no longer hold a record.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.behind.remove(&partition);
                return Ok(0);
            }
            Some(Err(error)) if server_error(&error).code == BATCH_UNREADABLE => {}
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(
                    RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::OperationTimedOut
                    | RDKafkaErrorCode::Resolve,
                ) => return Ok(0),
                Some(_) | None => return Err(error.to_string()),
            },
        }
        self.errors += 1;
        if self.errors < UNREADABLE_TRIES {
            return Ok(0);
        }
        self.errors = 0;
        self.pass_unreadable(|_| true).map_err(|error| error.to_string())
    }

    /// Searches some partitions for unreadable batches, and passes them. Returns how many.
    fn pass_unreadable(&mut self, is_asked: impl Fn(i32) -> bool) -> Result<usize, ServerError> {
        let read = self.consumer.position().map_err(|error| server_error(&error))?;
        let topic = self.probe.topic();
        let asked = self.starts.iter().filter(|(partition, _)| is_asked(**partition));
        let positions = asked.map(|(&partition, &start)| {
            let read = read.find_partition(topic, partition).and_then(|own| own.offset().to_raw());
            (partition, read.filter(|offset| *offset >= 0).unwrap_or(start))
        });
        let found = self.probe.find(&positions.collect());
        self.consumer.context().probed(&found);
        let found = found.batches;
        for &UnreadableBatch { partition, first, last, .. } in &found {
            let offset = Offset::Offset(last + 1);
            let sought = self.consumer.seek(topic, partition, offset, SEEK_TIMEOUT);
            sought.map_err(|error| server_error(&error))?;
            self.starts.insert(partition, last + 1);
            if self.behind.get(&partition).is_some_and(|end| last + 1 >= *end) {
                self.behind.remove(&partition);
            }
            let code = BATCH_UNREADABLE;
            tracing::error!(code, topic, partition, first, last, "a batch of links cannot be read");
        }
        Ok(found.len())
    }

    /// Whether all partitions are read up to the end that they had at the start.
    pub fn is_caught_up(&self) -> bool {
        self.behind.is_empty()
    }
}
