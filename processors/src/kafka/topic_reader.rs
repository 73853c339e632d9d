//! The reader of a whole topic: a member of its own consumer group. Of each record it keeps what its
//! caller chooses.
#![expect(clippy::disallowed_methods, reason = "bounds the time of a call by a deadline")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use broker::{
    BATCH_UNREADABLE, BatchProbe, Brokers, STATISTICS_INTERVAL, ServerError, SilenceContext,
    UnreadableBatch, message_headers, server_error,
};
use rdkafka::Offset;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::statistics::Statistics;
use records::flow::block::Header;
use records::flow::topic_record::TopicRecord;
use service::lock::lock;

use crate::kafka::client_id::CLIENT_ID;
use crate::kafka::log_bounds::log_bounds;
use crate::kafka::unreadable_errors::UnreadableErrors;

/// Records that one call returns.
const RECORDS_MAX: usize = 10_000;
/// Bytes that are kept of them, one record more at most.
const BYTES_MAX: usize = 4 << 20;
/// A call returns when no record has arrived for this time.
const POLL: Duration = Duration::from_millis(200);
/// A call returns after this time, also while records arrive one by one.
const CALL_MAX: Duration = Duration::from_secs(1);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A member of the group.
pub struct TopicReader {
    consumer: BaseConsumer<TopicAssignment>,
    probe: BatchProbe,
    errors: UnreadableErrors,
}

/// What the rebalance callback notes.
#[derive(Debug, Default)]
struct TopicAssignment {
    /// The group has assigned partitions, or none, to this member.
    has_joined: AtomicBool,
    /// Where reading of a partition continues after an unreadable batch, until a record of it is read. A
    /// rebalance removes it: another member may have read further, or a tool have reset the group's
    /// position.
    passed: Mutex<BTreeMap<i32, i64>>,
    silence: SilenceContext,
}

impl TopicAssignment {
    fn get(&self, partition: i32) -> Option<i64> {
        lock(&self.passed).get(&partition).copied()
    }

    fn insert(&self, partition: i32, next: i64) {
        lock(&self.passed).insert(partition, next);
    }
}

impl ClientContext for TopicAssignment {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.silence.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.silence.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.silence.stats(statistics);
    }
}

impl ConsumerContext for TopicAssignment {
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

/// What is kept of a record.
pub trait KeptRecord: Sized + Send + 'static {
    /// What is kept of this record; `None`: it is larger than a record of its topic may be.
    fn keep(record: TopicRecord<'_>) -> Option<Self>;

    /// Bytes that are kept.
    fn bytes(&self) -> usize;
}

/// What one call reads.
#[derive(Debug)]
pub struct TopicRecords<R> {
    /// What was kept of the records.
    pub records: Vec<R>,
    /// Number of records that were too large.
    pub too_large: usize,
    /// Number of batches that could not be read and were passed.
    pub unreadable: usize,
    bytes: usize,
}

impl<R> Default for TopicRecords<R> {
    fn default() -> Self {
        Self { records: Vec::new(), too_large: 0, unreadable: 0, bytes: 0 }
    }
}

impl<R: KeptRecord> TopicRecords<R> {
    fn push(&mut self, record: TopicRecord<'_>) {
        match R::keep(record) {
            Some(record) => {
                self.bytes += record.bytes();
                self.records.push(record);
            }
            None => self.too_large += 1,
        }
    }

    fn push_message(&mut self, topic: &str, message: &BorrowedMessage<'_>) {
        // A record whose headers the library does not read has none.
        let headers = message_headers(message).unwrap_or_default();
        let headers = headers.iter().map(|(name, value)| Header { name, value: *value });
        self.push(TopicRecord {
            topic,
            partition: message.partition(),
            offset: message.offset(),
            // Only a record of Kafka's oldest format has none.
            logged_at_ms: message.timestamp().to_millis().unwrap_or_default(),
            key: message.key(),
            value: message.payload(),
            headers: headers.collect(),
        });
    }
}

impl<R> TopicRecords<R> {
    fn is_full(&self) -> bool {
        let others = self.too_large + self.unreadable;
        self.records.len() + others >= RECORDS_MAX || self.bytes >= BYTES_MAX
    }

    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.too_large == 0 && self.unreadable == 0
    }
}

/// A topic, as a member of the group reads it. Every function blocks.
pub trait TopicSource<R>: Send + 'static {
    /// The records that have arrived; none if no record arrives within a moment.
    ///
    /// # Errors
    /// The topic does not exist, or the group refuses the member.
    fn read(&mut self) -> Result<TopicRecords<R>, ServerError>;

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

impl std::fmt::Debug for TopicReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TopicReader")
    }
}

impl TopicReader {
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
                STATISTICS_INTERVAL,
            ],
        )?;
        let consumer: BaseConsumer<TopicAssignment> = config
            .create_with_context(TopicAssignment::default())
            .map_err(|error| server_error(&error))?;
        consumer.subscribe(&[topic]).map_err(|error| server_error(&error))?;
        let probe = BatchProbe::new(brokers, CLIENT_ID, topic);
        Ok(Self { consumer, probe, errors: UnreadableErrors::default() })
    }

    /// Reads a record, or an error about a batch; `false` if there is none within a moment.
    fn read_next<R: KeptRecord>(
        &mut self,
        read: &mut TopicRecords<R>,
    ) -> Result<bool, ServerError> {
        let due = self.consumer.context().silence.take_due();
        if !due.is_empty() {
            match self.positions() {
                Ok(mut positions) => {
                    positions.retain(|partition, _| due.contains(partition));
                    read.unreadable += self.pass_unreadable(&positions)?;
                }
                // Records may arrive in spite of it.
                Err(error) => tracing::debug!(%error, "the positions of a search are unknown"),
            }
        }
        match self.consumer.poll(POLL) {
            None => return Ok(false),
            Some(Ok(message)) => {
                read.push_message(self.probe.topic(), &message);
                self.consumer
                    .store_offset_from_message(&message)
                    .map_err(|error| server_error(&error))?;
                return Ok(true);
            }
            Some(Err(error)) => {
                let error = server_error(&error);
                if error.code != BATCH_UNREADABLE {
                    return Err(error);
                }
            }
        }
        if self.errors.add() {
            read.unreadable += self.pass_unreadable(&self.positions()?)?;
        }
        Ok(true)
    }

    /// Searches for batches at these positions that cannot be read, and passes them. Returns how many.
    fn pass_unreadable(&self, positions: &BTreeMap<i32, i64>) -> Result<usize, ServerError> {
        let found = self.probe.find(positions);
        self.consumer.context().silence.probed(&found);
        let found = found.batches;
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
            tracing::error!(
                code,
                topic,
                partition,
                first,
                last,
                "a batch of the topic cannot be read and is passed"
            );
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

impl<R: KeptRecord> TopicSource<R> for TopicReader {
    fn read(&mut self) -> Result<TopicRecords<R>, ServerError> {
        let mut read = TopicRecords::default();
        read_each(&mut read, Instant::now, |read| self.read_next(read))?;
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

/// Calls `next` until it returns `false`, `read` is full, or [`CALL_MAX`] is over.
fn read_each<R>(
    read: &mut TopicRecords<R>,
    now: impl Fn() -> Instant,
    mut next: impl FnMut(&mut TopicRecords<R>) -> Result<bool, ServerError>,
) -> Result<(), ServerError> {
    let until = now() + CALL_MAX;
    while !read.is_full() && now() < until && next(read)? {}
    Ok(())
}

/// Where the library starts to read a partition of these bounds: `auto.offset.reset` is `earliest`.
fn start(committed: Option<i64>, (low, high): (i64, i64)) -> i64 {
    committed.filter(|position| (low..=high).contains(position)).unwrap_or(low)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rdkafka::TopicPartitionList;

    use super::*;

    #[test]
    fn h3_a_position_past_an_unreadable_batch_is_kept_until_its_partition_rebalances() {
        let brokers = Brokers { servers: "127.0.0.1:1".to_owned(), properties: Vec::new() };
        let reader = TopicReader::join(&brokers, "group", "links").unwrap();
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

    /// Keeps a record of at most 100,000 bytes.
    struct Small(usize);

    impl KeptRecord for Small {
        fn keep(record: TopicRecord<'_>) -> Option<Self> {
            let bytes = record.value.map_or(0, <[u8]>::len);
            (bytes <= 100_000).then_some(Self(bytes))
        }

        fn bytes(&self) -> usize {
            self.0
        }
    }

    #[test]
    fn m2_a_call_keeps_4_mib_and_counts_records_that_are_too_large() {
        let record = |value| TopicRecord {
            topic: "t",
            partition: 0,
            offset: 0,
            logged_at_ms: 0,
            key: None,
            value,
            headers: Vec::new(),
        };
        let mut read = TopicRecords::<Small>::default();
        let bytes = vec![1; 900_000];
        (0..2_400).for_each(|_| read.push(record(Some(&bytes))));
        assert_eq!((read.too_large, read.bytes, read.records.len()), (2_400, 0, 0));
        while !read.is_full() {
            read.push(record(Some(&bytes[..100_000])));
        }
        assert_eq!((read.records.len(), read.bytes), (42, 4_200_000));
        let mut tombstones = TopicRecords::<Small>::default();
        while !tombstones.is_full() {
            tombstones.push(record(None));
        }
        assert_eq!(tombstones.records.len(), RECORDS_MAX);
    }

    #[test]
    fn records_that_arrive_one_by_one_are_returned_after_a_second() {
        let (began, elapsed) = (Instant::now(), Cell::new(Duration::ZERO));
        let mut read = TopicRecords::<Small>::default();
        let next = |read: &mut TopicRecords<Small>| {
            elapsed.set(elapsed.get() + Duration::from_millis(100));
            read.too_large += 1;
            Ok(true)
        };
        read_each(&mut read, || began + elapsed.get(), next).unwrap();
        assert_eq!(read.too_large, 10);
    }
}
