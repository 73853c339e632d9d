//! Every metric of the processors: names, units and labels stand here and nowhere else.


use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::flow::block::Limits;
use service::number::gauge;

/// A code of `error`, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CodeLabel {
        pub(super) code: &'static str,
}

/// A partition of the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabel {
    partition: i32,
}

/// Who waits, and for which code of `error`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetryLabel {
    stage: &'static str,
        pub(super) code: &'static str,
}

/// Handles; a clone counts in the same place.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Records read from the log.
    pub records: Counter,
    /// Rows whose insert was acknowledged.
    pub rows: Counter,
    /// Inserts acknowledged.
    pub batches: Counter,
    /// Offsets that retention took before they were read.
    pub lost: Counter,
    /// Commits that the broker acknowledged.
    pub commits: Counter,
    /// Positions that moved without us: the log was cut, or an operator reset them.
    pub jumps: Counter,
    /// Partitions that are ours.
    pub assigned: Gauge,
    /// Records waiting for an insert.
    pub gathered: Gauge,
    /// Bytes waiting for an insert.
    pub gathered_bytes: Gauge,
    /// Batches on their way, those that wait for the breaker included.
    pub in_flight: Gauge,
    /// Bytes of their records.
    pub in_flight_bytes: Gauge,
    /// Seconds from the first attempt of an insert to its acknowledgement.
    pub insert_seconds: Histogram,
    /// Age of the newest row at its acknowledgement, by the log's clock.
    pub freshness_seconds: Gauge<f64, AtomicU64>,
    lag: Family<PartitionLabel, Gauge>,
    dead_letters: Family<CodeLabel, Counter>,
    retries: Family<RetryLabel, Counter>,
}

impl Metrics {
    /// Registers every metric.
    pub fn register(registry: &mut Registry, limits: Limits) -> Self {
        let registry = registry.sub_registry_with_prefix("clicktrail_processors");
        let buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];
        let metrics = Self {
            records: Counter::default(),
            rows: Counter::default(),
            batches: Counter::default(),
            lost: Counter::default(),
            commits: Counter::default(),
            jumps: Counter::default(),
            assigned: Gauge::default(),
            gathered: Gauge::default(),
            gathered_bytes: Gauge::default(),
            in_flight: Gauge::default(),
            in_flight_bytes: Gauge::default(),
            insert_seconds: Histogram::new(buckets),
            freshness_seconds: Gauge::default(),
            lag: Family::default(),
            dead_letters: Family::default(),
            retries: Family::default(),
        };
        let m = &metrics;
        registry.register("records_read", "Records read from the log", m.records.clone());
        registry.register("rows_inserted", "Rows acknowledged by ClickHouse", m.rows.clone());
        registry.register("batches_inserted", "Inserts acknowledged", m.batches.clone());
        registry.register("records_expired", "Offsets lost to retention unread", m.lost.clone());
        registry.register("commits", "Commits acknowledged by the broker", m.commits.clone());
        registry.register("position_jumps", "Positions moved by others", m.jumps.clone());
        registry.register("partitions_assigned", "Partitions owned", m.assigned.clone());
        registry.register("batch_rows", "Records waiting for an insert", m.gathered.clone());
        registry.register("batch_bytes", "Bytes waiting", m.gathered_bytes.clone());
        registry.register("in_flight_batches", "Batches on their way", m.in_flight.clone());
        registry.register("in_flight_bytes", "Bytes of them", m.in_flight_bytes.clone());
        let bound = Gauge::<i64>::default();
        bound.set(gauge(limits.rows_max));
        registry.register("batch_rows_max", "Bound of batch_rows", bound);
        let bound = Gauge::<i64>::default();
        bound.set(gauge(limits.bytes_max));
        registry.register("batch_bytes_max", "Bound of batch_bytes", bound);
        registry.register("insert_seconds", "Time to durable", m.insert_seconds.clone());
        let help = "Log time of the newest inserted row to its acknowledgement";
        registry.register("freshness_seconds", help, m.freshness_seconds.clone());
        registry.register("lag_records", "Records not read yet, by partition", m.lag.clone());
        registry.register("dead_letters", "Records dead-lettered", m.dead_letters.clone());
        registry.register("retries", "Attempts repeated", m.retries.clone());
        metrics
    }

    /// How far behind reading is, of the partitions that are ours and of no others.
    pub fn lag(&self, lag: &BTreeMap<i32, u64>) {
        self.lag.clear();
        for (&partition, &records) in lag {
            let records = gauge(records);
            self.lag.get_or_create(&PartitionLabel { partition }).set(records);
        }
    }

    /// A record went to the dead letters.
    pub fn dead_letter(&self, code: &'static str) {
        self.dead_letters.get_or_create(&CodeLabel { code }).inc();
    }

    /// An attempt failed and is repeated.
    pub fn retry(&self, stage: &'static str, code: &'static str) {
        self.retries.get_or_create(&RetryLabel { stage, code }).inc();
    }
}
