//! Where a replay writes: rows into the table of clicks, and no dead letters.
//!
//! A record of the log that cannot become a row has a dead letter already, or live processing has yet to
//! write it. The verdict names a record that has none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker::ServerError;
use records::flow::block::Record;

use crate::clickhouse::click_table::ClickTable;
use crate::run::sink::{BreakerOverride, DeadLetterSink, Insert, Sink};

/// The table of clicks, without the storm breaker: that protects the dead-letter topic, to which a replay
/// does not write.
#[derive(Debug)]
pub(crate) struct ReplayTable {
    table: ClickTable,
    partitions: Vec<u32>,
}

impl ReplayTable {
    /// The table, for records of these partitions.
    pub(crate) fn new(table: ClickTable, partitions: impl IntoIterator<Item = i32>) -> Self {
        let partitions = partitions.into_iter().filter_map(|own| u32::try_from(own).ok());
        Self { table, partitions: partitions.collect() }
    }
}

impl Sink for ReplayTable {
    async fn insert(&self, insert: &Insert<'_>) -> Result<(), ServerError> {
        self.table.insert(insert).await
    }

    async fn overrides(&self, topic: &str) -> Result<Vec<BreakerOverride>, ServerError> {
        Ok(everything(topic, &self.partitions))
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

/// Counts the records that cannot become rows. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(crate) struct CountedDeadLetters(Arc<AtomicU64>);

impl CountedDeadLetters {
    /// Their number; a record that was read again counts again.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl DeadLetterSink for CountedDeadLetters {
    const SENT: &'static str =
        "a record of the replay cannot become a row; the replay writes no dead letter of it";

    async fn send(&self, _: Record<'_>, _: &[(&'static str, String)]) -> Result<(), ServerError> {
        self.0.fetch_add(1, Ordering::Relaxed);
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
