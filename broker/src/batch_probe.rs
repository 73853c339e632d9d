//! The batch probe: finds batches that the library cannot read, and where each of them ends.
//!
//! librdkafka repeats the first offset of such a batch and does not report the last one. But a broker
//! answers a request for any offset of a batch with the whole batch, so that the error names the same
//! base offset exactly for the offsets of this batch: its end is found by bisection, and no readable
//! record is passed.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::client::{Brokers, QuietContext, UNREADABLE, server_error};
use crate::error::ServerError;
use crate::native_message::{ConsumeError, Polled, poll};

/// Times that the error is received before the probe starts: an error that does not come again is
/// none of the batch.
pub const UNREADABLE_TRIES: u32 = 3;
/// Longest time of one probe; what it found until then counts.
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
    ("fetch.wait.max.ms", "50"),
    ("fetch.error.backoff.ms", "20"),
];

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

/// Whose batches are probed.
#[derive(Debug, Clone)]
pub struct BatchProbe {
    /// The brokers.
    pub brokers: Brokers,
    /// `client.id`.
    pub client_id: &'static str,
    /// The topic.
    pub topic: String,
}

impl BatchProbe {
    /// The batches at these positions, by partition, that cannot be read, and those that follow each
    /// of them directly. Blocks, for ten seconds at most.
    ///
    /// # Errors
    /// A property that is refused.
    pub fn find(
        &self,
        positions: &BTreeMap<i32, i64>,
    ) -> Result<Vec<UnreadableBatch>, ServerError> {
        let config = self.brokers.consumer_config(self.client_id, &[], REQUIRED)?;
        let consumer: BaseConsumer<QuietContext> =
            config.create_with_context(QuietContext).map_err(|error| server_error(&error))?;
        let deadline = Instant::now() + TIME_MAX;
        let mut found = Vec::new();
        for (&partition, &position) in positions {
            let base = |offset| self.base(&consumer, partition, offset, deadline);
            let max = BATCHES_MAX.saturating_sub(found.len());
            find_from(position, max, base, |FoundBatch { first, last, from }| {
                found.push(UnreadableBatch { partition, first, last, from });
            })?;
        }
        Ok(found)
    }

    /// The base offset of the batch that holds `offset`, if it cannot be read. After `deadline`, and
    /// where no broker replies, nothing is unreadable.
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

/// What the brokers' reply says of one offset.
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
