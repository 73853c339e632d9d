//! Metrics of the inserts by shard. They have values where there are several shards.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The number of a shard, from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShardLabel {
    shard: u32,
}

/// Handles; clones share the counts.
#[derive(Debug, Clone)]
pub struct ShardInserts {
    rows: Family<ShardLabel, Counter>,
    retries: Family<ShardLabel, Counter>,
    seconds: Family<ShardLabel, Histogram, fn() -> Histogram>,
}

/// A histogram of the seconds of inserts.
pub(super) fn insert_histogram() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0])
}

impl ShardInserts {
    /// Registers every metric.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let constructor: fn() -> Histogram = insert_histogram;
        let metrics = Self {
            rows: Family::default(),
            retries: Family::default(),
            seconds: Family::new_with_constructor(constructor),
        };
        let help = "Rows that a shard of several acknowledged";
        registry.register("shard_rows_inserted", help, metrics.rows.clone());
        let help = "Inserts into a shard of several that failed and are repeated";
        registry.register("shard_retries", help, metrics.retries.clone());
        let help = "Time from the first attempt of an insert into a shard of several to its acknowledgement";
        registry.register("shard_insert_seconds", help, metrics.seconds.clone());
        metrics
    }

    /// Makes the series of a shard, so that its first failure is a change.
    pub fn add(&self, shard: u32) {
        let label = ShardLabel { shard };
        drop(self.rows.get_or_create(&label));
        drop(self.retries.get_or_create(&label));
        drop(self.seconds.get_or_create(&label));
    }

    /// A shard acknowledged an insert.
    pub(crate) fn inserted(&self, shard: u32, rows: usize, seconds: f64) {
        self.rows.get_or_create(&ShardLabel { shard }).inc_by(rows as u64);
        self.seconds.get_or_create(&ShardLabel { shard }).observe(seconds);
    }

    /// An insert into a shard failed and is repeated.
    pub(crate) fn failed(&self, shard: u32) {
        self.retries.get_or_create(&ShardLabel { shard }).inc();
    }
}
