//! The offset reader: reads single records of a topic by their offsets, outside any group.
//!
//! It joins no group and commits no position.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use broker::{
    BATCH_UNREADABLE, BatchProbe, Brokers, QuietContext, ServerError, UnreadableBatch,
    message_headers, server_error,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use records::dead_letters::redriven_copy::RecordBytes;

use crate::kafka::client_id::CLIENT_ID;
use crate::kafka::unreadable_errors::UnreadableErrors;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);
/// Silence after which the broker counts as unreachable.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Silence after which a probe starts, and again after as long.
const PROBE_AFTER: Duration = Duration::from_secs(3);
/// Records between two offsets that are read and ignored, rather than sought past.
const GAP_MAX: i64 = 200;
/// Bound of what is fetched ahead.
const FETCH_AHEAD: [(&str, &str); 3] = [
    ("queued.min.messages", "200"),
    ("queued.max.messages.kbytes", "2048"),
    ("fetch.queue.backoff.ms", "5"),
];

/// A record that was read by its offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadRecord {
    /// The record.
    Record {
        /// When the broker appended it, milliseconds since 1970.
        logged_at_ms: i64,
        /// Its bytes.
        bytes: RecordBytes,
    },
    /// The library does not read its batch, or its headers.
    Unreadable,
    /// The topic does not hold it.
    Gone,
}

/// A reader of any topic.
pub struct OffsetReader {
    brokers: Brokers,
    consumer: BaseConsumer<QuietContext>,
}

impl std::fmt::Debug for OffsetReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OffsetReader")
    }
}

impl OffsetReader {
    /// Starts the client. Sends no request.
    ///
    /// # Errors
    /// A property that is refused.
    pub fn new(brokers: &Brokers) -> Result<Self, ServerError> {
        let config = brokers.consumer_config(
            CLIENT_ID,
            &FETCH_AHEAD,
            &[
                ("group.id", "clicktrail-offset-reader"),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("enable.partition.eof", "true"),
                ("auto.offset.reset", "earliest"),
                ("isolation.level", "read_committed"),
            ],
        )?;
        let consumer = config.create_with_context(QuietContext);
        let consumer = consumer.map_err(|error| server_error(&error))?;
        Ok(Self { brokers: brokers.clone(), consumer })
    }

    /// Reads the records of these offsets of a partition; the result has each of them. Blocks.
    ///
    /// # Errors
    /// The broker is unreachable.
    pub fn read(
        &mut self,
        topic: &str,
        partition: i32,
        offsets: BTreeSet<i64>,
    ) -> Result<BTreeMap<i64, ReadRecord>, ServerError> {
        let mut found: BTreeMap<i64, ReadRecord> =
            offsets.iter().map(|offset| (*offset, ReadRecord::Gone)).collect();
        let Some((low, high)) = self.bounds(topic, partition)? else { return Ok(found) };
        let mut wanted = offsets;
        wanted.retain(|offset| (low..high).contains(offset));
        let (mut next, mut silence, mut errors) =
            (None, Duration::ZERO, UnreadableErrors::default());
        let mut probe_at = PROBE_AFTER;
        let probe = BatchProbe::new(&self.brokers, CLIENT_ID, topic);
        while let Some(&first) = wanted.first() {
            if silence >= probe_at {
                probe_at = silence + PROBE_AFTER;
                let batches = probe.find(&BTreeMap::from([(partition, first)])).batches;
                if !batches.is_empty() {
                    found.extend(take_unreadable(&mut wanted, &batches));
                    (next, silence, probe_at) = (None, Duration::ZERO, PROBE_AFTER);
                    continue;
                }
            }
            if next.is_none_or(|next| first < next || first - next > GAP_MAX) {
                self.seek(topic, partition, first)?;
                next = Some(first);
            }
            let polled = self.consumer.poll(POLL);
            silence = if polled.is_some() { Duration::ZERO } else { silence + POLL };
            if polled.is_some() {
                probe_at = PROBE_AFTER;
            }
            match polled {
                None if silence >= SILENCE_MAX => {
                    let text = format!("the broker sent no record for {} s", SILENCE_MAX.as_secs());
                    return Err(ServerError::retryable("kafka_unreachable", text));
                }
                None => {}
                // No record follows; the last offsets of a log may hold none.
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) => {
                    let error = server_error(&error);
                    if error.code != BATCH_UNREADABLE {
                        return Err(error);
                    }
                    if errors.add() {
                        found.insert(first, ReadRecord::Unreadable);
                        wanted.remove(&first);
                        next = None;
                    }
                }
                Some(Ok(message)) => {
                    let offset = message.offset();
                    // A cleaned or aborted record is not in the log, though others around it are.
                    wanted.retain(|own| *own >= offset);
                    next = Some(offset + 1);
                    if wanted.remove(&offset) {
                        found.insert(offset, record(&message));
                    }
                }
            }
        }
        Ok(found)
    }

    /// First offset, and the position after the last record; `None` if the topic or the partition does
    /// not exist.
    fn bounds(&self, topic: &str, partition: i32) -> Result<Option<(i64, i64)>, ServerError> {
        let metadata = self.consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT);
        let metadata = metadata.map_err(|error| server_error(&error))?;
        let mut partitions = metadata.topics().iter().flat_map(|found| found.partitions());
        if !partitions.any(|own| own.id() == partition) {
            return Ok(None);
        }
        match self.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT) {
            Ok(bounds) => Ok(Some(bounds)),
            Err(KafkaError::MetadataFetch(Code::UnknownPartition | Code::UnknownTopic)) => Ok(None),
            Err(error) => Err(server_error(&error)),
        }
    }

    fn seek(&self, topic: &str, partition: i32, offset: i64) -> Result<(), ServerError> {
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(topic, partition, Offset::Offset(offset));
        added.and_then(|()| self.consumer.assign(&list)).map_err(|error| server_error(&error))
    }
}

/// Takes the offsets up to the last one of `batches`, which begin at the first offset or behind it. Those of
/// the batches are unreadable; the topic holds none of the others.
fn take_unreadable(
    wanted: &mut BTreeSet<i64>,
    batches: &[UnreadableBatch],
) -> BTreeMap<i64, ReadRecord> {
    let mut taken = BTreeMap::new();
    for &UnreadableBatch { first, last, .. } in batches {
        let record =
            |offset| if offset < first { ReadRecord::Gone } else { ReadRecord::Unreadable };
        let own = wanted.extract_if(..=last, |_| true);
        taken.extend(own.map(|offset| (offset, record(offset))));
    }
    taken
}

fn record(message: &BorrowedMessage<'_>) -> ReadRecord {
    let Some(headers) = message_headers(message) else {
        return ReadRecord::Unreadable;
    };
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let headers = headers.into_iter().map(|(name, value)| (name.into_owned(), owned(value)));
    ReadRecord::Record {
        // The preflight requires `LogAppendTime`, with which every record has a time.
        logged_at_ms: message.timestamp().to_millis().unwrap_or_default(),
        bytes: RecordBytes {
            key: owned(message.key()),
            value: owned(message.payload()),
            headers: headers.collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_before_an_unreadable_batch_are_gone_and_those_behind_it_stay_wanted() {
        let batch = |first, last| UnreadableBatch { partition: 0, first, last, from: 4 };
        let mut wanted = BTreeSet::from([4, 10, 19, 20, 25, 31]);
        let taken = take_unreadable(&mut wanted, &[batch(10, 19), batch(20, 29)]);
        let unreadable = [10, 19, 20, 25].map(|offset| (offset, ReadRecord::Unreadable));
        let gone = [(4, ReadRecord::Gone)];
        assert_eq!(taken, gone.into_iter().chain(unreadable).collect());
        assert_eq!(wanted, BTreeSet::from([31]));
    }
}
