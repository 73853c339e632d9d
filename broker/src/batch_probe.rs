//! The batch probe: finds the batches that the library cannot read, and the end of each of them.
//!
//! librdkafka repeats the first offset of such a batch and does not report the last one. But a broker
//! answers a request for any offset of a batch with the whole batch, so that the error names the same
//! base offset exactly for the offsets of this batch: its end is found by bisection, and no readable
//! record is passed. A probe first asks about all partitions at once. Those that cannot be read then share
//! its time, so that a partition full of such batches does not delay the others.
#![expect(clippy::disallowed_methods, reason = "bounds the time of a probe by deadlines")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::client::{Brokers, QuietContext, UNREADABLE, server_error};
use crate::error::ServerError;
use crate::native_message::{ConsumeError, Polled, poll};

/// Times that the error is received before the probe starts: an error that does not repeat is not an
/// error of the batch.
pub const UNREADABLE_TRIES: u32 = 3;
/// Longest time of one probe; what it has found by then counts.
const TIME_MAX: Duration = Duration::from_secs(8);
/// Longest wait for a reply about one offset.
const REPLY_MAX: Duration = Duration::from_secs(3);
/// Longest wait in one poll, milliseconds.
const POLL_MS: i32 = 50;
/// Batches that one probe finds at most.
const BATCHES_MAX: usize = 200;

const REQUIRED: &[(&str, &str)] = &[
    ("group.id", "clicktrail-batch-probe"),
    ("allow.auto.create.topics", "false"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
];
/// A probe asks about one offset after another, so it waits less than the operator's consumers.
const FETCH_WAITS: [(&str, &str); 2] =
    [("fetch.wait.max.ms", "50"), ("fetch.error.backoff.ms", "20")];

/// A batch that the library cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadableBatch {
    /// Partition.
    pub partition: i32,
    /// First offset.
    pub first: i64,
    /// Last offset.
    pub last: i64,
    /// The position at which it was found; before the first offset where that follows a gap.
    pub from: i64,
}

/// A probe of one topic. Clones share the order of turns.
#[derive(Debug, Clone)]
pub struct BatchProbe {
    brokers: Brokers,
    client_id: &'static str,
    topic: String,
    /// The partition that was first in the last probe.
    first: Arc<AtomicI32>,
}

impl BatchProbe {
    /// A probe of `topic`, by clients of this name.
    pub fn new(brokers: &Brokers, client_id: &'static str, topic: &str) -> Self {
        let (brokers, topic) = (brokers.clone(), topic.to_owned());
        Self { brokers, client_id, topic, first: Arc::new(AtomicI32::new(-1)) }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The batches at these positions, by partition, that cannot be read, and those that follow each
    /// of them directly. Each partition has half of the time in its turn. Blocks for ten seconds at most.
    ///
    /// # Errors
    /// Fatal: a property is refused.
    pub fn find(
        &self,
        positions: &BTreeMap<i32, i64>,
    ) -> Result<Vec<UnreadableBatch>, ServerError> {
        let mut config = self.brokers.consumer_config(self.client_id, &[], REQUIRED)?;
        for (name, value) in FETCH_WAITS {
            config.set(name, value);
        }
        let consumer: BaseConsumer<QuietContext> =
            config.create_with_context(QuietContext).map_err(|error| server_error(&error))?;
        let deadline = Instant::now() + TIME_MAX;
        let unreadable = self.unreadable(&consumer, positions)?;
        let unreadable = in_turn(unreadable, self.first.load(Ordering::Relaxed));
        if let Some(&(first, _)) = unreadable.first() {
            self.first.store(first, Ordering::Relaxed);
        }
        let mut found = Vec::new();
        for (done, &(partition, position)) in unreadable.iter().enumerate() {
            let now = Instant::now();
            let left = Share {
                time: deadline.saturating_duration_since(now),
                batches: BATCHES_MAX.saturating_sub(found.len()),
            };
            let Share { time, batches } = left.of_next(unreadable.len() - done);
            let base = |offset| self.base(&consumer, partition, offset, now + time);
            find_from(position, batches, base, |FoundBatch { first, last, from }| {
                found.push(UnreadableBatch { partition, first, last, from });
            })?;
        }
        Ok(found)
    }

    /// The positions whose batch cannot be read. A partition without a broker's reply is not one of
    /// them.
    fn unreadable(
        &self,
        consumer: &BaseConsumer<QuietContext>,
        positions: &BTreeMap<i32, i64>,
    ) -> Result<Vec<(i32, i64)>, ServerError> {
        let mut list = TopicPartitionList::new();
        for (&partition, &position) in positions {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(position))
                .map_err(|error| server_error(&error))?;
        }
        consumer.assign(&list).map_err(|error| server_error(&error))?;
        let deadline = Instant::now() + REPLY_MAX;
        let (mut open, mut unreadable) = (positions.clone(), Vec::new());
        while !open.is_empty() && Instant::now() < deadline {
            match poll(consumer, POLL_MS) {
                Polled::Record(partition) => drop(open.remove(&partition)),
                Polled::Failed(error) => {
                    let Some(reply) = reply(&error) else { continue };
                    let position = open.remove(&error.partition);
                    if matches!(reply, Reply::Unreadable(_)) {
                        unreadable.extend(position.map(|position| (error.partition, position)));
                    }
                }
                Polled::Nothing => {}
            }
        }
        Ok(unreadable)
    }

    /// The base offset of the batch that holds `offset`, if it cannot be read. After `deadline`, or
    /// without a reply, no batch is unreadable.
    fn base(
        &self,
        consumer: &BaseConsumer<QuietContext>,
        partition: i32,
        offset: i64,
        deadline: Instant,
    ) -> Result<Reply, ServerError> {
        let deadline = deadline.min(Instant::now() + REPLY_MAX);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))
            .map_err(|error| server_error(&error))?;
        // Ends the assignment, so that no reply to the last request counts for this one.
        consumer.unassign().map_err(|error| server_error(&error))?;
        while poll(consumer, 0) != Polled::Nothing {}
        consumer.assign(&list).map_err(|error| server_error(&error))?;
        while Instant::now() < deadline {
            match poll(consumer, POLL_MS) {
                Polled::Record(of) if of == partition => return Ok(Reply::Readable),
                Polled::Failed(error) if error.partition == partition => {
                    if let Some(reply) = reply(&error) {
                        return Ok(reply);
                    }
                }
                Polled::Nothing | Polled::Record(_) | Polled::Failed(_) => {}
            }
        }
        Ok(Reply::None)
    }
}

/// The brokers' reply about one offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    /// It can be read, or there is none.
    Readable,
    /// It is in a batch with this base offset that cannot be read.
    Unreadable(i64),
    /// No reply came in time.
    None,
}

fn reply(error: &ConsumeError) -> Option<Reply> {
    if UNREADABLE.contains(&error.code) {
        return Some(Reply::Unreadable(error.offset));
    }
    let ends = [Code::PartitionEOF, Code::OffsetOutOfRange, Code::AutoOffsetReset];
    ends.contains(&error.code).then_some(Reply::Readable)
}

/// The time and the batches that a probe, or one partition of it, may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    time: Duration,
    batches: usize,
}

impl Share {
    /// The share of the next of so many partitions: half of the rest, and all of it for the last one.
    fn of_next(self, partitions: usize) -> Self {
        if partitions > 1 {
            Self { time: self.time / 2, batches: self.batches.div_ceil(2) }
        } else {
            self
        }
    }
}

/// Partitions and positions by number, those after `last` first.
fn in_turn(mut partitions: Vec<(i32, i64)>, last: i32) -> Vec<(i32, i64)> {
    partitions.sort_unstable_by_key(|&(partition, _)| (partition <= last, partition));
    partitions
}

/// An unreadable batch of one partition.
struct FoundBatch {
    first: i64,
    last: i64,
    from: i64,
}

/// Calls `take` with each batch, from `position` on, that `reply` reports as unreadable, at most `max` of
/// them.
fn find_from<E>(
    position: i64,
    max: usize,
    reply: impl Fn(i64) -> Result<Reply, E>,
    mut take: impl FnMut(FoundBatch),
) -> Result<(), E> {
    let mut position = position;
    for _ in 0..max {
        let Reply::Unreadable(base) = reply(position)? else { return Ok(()) };
        // `last` is an offset of the batch, `beyond` is none.
        let (mut last, mut step) = (position, 1);
        let mut beyond = loop {
            match reply(last + step)? {
                Reply::Unreadable(of) if of == base => (last, step) = (last + step, step * 2),
                Reply::Unreadable(_) | Reply::Readable => break last + step,
                Reply::None => return Ok(()),
            }
        };
        while beyond - last > 1 {
            let middle = last + (beyond - last) / 2;
            match reply(middle)? {
                Reply::Unreadable(of) if of == base => last = middle,
                Reply::Unreadable(_) | Reply::Readable => beyond = middle,
                Reply::None => return Ok(()),
            }
        }
        take(FoundBatch { first: base, last, from: position });
        position = beyond;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    /// Batches as (records, readable), one behind the other from offset 0.
    fn base(batches: &[(i64, bool)], offset: i64) -> Reply {
        let mut first = 0;
        for &(records, readable) in batches {
            if offset < first + records {
                return if readable { Reply::Readable } else { Reply::Unreadable(first) };
            }
            first += records;
        }
        Reply::Readable
    }

    proptest! {
        #[test]
        fn h3_a_probe_passes_each_unreadable_batch_and_no_readable_record(
            batches in prop::collection::vec((1_i64..3_000, any::<bool>()), 1..12),
            max in 0_usize..12,
        ) {
            let mut expected = Vec::new();
            let mut first = 0;
            for &(records, readable) in &batches {
                if readable || expected.len() == max { break; }
                expected.push((first, first + records - 1));
                first += records;
            }
            let requests = Cell::new(0);
            let mut found = Vec::new();
            let reply = |offset| {
                requests.set(requests.get() + 1);
                Ok::<_, ()>(base(&batches, offset))
            };
            find_from(0, max, reply, |batch| found.push((batch.first, batch.last))).unwrap();
            prop_assert_eq!(&found, &expected);
            prop_assert!(requests.get() <= 1 + 26 * found.len().max(1), "{} requests", requests.get());
        }
    }

    /// Any number of partitions take their whole share, and any others come and go.
    #[test]
    fn h3_each_unreadable_partition_has_half_of_a_probe_in_its_turn() {
        for partitions in [1, 2, 3, 7, 64] {
            let all: Vec<(i32, i64)> = (0..partitions).map(|partition| (partition, 0)).collect();
            let (mut last, mut turns) = (-1, Vec::new());
            for probe in 0..2 * partitions {
                // With three or more partitions, the one that a search omits can be read.
                let some = all.iter().copied().filter(|own| partitions < 3 || own.0 != probe % 3);
                let order = in_turn(some.collect(), last);
                last = order[0].0;
                turns.push(last);
                let mut left = Share { time: TIME_MAX, batches: BATCHES_MAX };
                let first = left.of_next(order.len());
                assert!(first.time >= TIME_MAX / 2 && first.batches >= BATCHES_MAX / 2);
                for done in 0..order.len() {
                    let own = left.of_next(order.len() - done);
                    let (time, batches) = (left.time - own.time, left.batches - own.batches);
                    left = Share { time, batches };
                }
                assert_eq!(left, Share { time: Duration::ZERO, batches: 0 });
            }
            let always = if partitions < 3 { 0 } else { 3 };
            let missing: Vec<_> = (always..partitions).filter(|own| !turns.contains(own)).collect();
            assert_eq!(missing, Vec::<i32>::new(), "{partitions}: {turns:?}");
        }
    }

    #[test]
    fn h3_a_position_inside_a_batch_and_a_batch_of_millions_are_found() {
        let batches = [(28_000_000, false), (5, true), (1, false)];
        let mut found = Vec::new();
        let reply = |offset| Ok::<_, ()>(base(&batches, offset));
        find_from(17, 9, reply, |batch| found.push((batch.from, batch.first, batch.last))).unwrap();
        assert_eq!(found, [(17, 0, 27_999_999)]);
    }

    #[test]
    fn h3_without_a_reply_nothing_is_passed() {
        for silent_from in [0, 1, 5] {
            let reply = |offset| {
                Ok::<_, ()>(if offset >= silent_from { Reply::None } else { Reply::Unreadable(0) })
            };
            find_from(0, 9, reply, |batch| panic!("{}-{}", batch.first, batch.last)).unwrap();
        }
    }
}
