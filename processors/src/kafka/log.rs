//! Reads a topic from its start to the end that it had when asked, outside any group.
//!
//! It commits nothing and joins nothing: whoever reads with it moves nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::{Brokers, Quiet, server_error};
use crate::error::ServerError;
use crate::flow::{Block, Header, Record};

const ASK_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(500);
/// Silence after which the broker counts as away.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Offsets that a partition holds: `low` is the first, `high` the position after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// First offset.
    pub low: i64,
    /// Position after the last.
    pub high: i64,
}

/// One topic, as long as it was when opened.
pub struct LogReader {
    consumer: BaseConsumer<Quiet>,
    bounds: BTreeMap<i32, Bounds>,
    open: BTreeMap<i32, i64>,
}

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl LogReader {
    /// Takes the bounds of every partition and starts at their first offsets. Blocks.
    ///
    /// # Errors
    /// The topic is not there, or the broker is away.
    pub fn open(brokers: &Brokers, topic: &str) -> Result<Self, ServerError> {
        Self::open_from(brokers, topic, |bounds| bounds.low)
    }

    /// As [`LogReader::open`], from the last offset of each partition.
    ///
    /// # Errors
    /// Likewise.
    pub fn open_tail(brokers: &Brokers, topic: &str) -> Result<Self, ServerError> {
        Self::open_from(brokers, topic, |bounds| (bounds.high - 1).max(bounds.low))
    }

    fn open_from(
        brokers: &Brokers,
        topic: &str,
        first: fn(Bounds) -> i64,
    ) -> Result<Self, ServerError> {
        let config = brokers.client(&[
            ("group.id", "clicktrail-log-reader"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "earliest"),
            ("isolation.level", "read_committed"),
        ]);
        let consumer: BaseConsumer<Quiet> =
            config.create_with_context(Quiet).map_err(|error| server_error(&error))?;
        let metadata =
            consumer.fetch_metadata(Some(topic), ASK_TIMEOUT).map_err(|e| server_error(&e))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions = found.map(|found| found.partitions()).unwrap_or_default();
        if partitions.is_empty() {
            return Err(ServerError::fatal(
                "kafka_topic_missing",
                format!("there is no topic {topic}: run `processors setup`"),
            ));
        }
        let mut bounds = BTreeMap::new();
        let mut assignment = TopicPartitionList::new();
        for partition in partitions.iter().map(|partition| partition.id()) {
            let (low, high) = consumer
                .fetch_watermarks(topic, partition, ASK_TIMEOUT)
                .map_err(|error| server_error(&error))?;
            bounds.insert(partition, Bounds { low, high });
            if low < high {
                assignment
                    .add_partition_offset(
                        topic,
                        partition,
                        Offset::Offset(first(Bounds { low, high })),
                    )
                    .map_err(|error| server_error(&error))?;
            }
        }
        consumer.assign(&assignment).map_err(|error| server_error(&error))?;
        let open = bounds
            .iter()
            .filter(|(_, bounds)| bounds.low < bounds.high)
            .map(|(partition, bounds)| (*partition, bounds.high))
            .collect();
        Ok(Self { consumer, bounds, open })
    }

    /// What each partition holds.
    pub fn bounds(&self) -> &BTreeMap<i32, Bounds> {
        &self.bounds
    }

    /// Hands the next record to `take`; `false` when every partition was read to its end.
    /// Blocks.
    ///
    /// # Errors
    /// The broker is away.
    pub fn next(&mut self, take: &mut dyn FnMut(Record<'_>)) -> Result<bool, ServerError> {
        let mut silence = Duration::ZERO;
        while !self.open.is_empty() {
            match self.consumer.poll(POLL) {
                None => {
                    silence += POLL;
                    if silence >= SILENCE_MAX {
                        let text = format!("no record for {} s", SILENCE_MAX.as_secs());
                        return Err(ServerError::retryable("kafka_unreachable", text));
                    }
                }
                // The end of a partition also tells of offsets that hold no record.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.open.remove(&partition);
                }
                Some(Err(error)) => return Err(server_error(&error)),
                Some(Ok(message)) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    let Some(&high) = self.open.get(&partition) else { continue };
                    if offset + 1 >= high {
                        self.open.remove(&partition);
                    }
                    if offset >= high {
                        continue;
                    }
                    let mut one = Block::default();
                    let headers = message.headers().into_iter().flat_map(|all| all.iter());
                    one.push(
                        (partition, offset, 0),
                        message.timestamp().to_millis().unwrap_or_default(),
                        (message.key(), message.payload()),
                        headers.map(|header| Header { name: header.key, value: header.value }),
                    );
                    one.records().for_each(&mut *take);
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
