//! Where a replay writes: rows into the table of clicks, and dead letters only of records that live
//! processing has skipped.
//!
//! Any other record of the log that cannot become a row has a dead letter already, or live processing has
//! yet to write it. The verdict names a record that has none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker::ServerError;
use records::flow::block::Record;

use crate::clickhouse::shard_tables::ShardTables;
use crate::kafka::dead_letter_writer::DeadLetterWriter;
use crate::run::sink::{BreakerOverride, DeadLetterSink, Insert, Sink};
use crate::shards::shard_layout::ShardLayout;

/// The table of clicks. The storm breaker, which protects the dead-letter topic, holds only for a replay that
/// writes to that topic.
#[derive(Debug)]
pub(crate) struct ReplayTable {
    table: ShardTables,
    /// Without the storm breaker in these partitions.
    unguarded: Option<Vec<u32>>,
}

impl ReplayTable {
    /// The table without the storm breaker, for records of these partitions.
    pub(crate) fn new(table: ShardTables, partitions: impl IntoIterator<Item = i32>) -> Self {
        let partitions = partitions.into_iter().filter_map(|own| u32::try_from(own).ok());
        Self { table, unguarded: Some(partitions.collect()) }
    }

    /// The table with the storm breaker.
    pub(crate) fn guarded(table: ShardTables) -> Self {
        Self { table, unguarded: None }
    }
}

impl Sink for ReplayTable {
    fn layout(&self) -> ShardLayout {
        self.table.layout()
    }

    async fn insert(&self, insert: &Insert<'_>) -> Result<(), ServerError> {
        self.table.insert(insert).await
    }

    async fn overrides(&self, topic: &str) -> Result<Vec<BreakerOverride>, ServerError> {
        match &self.unguarded {
            Some(partitions) => Ok(everything(topic, partitions)),
            None => self.table.overrides(topic).await,
        }
    }
}

/// An override of all offsets of each partition.
fn everything(topic: &str, partitions: &[u32]) -> Vec<BreakerOverride> {
    let all = |partition: &u32| BreakerOverride {
        kafka_topic: topic.to_owned(),
        kafka_partition: *partition,
        first_offset: 0,
        last_offset: u64::MAX,
        reason: "a replay writes no dead letters".to_owned(),
    };
    partitions.iter().map(all).collect()
}

/// Counts the records that cannot become rows, and writes their dead letters if the replay does.
#[derive(Debug, Clone)]
pub(crate) struct ReplayDeadLetters {
    count: Arc<AtomicU64>,
    writer: Option<Arc<DeadLetterWriter>>,
}

impl ReplayDeadLetters {
    /// Counts them only.
    pub(crate) fn counted() -> Self {
        Self { count: Arc::default(), writer: None }
    }

    /// Writes them.
    pub(crate) fn written(writer: DeadLetterWriter) -> Self {
        Self { count: Arc::default(), writer: Some(Arc::new(writer)) }
    }

    /// Their number; a record that was read again counts again.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl DeadLetterSink for ReplayDeadLetters {
    const SENT: &'static str = "a record of the replay cannot become a row";

    async fn send(
        &self,
        record: Record<'_>,
        reason: &[(&'static str, String)],
    ) -> Result<(), ServerError> {
        if let Some(writer) = &self.writer {
            writer.send(record, reason).await?;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_storm_stops_a_replay() {
        let overrides = everything("t", &[0, 7]);
        for (partition, covered) in [(0, true), (7, true), (1, false)] {
            for offset in [0, 5, i64::MAX] {
                let found = overrides.iter().any(|own| own.covers(partition, offset));
                assert_eq!(found, covered, "{partition}:{offset}");
            }
        }
    }
}
