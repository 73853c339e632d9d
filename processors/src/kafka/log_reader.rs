//! The log reader: reads a topic to the end that it had when it was opened, outside any group.
//!
//! It joins no group and commits no position.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use broker::{
    BATCH_UNREADABLE, BatchProbe, Brokers, STATISTICS_INTERVAL, ServerError, SilenceContext,
    UnreadableBatch, message_headers, server_error,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use records::flow::origin_headers::OriginHeaders;
use records::replay::log_range::LogRange;

use crate::kafka::client_id::CLIENT_ID;
use crate::kafka::unreadable_errors::UnreadableErrors;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(500);
/// Silence after which the broker counts as unreachable.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Searches in a row without progress, after which reading fails.
const SEARCHES_MAX: u32 = 5;
/// Bounds of records that are fetched ahead. A small record takes several times its bytes in the
/// library's memory, so the library's defaults would take a hundred MiB or more.
const FETCH_AHEAD: [(&str, &str); 3] = [
    ("queued.min.messages", "5000"),
    ("queued.max.messages.kbytes", "8192"),
    ("fetch.queue.backoff.ms", "5"),
];

/// Bounds of a partition: `low` is the first offset, `high` the position after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// First offset.
    pub low: i64,
    /// Position after the last.
    pub high: i64,
}

/// The present bounds of each partition of `topic`. Blocks.
///
/// # Errors
/// The topic does not exist, or the broker is unreachable.
pub fn bounds(brokers: &Brokers, topic: &str) -> Result<BTreeMap<i32, Bounds>, ServerError> {
    fetch_bounds(&consumer(brokers)?, topic)
}

/// A record of the topic.
#[derive(Debug, Clone, Copy)]
pub struct LogRecord<'a>(&'a BorrowedMessage<'a>);

impl<'a> LogRecord<'a> {
    /// Partition.
    pub fn partition(self) -> i32 {
        self.0.partition()
    }

    /// Offset.
    pub fn offset(self) -> i64 {
        self.0.offset()
    }

    /// When the broker appended it, milliseconds since 1970.
    pub fn logged_at_ms(self) -> i64 {
        // The preflight requires `LogAppendTime`, with which every record has a time.
        self.0.timestamp().to_millis().unwrap_or_default()
    }

    /// Its value; `None` is a tombstone.
    pub fn value(self) -> Option<&'a [u8]> {
        self.0.payload()
    }

    /// The last header of that name, because a program that copies a record appends its own headers.
    pub fn header(self, name: &str) -> Option<&'a [u8]> {
        let headers = message_headers(self.0)?;
        headers.iter().rev().find(|(own, _)| own == name).and_then(|(_, value)| *value)
    }

    /// The headers that name an origin, as a block has them.
    pub fn origin_headers(self) -> OriginHeaders<'a> {
        let mut origin = OriginHeaders::default();
        for (name, value) in message_headers(self.0).into_iter().flatten() {
            origin.note(name.as_bytes(), value);
        }
        origin
    }
}

/// The next item of a log.
#[derive(Debug, Clone, Copy)]
pub enum LogItem<'a> {
    /// A record.
    Record(LogRecord<'a>),
    /// A batch that cannot be read and was passed.
    Unreadable(UnreadableBatch),
}

/// One topic, up to the end that it had when it was opened.
pub struct LogReader {
    consumer: BaseConsumer<SilenceContext>,
    bounds: BTreeMap<i32, Bounds>,
    /// Number of the offsets that it reads.
    offsets: u64,
    /// The end of the range that is read of each partition that is left to read.
    open: BTreeMap<i32, i64>,
    /// The ranges of each partition that are read after it.
    later: BTreeMap<i32, VecDeque<LogRange>>,
    silence: Duration,
    /// Where reading of each partition starts, or continues after an unreadable batch.
    starts: BTreeMap<i32, i64>,
    probe: BatchProbe,
    errors: UnreadableErrors,
    /// Searches in a row without progress.
    fruitless: u32,
    /// `None`: a partition ends when the library reports its end. Otherwise only those partitions, of which
    /// the log was seen to reach the end before the library read on.
    confirmed: Option<BTreeSet<i32>>,
}

/// What a poll reached in a partition.
enum Reached {
    /// The last record to be read.
    LastRecord(i32),
    /// The end of the log, as the library reports it.
    LogEnd(i32),
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
    /// The topic does not exist, or the broker is unreachable.
    pub fn open(brokers: &Brokers, topic: &str) -> Result<Self, ServerError> {
        Self::open_from(consumer(brokers)?, brokers, topic, |_, bounds| Ok(bounds))
    }

    /// As [`LogReader::open`], from the last offset of each partition.
    ///
    /// # Errors
    /// Likewise.
    pub fn open_tail(brokers: &Brokers, topic: &str) -> Result<Self, ServerError> {
        Self::open_from(consumer(brokers)?, brokers, topic, |_, mut bounds| {
            for Bounds { low, high } in bounds.values_mut() {
                *low = (*high - 1).max(*low);
            }
            Ok(bounds)
        })
    }

    /// As [`LogReader::open`], from the first record of each partition that was logged at
    /// `since_ms` or later.
    ///
    /// # Errors
    /// Likewise.
    pub fn open_since(brokers: &Brokers, topic: &str, since_ms: i64) -> Result<Self, ServerError> {
        Self::open_from(consumer(brokers)?, brokers, topic, |consumer, mut bounds| {
            let mut times = TopicPartitionList::new();
            for partition in bounds.keys() {
                times
                    .add_partition_offset(topic, *partition, Offset::Offset(since_ms))
                    .map_err(|error| server_error(&error))?;
            }
            let found = consumer.offsets_for_times(times, REQUEST_TIMEOUT);
            for found in found.map_err(|error| server_error(&error))?.elements() {
                found.error().map_err(|error| server_error(&error))?;
                let Some(bounds) = bounds.get_mut(&found.partition()) else { continue };
                // No offset: no record was logged since.
                bounds.low = match found.offset().to_raw() {
                    Some(offset) if offset >= 0 => offset.clamp(bounds.low, bounds.high),
                    Some(_) | None => bounds.high,
                };
            }
            Ok(bounds)
        })
    }

    /// As [`LogReader::open`], of these ranges only, as far as the log still holds them; those of a partition are
    /// in ascending order, without a common offset. No record of them is passed over without an error.
    ///
    /// # Errors
    /// Likewise. While reading: the log no longer holds the position (`POSITION_LOST`).
    pub fn open_within(
        brokers: &Brokers,
        topic: &str,
        ranges: &BTreeMap<i32, Vec<LogRange>>,
    ) -> Result<Self, ServerError> {
        let consumer = consumer_that(brokers, "error")?;
        let mut later = BTreeMap::<i32, VecDeque<LogRange>>::new();
        let log = Self::open_from(consumer, brokers, topic, |_, mut bounds| {
            bounds.retain(|partition, _| ranges.contains_key(partition));
            for (partition, bounds) in &mut bounds {
                let Bounds { low, high } = *bounds;
                let held = ranges[partition].iter().map(|range| LogRange {
                    first: range.first.max(low),
                    end: range.end.min(high),
                });
                let mut held: VecDeque<_> = held.filter(|range| range.offsets() > 0).collect();
                let first = held.pop_front().unwrap_or(LogRange { first: low, end: low });
                *bounds = Bounds { low: first.first, high: first.end };
                later.insert(*partition, held);
            }
            Ok(bounds)
        })?;
        let offsets = later.values().flatten().map(|range| range.offsets()).sum::<u64>();
        let (offsets, confirmed) = (log.offsets + offsets, Some(BTreeSet::new()));
        Ok(Self { later, offsets, confirmed, ..log })
    }

    fn open_from(
        consumer: BaseConsumer<SilenceContext>,
        brokers: &Brokers,
        topic: &str,
        narrow: impl FnOnce(
            &BaseConsumer<SilenceContext>,
            BTreeMap<i32, Bounds>,
        ) -> Result<BTreeMap<i32, Bounds>, ServerError>,
    ) -> Result<Self, ServerError> {
        let bounds = fetch_bounds(&consumer, topic)?;
        let bounds = narrow(&consumer, bounds)?;
        let (mut assignment, mut open) = (TopicPartitionList::new(), BTreeMap::new());
        for (partition, Bounds { low, high }) in &bounds {
            if low < high {
                open.insert(*partition, *high);
                assignment
                    .add_partition_offset(topic, *partition, Offset::Offset(*low))
                    .map_err(|error| server_error(&error))?;
            }
        }
        consumer.assign(&assignment).map_err(|error| server_error(&error))?;
        let starts = bounds.iter().map(|(partition, bounds)| (*partition, bounds.low)).collect();
        let probe = BatchProbe::new(brokers, CLIENT_ID, topic);
        let (silence, errors, fruitless) = (Duration::ZERO, UnreadableErrors::default(), 0);
        let (confirmed, later) = (None, BTreeMap::new());
        let offsets = bounds.values().map(|own| (own.high - own.low).unsigned_abs()).sum();
        Ok(Self {
            consumer,
            bounds,
            offsets,
            open,
            later,
            silence,
            starts,
            probe,
            errors,
            fruitless,
            confirmed,
        })
    }

    /// Number of the offsets that it reads, as of when it was opened; some of them may hold no record.
    pub fn offsets(&self) -> u64 {
        self.offsets
    }

    /// The bounds of the read in each partition; where it reads several ranges, those of the first one.
    pub fn bounds(&self) -> &BTreeMap<i32, Bounds> {
        &self.bounds
    }

    /// Passes the next item to `take`, or returns without one after half a second, so that the caller
    /// may stop. Returns `false` when every partition was read to its end. Blocks.
    ///
    /// # Errors
    /// The broker is unreachable.
    pub fn next(&mut self, take: &mut dyn FnMut(LogItem<'_>)) -> Result<bool, ServerError> {
        if self.open.is_empty() {
            return Ok(false);
        }
        let failed = self.poll(take)?;
        let due = self.consumer.context().take_due();
        if !due.is_empty() && self.pass_unreadable(take, |partition| due.contains(&partition))? {
            self.silence = Duration::ZERO;
        }
        let Some(failed) = failed else { return Ok(true) };
        if failed.code != BATCH_UNREADABLE || self.fruitless >= SEARCHES_MAX {
            return Err(failed);
        }
        if self.errors.add() {
            let has_progress = self.pass_unreadable(take, |_| true)?;
            self.fruitless = if has_progress { 0 } else { self.fruitless + 1 };
        }
        Ok(true)
    }

    /// As [`LogReader::next`]; an error of the library is returned.
    fn poll(
        &mut self,
        take: &mut dyn FnMut(LogItem<'_>),
    ) -> Result<Option<ServerError>, ServerError> {
        let reached = match self.poll_once(take)? {
            Ok(reached) => reached,
            Err(failed) => return Ok(Some(failed)),
        };
        match reached {
            Some(Reached::LastRecord(partition)) => self.close(partition, 0)?,
            Some(Reached::LogEnd(partition)) if self.ends_with_log(partition)? => {
                self.close(partition, 0)?;
            }
            Some(Reached::LogEnd(_)) | None => {}
        }
        Ok(None)
    }

    /// As [`LogReader::poll`], without an effect on the partition that the poll reached the end of.
    fn poll_once(
        &mut self,
        take: &mut dyn FnMut(LogItem<'_>),
    ) -> Result<Result<Option<Reached>, ServerError>, ServerError> {
        let polled = self.consumer.poll(POLL);
        self.silence = if polled.is_some() { Duration::ZERO } else { self.silence + POLL };
        match polled {
            None if self.silence >= SILENCE_MAX => {
                let text = format!("the broker sent no record for {} s", SILENCE_MAX.as_secs());
                Err(ServerError::retryable("kafka_unreachable", text))
            }
            None => Ok(Ok(None)),
            // The end of a partition is also reported when its last offsets hold no record.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                Ok(Ok(Some(Reached::LogEnd(partition))))
            }
            Some(Err(error)) => Ok(Err(server_error(&error))),
            Some(Ok(message)) => {
                let (partition, offset) = (message.partition(), message.offset());
                let Some(&high) = self.open.get(&partition) else { return Ok(Ok(None)) };
                // The library may have fetched a record before it read on elsewhere.
                let is_left = self.starts.get(&partition).is_none_or(|start| offset >= *start);
                if offset < high && is_left {
                    // The end that was confirmed was one of a former leader.
                    if let Some(confirmed) = &mut self.confirmed {
                        confirmed.remove(&partition);
                    }
                    take(LogItem::Record(LogRecord(&message)));
                }
                Ok(Ok((offset + 1 >= high).then_some(Reached::LastRecord(partition))))
            }
        }
    }

    /// No record of a range of a partition is to be read any more: the library reads on in the next range, at
    /// `position` or after it. After the last one, it does not fetch the rest of the log.
    fn close(&mut self, partition: i32, position: i64) -> Result<(), ServerError> {
        if let Some(confirmed) = &mut self.confirmed {
            confirmed.remove(&partition);
        }
        let later = self.later.get_mut(&partition);
        let next = later.and_then(|later| {
            std::iter::from_fn(|| later.pop_front()).find(|range| range.end > position)
        });
        if let Some(LogRange { first, end }) = next {
            let first = first.max(position);
            self.open.insert(partition, end);
            self.starts.insert(partition, first);
            let (topic, offset) = (self.probe.topic(), Offset::Offset(first));
            let sought = self.consumer.seek(topic, partition, offset, REQUEST_TIMEOUT);
            return sought.map_err(|error| server_error(&error));
        }
        self.open.remove(&partition);
        let mut closed = TopicPartitionList::new();
        closed.add_partition(self.probe.topic(), partition);
        self.consumer.pause(&closed).map_err(|error| server_error(&error))
    }

    /// Whether a partition of which the library reports the end has no more record to be read. A leader that
    /// was just elected may report an earlier end at first. So the end counts where it is reported again
    /// after the log was seen to reach it.
    fn ends_with_log(&mut self, partition: i32) -> Result<bool, ServerError> {
        let Some(&high) = self.open.get(&partition) else { return Ok(true) };
        let ends = self.confirmed.as_mut().is_none_or(|confirmed| confirmed.remove(&partition));
        if ends {
            return Ok(true);
        }
        let topic = self.probe.topic();
        let bounds = self.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT);
        // Otherwise the log has to grow, and the library reports its new end.
        if bounds.map_err(|error| server_error(&error))?.1 >= high {
            let next = self.positions()?.get(&partition).copied().unwrap_or_default();
            let offset = Offset::Offset(next);
            let sought = self.consumer.seek(topic, partition, offset, REQUEST_TIMEOUT);
            sought.map_err(|error| server_error(&error))?;
            // The library knows no position until it passes on the next record.
            self.starts.insert(partition, next);
            self.confirmed.get_or_insert_default().insert(partition);
        }
        Ok(false)
    }

    /// The next offset to read of each partition that is left to read.
    fn positions(&self) -> Result<BTreeMap<i32, i64>, ServerError> {
        let read = self.consumer.position().map_err(|error| server_error(&error))?;
        let topic = self.probe.topic();
        let position = |partition: i32| {
            let read = read.find_partition(topic, partition).and_then(|own| own.offset().to_raw());
            let start = self.starts.get(&partition).copied().unwrap_or_default();
            read.map_or(start, |offset| offset.max(start))
        };
        Ok(self.open.keys().map(|partition| (*partition, position(*partition))).collect())
    }
}

impl LogReader {
    /// Searches some partitions for batches that cannot be read, skips them, and passes them to `take`.
    /// Returns whether the search found one, or came closer to the end of one.
    fn pass_unreadable(
        &mut self,
        take: &mut dyn FnMut(LogItem<'_>),
        is_asked: impl Fn(i32) -> bool,
    ) -> Result<bool, ServerError> {
        let mut positions = self.positions()?;
        positions.retain(|partition, _| is_asked(*partition));
        let found = self.probe.find(&positions);
        let topic = self.probe.topic().to_owned();
        self.consumer.context().probed(&found);
        for batch in found.batches {
            let UnreadableBatch { partition, first, last, .. } = batch;
            let Some(&high) = self.open.get(&partition) else { continue };
            if first >= high {
                // The last offsets to be read hold no record.
                self.close(partition, high)?;
                continue;
            }
            let offset = Offset::Offset(last + 1);
            let sought = self.consumer.seek(&topic, partition, offset, REQUEST_TIMEOUT);
            sought.map_err(|error| server_error(&error))?;
            self.starts.insert(partition, last + 1);
            if last + 1 >= high {
                self.close(partition, last + 1)?;
            }
            let code = BATCH_UNREADABLE;
            tracing::error!(code, topic, partition, first, last, "a batch cannot be read");
            take(LogItem::Unreadable(batch));
        }
        Ok(found.has_progress)
    }
}

pub(super) fn consumer(brokers: &Brokers) -> Result<BaseConsumer<SilenceContext>, ServerError> {
    consumer_that(brokers, "earliest")
}

/// As [`consumer`], with what it does where the log does not hold the position to read.
fn consumer_that(
    brokers: &Brokers,
    offset_reset: &str,
) -> Result<BaseConsumer<SilenceContext>, ServerError> {
    let config = brokers.consumer_config(
        CLIENT_ID,
        &FETCH_AHEAD,
        &[
            ("group.id", "clicktrail-log-reader"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", offset_reset),
            ("isolation.level", "read_committed"),
            STATISTICS_INTERVAL,
        ],
    )?;
    config.create_with_context(SilenceContext::default()).map_err(|error| server_error(&error))
}

fn fetch_bounds(
    consumer: &BaseConsumer<SilenceContext>,
    topic: &str,
) -> Result<BTreeMap<i32, Bounds>, ServerError> {
    let metadata = consumer
        .fetch_metadata(Some(topic), REQUEST_TIMEOUT)
        .map_err(|error| server_error(&error))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let partitions = found.map(|found| found.partitions()).unwrap_or_default();
    if partitions.is_empty() {
        return Err(ServerError::fatal(
            "kafka_topic_missing",
            format!("the topic {topic} does not exist: run `processors setup`"),
        ));
    }
    let mut bounds = BTreeMap::new();
    for partition in partitions.iter().map(|partition| partition.id()) {
        let (low, high) = consumer
            .fetch_watermarks(topic, partition, REQUEST_TIMEOUT)
            .map_err(|error| server_error(&error))?;
        bounds.insert(partition, Bounds { low, high });
    }
    Ok(bounds)
}

#[cfg(test)]
mod tests;
