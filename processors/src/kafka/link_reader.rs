//! The reader of the topic of links: a member of its own consumer group.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker::{
    BATCH_UNREADABLE, BatchProbe, Brokers, QuietContext, ServerError, UnreadableBatch, server_error,
};
use rdkafka::Offset;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use schemas::LINK_BYTES_MAX;
use service::lock::lock;

use crate::kafka::client_id::CLIENT_ID;
use crate::kafka::log_bounds::log_bounds;
use crate::kafka::unreadable_errors::UnreadableErrors;

/// Records that one call returns.
const RECORDS_MAX: usize = 10_000;
/// Bytes of their keys and values, one record more at most.
const BYTES_MAX: usize = 4 << 20;
/// A call returns when no record has arrived for this time.
const POLL: Duration = Duration::from_millis(200);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A member of the group.
pub struct LinkReader {
    consumer: BaseConsumer<LinkAssignment>,
    probe: BatchProbe,
    errors: UnreadableErrors,
}

/// What the rebalance callback notes.
#[derive(Debug, Default)]
struct LinkAssignment {
    /// The group has assigned partitions, or none, to this member.
    has_joined: AtomicBool,
    /// Where reading of a partition continues after an unreadable batch, until a record of it is read. A
    /// rebalance removes it: another member may have read further, or a tool have reset the group's
    /// position.
    passed: Mutex<BTreeMap<i32, i64>>,
}

impl LinkAssignment {
    fn get(&self, partition: i32) -> Option<i64> {
        lock(&self.passed).get(&partition).copied()
    }

    fn insert(&self, partition: i32, next: i64) {
        lock(&self.passed).insert(partition, next);
    }
}

impl ClientContext for LinkAssignment {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        QuietContext.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        QuietContext.error(error, reason);
    }
}

impl ConsumerContext for LinkAssignment {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let has_joined = matches!(rebalance, Rebalance::Assign(_));
        self.has_joined.store(has_joined, Ordering::Relaxed);
        let mut passed = lock(&self.passed);
        match rebalance {
            Rebalance::Assign(list) | Rebalance::Revoke(list) => {
                for element in list.elements() {
                    passed.remove(&element.partition());
                }
            }
            Rebalance::Error(_) => passed.clear(),
        }
    }
}

/// A record of the topic of links.
#[derive(Debug, PartialEq, Eq)]
pub struct LinkRecord {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// What one call reads.
#[derive(Debug, Default)]
pub struct LinkRecords {
    /// Records within the bounds of a link.
    pub records: Vec<LinkRecord>,
    /// Number of records that were larger than a link.
    pub too_large: usize,
    /// Number of batches that could not be read and were passed.
    pub unreadable: usize,
    bytes: usize,
}

impl LinkRecords {
    fn push(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        if bytes > LINK_BYTES_MAX {
            self.too_large += 1;
            return;
        }
        self.bytes += bytes;
        let key = key.unwrap_or_default().to_vec();
        self.records.push(LinkRecord { key, value: value.map(<[u8]>::to_vec) });
    }

    fn is_full(&self) -> bool {
        let others = self.too_large + self.unreadable;
        self.records.len() + others >= RECORDS_MAX || self.bytes >= BYTES_MAX
    }

    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.too_large == 0 && self.unreadable == 0
    }
}

/// The topic of links, as a member of the group reads it. Every function blocks.
pub trait LinkSource: Send + 'static {
    /// The records that have arrived; none if no record arrives within a moment.
    ///
    /// # Errors
    /// The topic does not exist, or the group refuses the member.
    fn read(&mut self) -> Result<LinkRecords, ServerError>;

    /// Whether the member has joined its group, and has read all records of its partitions.
    ///
    /// # Errors
    /// The broker does not answer.
    fn has_read_all(&self) -> Result<bool, ServerError>;

    /// Commits what was read: it is durable now. After a rebalance meanwhile, it is read again.
    ///
    /// # Errors
    /// The broker's refusal.
    fn commit(&self) -> Result<(), ServerError>;
}

impl std::fmt::Debug for LinkReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkReader")
    }
}

impl LinkReader {
    /// Joins the group.
    ///
    /// # Errors
    /// A property that is refused.
    pub fn join(brokers: &Brokers, group: &str, topic: &str) -> Result<Self, ServerError> {
        let config = brokers.consumer_config(
            CLIENT_ID,
            &[("queued.max.messages.kbytes", "8192")],
            &[
                ("group.id", group),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("auto.offset.reset", "earliest"),
            ],
        )?;
        let consumer: BaseConsumer<LinkAssignment> = config
            .create_with_context(LinkAssignment::default())
            .map_err(|error| server_error(&error))?;
        consumer.subscribe(&[topic]).map_err(|error| server_error(&error))?;
        let probe = BatchProbe::new(brokers, CLIENT_ID, topic);
        Ok(Self { consumer, probe, errors: UnreadableErrors::default() })
    }

    /// Searches for batches that cannot be read, and passes them. Returns how many.
    fn pass_unreadable(&mut self) -> Result<usize, ServerError> {
        let found = self.probe.find(&self.positions()?)?;
        let topic = self.probe.topic();
        for &UnreadableBatch { partition, first, last, .. } in &found {
            let offset = Offset::Offset(last + 1);
            let sought = self.consumer.seek(topic, partition, offset, REQUEST_TIMEOUT);
            sought.map_err(|error| server_error(&error))?;
            // So that a commit passes it too.
            self.consumer
                .store_offset(topic, partition, last)
                .map_err(|error| server_error(&error))?;
            self.consumer.context().insert(partition, last + 1);
            let code = BATCH_UNREADABLE;
            tracing::error!(code, topic, partition, first, last, "a batch of links cannot be read");
        }
        Ok(found.len())
    }

    /// The next offset to read of each assigned partition.
    fn positions(&self) -> Result<BTreeMap<i32, i64>, ServerError> {
        let error = |error: KafkaError| server_error(&error);
        let (topic, consumer) = (self.probe.topic(), &self.consumer);
        let assigned = consumer.assignment().map_err(error)?;
        let committed = consumer.committed_offsets(assigned, REQUEST_TIMEOUT).map_err(error)?;
        let read = consumer.position().map_err(error)?;
        let mut positions = BTreeMap::new();
        for element in committed.elements() {
            let partition = element.partition();
            let at = |offset: Offset| offset.to_raw().filter(|offset| *offset >= 0);
            let read = read.find_partition(topic, partition).and_then(|own| at(own.offset()));
            let position = match read.or(consumer.context().get(partition)) {
                Some(position) => position,
                None => {
                    let bounds = consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT);
                    start(at(element.offset()), bounds.map_err(error)?)
                }
            };
            positions.insert(partition, position);
        }
        Ok(positions)
    }
}

impl LinkSource for LinkReader {
    fn read(&mut self) -> Result<LinkRecords, ServerError> {
        let mut read = LinkRecords::default();
        while !read.is_full() {
            match self.consumer.poll(POLL) {
                None => break,
                Some(Ok(message)) => {
                    read.push(message.key(), message.payload());
                    self.consumer
                        .store_offset_from_message(&message)
                        .map_err(|error| server_error(&error))?;
                    continue;
                }
                Some(Err(error)) => {
                    let error = server_error(&error);
                    if error.code != BATCH_UNREADABLE {
                        return Err(error);
                    }
                }
            }
            if self.errors.add() {
                read.unreadable += self.pass_unreadable()?;
            }
        }
        Ok(read)
    }

    fn has_read_all(&self) -> Result<bool, ServerError> {
        if !self.consumer.context().has_joined.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let assigned = self.consumer.assignment().map_err(|error| server_error(&error))?;
        let bounds = log_bounds(&self.consumer, &assigned, || REQUEST_TIMEOUT);
        let bounds = bounds.map_err(|error| server_error(&error))?;
        let positions = self.positions()?;
        let is_read = |(own, (_, high)): (&i32, &(i64, i64))| positions.get(own) >= Some(high);
        Ok(bounds.iter().all(is_read))
    }

    fn commit(&self) -> Result<(), ServerError> {
        match self.consumer.commit_consumer_state(CommitMode::Sync) {
            Ok(())
            | Err(KafkaError::ConsumerCommit(
                RDKafkaErrorCode::NoOffset
                | RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId,
            )) => Ok(()),
            Err(error) => Err(server_error(&error)),
        }
    }
}

/// Where the library starts to read a partition of these bounds: `auto.offset.reset` is `earliest`.
fn start(committed: Option<i64>, (low, high): (i64, i64)) -> i64 {
    committed.filter(|position| (low..=high).contains(position)).unwrap_or(low)
}

#[cfg(test)]
mod tests {
    use rdkafka::TopicPartitionList;

    use super::*;

    #[test]
    fn h3_a_position_past_an_unreadable_batch_is_kept_until_its_partition_rebalances() {
        let brokers = Brokers { servers: "127.0.0.1:1".to_owned(), properties: Vec::new() };
        let reader = LinkReader::join(&brokers, "group", "links").unwrap();
        let passed = reader.consumer.context();
        let mut list = TopicPartitionList::new();
        list.add_partition("links", 1);
        for rebalance in [Rebalance::Revoke(&list), Rebalance::Assign(&list)] {
            (0..3).for_each(|partition| passed.insert(partition, 21));
            passed.pre_rebalance(&reader.consumer, &rebalance);
            assert_eq!([0, 1, 2].map(|own| passed.get(own)), [Some(21), None, Some(21)]);
        }
        let failed = KafkaError::Subscription(String::new());
        passed.pre_rebalance(&reader.consumer, &Rebalance::Error(failed));
        assert_eq!([0, 1, 2].map(|own| passed.get(own)), [None; 3]);
    }

    #[test]
    fn h3_a_partition_that_was_not_read_yet_is_searched_from_its_start_position() {
        for (committed, expected) in [
            (None, 10),
            (Some(9), 10),
            (Some(10), 10),
            (Some(15), 15),
            (Some(20), 20),
            (Some(21), 10),
        ] {
            assert_eq!(start(committed, (10, 20)), expected, "{committed:?}");
        }
    }

    #[test]
    fn m2_a_call_holds_4_mib_of_links_and_counts_records_larger_than_a_link() {
        let mut read = LinkRecords::default();
        let (large, link) = (vec![0xff; 900_000], vec![1; LINK_BYTES_MAX - 8]);
        for _ in 0..1_200 {
            read.push(Some(b"k"), Some(&large));
            read.push(Some(&large), None);
        }
        assert_eq!((read.too_large, read.bytes, read.records.len()), (2_400, 0, 0));
        let mut pushed = 0;
        while !read.is_full() {
            read.push(Some(b"12345678"), Some(&link));
            pushed += 1;
        }
        assert_eq!((pushed, read.bytes), (BYTES_MAX / LINK_BYTES_MAX, BYTES_MAX));
        let mut tombstones = LinkRecords::default();
        while !tombstones.is_full() {
            tombstones.push(None, None);
        }
        assert_eq!(tombstones.records.len(), RECORDS_MAX);
    }
}
