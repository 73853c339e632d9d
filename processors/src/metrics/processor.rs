//! Every metric of `processors run`: names, units and labels.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use records::flow::block::SizeLimits;

use crate::metrics::dead_letters_held::DeadLettersHeld;
use crate::metrics::held_jobs::HeldJobs;
use crate::metrics::labels::CodeLabel;
use crate::metrics::shard_inserts::{ShardInserts, insert_histogram};
use service::attempts::Attempts;
use service::number::gauge;

/// Time since the first failure of the oldest attempt that is stuck, by stage and code.
const STUCK_SECONDS: &str = "stuck_seconds";

/// A partition of the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabel {
    partition: i32,
}

/// The step that is retried, and the error code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetryLabel {
    stage: &'static str,
    code: &'static str,
}

/// Handles; clones share the counts.
#[derive(Debug, Clone)]
pub struct ProcessorMetrics {
    /// Records read from the log.
    pub records: Counter,
    /// Rows whose insert was acknowledged.
    pub rows: Counter,
    /// Inserts acknowledged.
    pub batches: Counter,
    /// Offsets that retention deleted before they were read.
    pub expired: Counter,
    /// Commits that the broker acknowledged.
    pub commits: Counter,
    /// Positions that another client reset, or that a truncated log invalidated.
    pub position_resets: Counter,
    /// Schema ids that were refused.
    pub schema_ids_refused: Counter,
    /// Partitions that are assigned to this member.
    pub assigned: Gauge,
    /// Records that wait for an insert.
    pub batch_rows: Gauge,
    /// Bytes that wait for an insert.
    pub batch_bytes: Gauge,
    /// Blocks that are being encoded, or wait for an earlier one.
    pub waiting_blocks: Gauge,
    /// Bound of [`ProcessorMetrics::waiting_blocks`].
    pub waiting_bound_blocks: Gauge,
    /// Bytes of those blocks.
    pub waiting_bytes: Gauge,
    /// Batches in flight, those that wait for the storm breaker included.
    pub in_flight_batches: Gauge,
    /// Bytes of their records.
    pub in_flight_bytes: Gauge,
    /// Seconds from the first attempt of an insert to its acknowledgement.
    pub insert_seconds: Histogram,
    /// Inserts by shard, where there are several.
    pub shards: ShardInserts,
    /// Age of the newest row at its acknowledgement, by its log time.
    pub freshness_seconds: Gauge<f64, AtomicU64>,
    /// Attempts that failed and are repeated.
    pub attempts: Attempts,
    /// Dead letters in the table.
    pub dead_letters_held: DeadLettersHeld,
    /// Jobs in the table.
    pub jobs: HeldJobs,
    lag: Family<PartitionLabel, Gauge>,
    dead_letters: Family<CodeLabel, Counter>,
    dead_letter_stubs: Family<CodeLabel, Counter>,
    dead_letters_refused: Family<CodeLabel, Counter>,
    links_refused: Family<CodeLabel, Counter>,
    retries: Family<RetryLabel, Counter>,
}

impl ProcessorMetrics {
    /// Registers every metric.
    pub fn register(registry: &mut Registry, limits: SizeLimits) -> Self {
        let registry = registry.sub_registry_with_prefix("clicktrail_processors");
        let metrics = Self {
            records: Counter::default(),
            rows: Counter::default(),
            batches: Counter::default(),
            expired: Counter::default(),
            commits: Counter::default(),
            position_resets: Counter::default(),
            schema_ids_refused: Counter::default(),
            assigned: Gauge::default(),
            batch_rows: Gauge::default(),
            batch_bytes: Gauge::default(),
            waiting_blocks: Gauge::default(),
            waiting_bound_blocks: Gauge::default(),
            waiting_bytes: Gauge::default(),
            in_flight_batches: Gauge::default(),
            in_flight_bytes: Gauge::default(),
            insert_seconds: insert_histogram(),
            shards: ShardInserts::register(registry),
            freshness_seconds: Gauge::default(),
            attempts: Attempts::default(),
            dead_letters_held: DeadLettersHeld::default(),
            jobs: HeldJobs::default(),
            lag: Family::default(),
            dead_letters: Family::default(),
            dead_letter_stubs: Family::default(),
            dead_letters_refused: Family::default(),
            links_refused: Family::default(),
            retries: Family::default(),
        };
        let m = &metrics;
        registry.register("records_read", "Records read from the log", m.records.clone());
        registry.register("rows_inserted", "Rows that ClickHouse acknowledged", m.rows.clone());
        let help = "Inserts that ClickHouse acknowledged";
        registry.register("batches_inserted", help, m.batches.clone());
        let help = "Offsets that retention deleted before they were read";
        registry.register("records_expired", help, m.expired.clone());
        registry.register("commits", "Commits that the broker acknowledged", m.commits.clone());
        let help = "Positions reset by another client or invalidated by a truncated log";
        registry.register("position_resets", help, m.position_resets.clone());
        let help = "Schema ids that the registry does not know, or another subject has";
        registry.register("schema_ids_refused", help, m.schema_ids_refused.clone());
        let help = "Partitions assigned to this member";
        registry.register("partitions_assigned", help, m.assigned.clone());
        m.register_memory(registry, limits);
        let help = "Time from the first attempt of an insert to its acknowledgement";
        registry.register("insert_seconds", help, m.insert_seconds.clone());
        let help =
            "Time from the newest row's append to the log to the acknowledgement of its insert";
        registry.register("freshness_seconds", help, m.freshness_seconds.clone());
        let help = "Records of a partition that were not read yet";
        registry.register("lag_records", help, m.lag.clone());
        let help = "Records that became dead letters";
        registry.register("dead_letters", help, m.dead_letters.clone());
        let help = "Dead letters of which only lengths and hashes are kept";
        registry.register("dead_letter_stubs", help, m.dead_letter_stubs.clone());
        let help = "Batches of the dead-letter topic that cannot be read";
        registry.register("dead_letters_refused", help, m.dead_letters_refused.clone());
        let held = m.dead_letters_held.collector("dead_letters_held");
        registry.register_collector(held);
        registry.register_collector(m.jobs.collector("jobs"));
        let help = "Records of the topic of links that are not links";
        registry.register("links_refused", help, m.links_refused.clone());
        registry.register_collector(m.attempts.collector(STUCK_SECONDS));
        registry.register("retries", "Attempts that failed and are repeated", m.retries.clone());
        metrics
    }

    /// Registers what is in memory, and its bounds.
    fn register_memory(&self, registry: &mut Registry, limits: SizeLimits) {
        let help = "Records that wait for an insert";
        registry.register("batch_rows", help, self.batch_rows.clone());
        registry.register("batch_bytes", "Bytes that wait for an insert", self.batch_bytes.clone());
        let help = "Blocks that are being encoded, or wait for an earlier block";
        registry.register("waiting_blocks", help, self.waiting_blocks.clone());
        let help = "Bound of waiting_blocks";
        registry.register("waiting_bound_blocks", help, self.waiting_bound_blocks.clone());
        registry.register(
            "waiting_bytes",
            "Bytes of the waiting blocks",
            self.waiting_bytes.clone(),
        );
        registry.register("in_flight_batches", "Batches in flight", self.in_flight_batches.clone());
        let help = "Bytes of the batches in flight";
        registry.register("in_flight_bytes", help, self.in_flight_bytes.clone());
        let bound = Gauge::<i64>::default();
        bound.set(gauge(limits.rows_max));
        registry.register("batch_rows_max", "Bound of batch_rows", bound);
        let bound = Gauge::<i64>::default();
        bound.set(gauge(limits.bytes_max));
        registry.register("batch_bytes_max", "Bound of batch_bytes", bound);
    }

    /// The member has left its group: nothing is read, in memory or repeated any longer.
    pub(crate) fn left_group(&self) {
        self.set_lag(&BTreeMap::new());
        for gauge in [
            &self.assigned,
            &self.batch_rows,
            &self.batch_bytes,
            &self.waiting_blocks,
            &self.waiting_bytes,
            &self.in_flight_batches,
            &self.in_flight_bytes,
        ] {
            gauge.set(0);
        }
        for stage in ["read", "commit", "query", "seek"] {
            self.attempts.all_ended(stage);
        }
    }

    /// Sets the lag of the assigned partitions, and drops that of all others.
    pub fn set_lag(&self, lag: &BTreeMap<i32, u64>) {
        self.lag.clear();
        for (&partition, &records) in lag {
            let records = gauge(records);
            self.lag.get_or_create(&PartitionLabel { partition }).set(records);
        }
    }

    /// A record became a dead letter.
    pub fn dead_letter(&self, code: &'static str) {
        self.dead_letters.get_or_create(&CodeLabel { code }).inc();
    }

    /// Only the stub of a record became a dead letter.
    pub fn dead_letter_stub(&self, code: &'static str) {
        self.dead_letter_stubs.get_or_create(&CodeLabel { code }).inc();
    }

    /// Batches of the dead-letter topic cannot be read.
    pub fn dead_letters_refused(&self, code: &'static str, batches: u64) {
        self.dead_letters_refused.get_or_create(&CodeLabel { code }).inc_by(batches);
    }

    /// Records of the topic of links are not links.
    pub fn links_refused(&self, code: &'static str, records: u64) {
        self.links_refused.get_or_create(&CodeLabel { code }).inc_by(records);
    }

    /// An attempt failed and is repeated.
    pub fn retry(&self, stage: &'static str, code: &'static str) {
        self.retries.get_or_create(&RetryLabel { stage, code }).inc();
    }
    /// An attempt failed and is repeated. Returns whether it is to be logged: one line a minute for each
    /// stage.
    pub fn failed(&self, stage: &'static str, code: &'static str) -> bool {
        self.retry(stage, code);
        self.attempts.recurred(stage, "", code)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failed_commit_is_logged_in_the_minute_after_a_failed_read() {
        let limits = SizeLimits { rows_max: 1, bytes_max: 1 };
        let metrics = ProcessorMetrics::register(&mut Registry::default(), limits);
        for is_first in [true, false] {
            for stage in ["read", "commit", "query", "seek"] {
                assert_eq!(metrics.failed(stage, "kafka_unreachable"), is_first, "{stage}");
            }
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(metrics.failed("commit", "kafka_unreachable"));
    }
}
