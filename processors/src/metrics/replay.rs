//! Every metric of a replay worker: names, units and labels. None has the name of a metric of `processors
//! run`, so that no rule of live processing counts a replay.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use records::replay::replay_throttle::PauseCause;

use crate::metrics::optional_gauge::OptionalGauge;
use crate::metrics::processor::ProcessorMetrics;

/// Why a worker pauses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

/// Handles; clones share the values.
#[derive(Debug, Clone, Default)]
pub struct ReplayMetrics {
    /// Offsets of the job.
    pub offsets: Gauge,
    /// Those of them that all workers have processed.
    pub offsets_done: Gauge,
    /// Passes of the job.
    pub passes: Gauge,
    /// Those of them of which all offsets are processed.
    pub passes_done: Gauge,
    /// Offsets that live processing has not committed.
    pub live_lag: OptionalGauge,
    /// The most active parts of a partition of the table of clicks.
    pub active_parts: OptionalGauge,
    paused: Family<CauseLabel, Gauge>,
}

impl ReplayMetrics {
    /// Registers every metric; `worker` are those of its pipeline.
    pub fn register(registry: &mut Registry, worker: &ProcessorMetrics) -> Self {
        let registry = registry.sub_registry_with_prefix("clicktrail_replay");
        let m = Self::default();
        m.set_paused(None);
        registry.register(
            "records_read",
            "Records that this worker has read",
            worker.records.clone(),
        );
        let help = "Rows of this worker that ClickHouse acknowledged";
        registry.register("rows_inserted", help, worker.rows.clone());
        let help = "Time from the first attempt of an insert to its acknowledgement";
        registry.register("insert_seconds", help, worker.insert_seconds.clone());
        let help = "Partitions assigned to this worker";
        registry.register("partitions_assigned", help, worker.assigned.clone());
        registry.register("offsets", "Offsets of the job", m.offsets.clone());
        let help = "Offsets of the job that all workers have processed";
        registry.register("offsets_done", help, m.offsets_done.clone());
        registry.register("passes", "Passes of the job", m.passes.clone());
        let help = "Passes of the job of which all offsets are processed";
        registry.register("passes_done", help, m.passes_done.clone());
        let help = "1 while the worker pauses for this cause";
        registry.register("paused", help, m.paused.clone());
        let help = "Offsets that live processing has not committed; absent while unknown";
        registry.register_collector(m.live_lag.collector("live_lag_records", help));
        let help = "Most active parts of a partition of the table of clicks; absent while unknown";
        registry.register_collector(m.active_parts.collector("active_parts", help));
        registry.register_collector(worker.attempts.collector("stuck_seconds"));
        m
    }

    /// Sets why the worker pauses, if it does.
    pub fn set_paused(&self, cause: Option<PauseCause>) {
        for own in PauseCause::ALL {
            let label = CauseLabel { cause: own.name() };
            self.paused.get_or_create(&label).set(i64::from(cause == Some(own)));
        }
    }
}
