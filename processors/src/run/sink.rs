//! The interfaces that a batch is written to: a sink of rows and a sink of dead letters.

use broker::ServerError;
use records::encode::encoded_rows::EncodedRows;
use records::flow::block::Record;
use records::flow::offset_range::OffsetRanges;
use serde::{Deserialize, Serialize};

use crate::shards::shard_layout::ShardLayout;

/// One insert statement: rows, and their offsets in the log.
#[derive(Debug, Clone, Copy)]
pub struct Insert<'a> {
    /// The log.
    pub topic: &'a str,
    /// Offsets of the batch that the rows are of.
    pub ranges: &'a OffsetRanges,
    /// Index of the shard that owns the rows, from 0.
    pub shard: usize,
    /// The rows, block by block.
    pub rows: &'a [EncodedRows],
    /// The trace for the server.
    pub traceparent: Option<&'a str>,
}

/// An operator's permission to dead-letter the bad records of a range of offsets in a storm.
#[derive(Debug, Clone, PartialEq, Eq, clickhouse::Row, Serialize, Deserialize)]
pub struct BreakerOverride {
    /// Log that holds them.
    pub kafka_topic: String,
    /// Partition.
    pub kafka_partition: u32,
    /// First offset.
    pub first_offset: u64,
    /// Last offset.
    pub last_offset: u64,
    /// The reason that the operator gave.
    pub reason: String,
}

impl BreakerOverride {
    /// Whether it holds for a record.
    pub fn covers(&self, partition: i32, offset: i64) -> bool {
        let offset = u64::try_from(offset).ok();
        u32::try_from(partition) == Ok(self.kafka_partition)
            && offset.is_some_and(|at| (self.first_offset..=self.last_offset).contains(&at))
    }
}

/// The destination of rows.
pub trait Sink: Send + Sync + 'static {
    /// The shards that the rows are divided among.
    fn layout(&self) -> ShardLayout;

    /// Inserts; `Ok` means durable.
    fn insert(&self, insert: &Insert<'_>) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// All overrides of the storm breaker for a topic.
    fn overrides(
        &self,
        topic: &str,
    ) -> impl Future<Output = Result<Vec<BreakerOverride>, ServerError>> + Send;
}

/// The destination of records that cannot become rows.
pub trait DeadLetterSink: Send + Sync + 'static {
    /// What the log states of a record that was sent.
    const SENT: &'static str = "a record is dead-lettered";

    /// Sends a record, with `reason` added to its headers; `Ok` means acknowledged.
    fn send(
        &self,
        record: Record<'_>,
        reason: &[(&'static str, String)],
    ) -> impl Future<Output = Result<(), ServerError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_covers_its_offsets_and_no_others() {
        let own = BreakerOverride {
            kafka_topic: "t".to_owned(),
            kafka_partition: 3,
            first_offset: 10,
            last_offset: 20,
            reason: String::new(),
        };
        for (partition, offset, covered) in [
            (3, 10, true),
            (3, 20, true),
            (3, 9, false),
            (3, 21, false),
            (2, 15, false),
            (3, -1, false),
        ] {
            assert_eq!(own.covers(partition, offset), covered, "{partition}:{offset}");
        }
    }
}
