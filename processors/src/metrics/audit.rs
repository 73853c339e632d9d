//! Every metric of the continuous audit.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::audit::window::WindowReport;
use crate::metrics::labels::CodeLabel;
use service::number::gauge;

/// Handles; clones share the counts. The findings are those of the last complete run.
#[derive(Debug, Clone, Default)]
pub struct AuditMetrics {
    missing: Gauge,
    dead_lettered: Gauge,
    duplicates: Gauge,
    misplaced: Gauge,
    undecodable_without_dead_letter: Gauge,
    lagging: Gauge,
    in_job: Gauge,
    records: Gauge,
    within_grace: Gauge,
    judges_nothing: Gauge<f64, AtomicU64>,
    differences_from: Gauge<f64, AtomicU64>,
    runs: Counter,
    run_seconds: Gauge<f64, AtomicU64>,
    last_run: Gauge<f64, AtomicU64>,
    failures: Family<CodeLabel, Counter>,
    verdict_failures: Family<CodeLabel, Counter>,
}

impl AuditMetrics {
    /// Registers every metric.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("clicktrail_audit");
        let m = Self::default();
        registry.register(
            "missing",
            "Events of the log that the view clicks does not show and no dead letters hold",
            m.missing.clone(),
        );
        registry.register(
            "dead_lettered",
            "Events of the log that the view clicks does not show and dead letters hold",
            m.dead_lettered.clone(),
        );
        registry.register(
            "duplicates",
            "Rows of an event beyond its first row",
            m.duplicates.clone(),
        );
        let help = "Rows on another shard than the one that their event ids name";
        registry.register("misplaced", help, m.misplaced.clone());
        let help = "Records that cannot become a row and have no dead letter";
        registry.register(
            "undecodable_without_dead_letter",
            help,
            m.undecodable_without_dead_letter.clone(),
        );
        let help = "Events and undecodable records that the group has still to process";
        registry.register("lagging", help, m.lagging.clone());
        let help = "Events and undecodable records that a skip left to its job, which is not done";
        registry.register("in_job", help, m.in_job.clone());
        registry.register("records", "Records checked", m.records.clone());
        let help = "Records within the grace period, which were not checked";
        registry.register("records_within_grace", help, m.within_grace.clone());
        let help = "End of the first of the runs whose records are all within the grace period, seconds since 1970";
        registry.register("judges_nothing_timestamp_seconds", help, m.judges_nothing.clone());
        let help = "Log time of the first difference that no later run has compared again, seconds since 1970";
        registry.register("differences_from_timestamp_seconds", help, m.differences_from.clone());
        registry.register("runs", "Runs that completed", m.runs.clone());
        registry.register(
            "run_seconds",
            "Duration of the last complete run",
            m.run_seconds.clone(),
        );
        let help = "End of the last complete run, seconds since 1970";
        registry.register("last_run_timestamp_seconds", help, m.last_run.clone());
        registry.register("failures", "Runs that failed because of a server", m.failures.clone());
        let help = "Verdicts that could not be stored in ClickHouse";
        registry.register("verdict_failures", help, m.verdict_failures.clone());
        m
    }

    /// A run has completed, at `now_seconds` since 1970.
    pub fn complete(&self, found: &WindowReport, run_seconds: f64, now_seconds: f64) {
        let set = |metric: &Gauge, value| metric.set(gauge(value));
        set(&self.missing, found.missing);
        set(&self.dead_lettered, found.dead_lettered);
        set(&self.duplicates, found.duplicates);
        set(&self.misplaced, found.misplaced.rows());
        set(&self.undecodable_without_dead_letter, found.undecodable_without_dead_letter);
        set(&self.lagging, found.pending.lagging);
        set(&self.in_job, found.pending.in_job());
        set(&self.records, found.records);
        set(&self.within_grace, found.within_grace);
        let judges_nothing = found.records > 0 && found.records == found.within_grace;
        let since = self.judges_nothing.get();
        self.judges_nothing.set(match (judges_nothing, since > 0.0) {
            (false, _) => 0.0,
            (true, false) => now_seconds,
            (true, true) => since,
        });
        self.run_seconds.set(run_seconds);
        self.last_run.set(now_seconds);
        self.runs.inc();
    }

    /// The first open difference of the log was logged then, seconds since 1970; `None`: there is none.
    pub fn differences_from(&self, seconds: Option<f64>) {
        self.differences_from.set(seconds.unwrap_or(0.0));
    }

    /// A run has failed; its window was not checked.
    pub fn failure(&self, code: &'static str) {
        self.failures.get_or_create(&CodeLabel { code }).inc();
    }

    /// A verdict could not be stored.
    pub fn verdict_failure(&self, code: &'static str) {
        self.verdict_failures.get_or_create(&CodeLabel { code }).inc();
    }

    /// Complete runs so far.
    pub fn runs(&self) -> u64 {
        self.runs.get()
    }
}
