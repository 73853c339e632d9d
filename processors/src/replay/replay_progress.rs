//! The progress of a replay as one worker shows it: a bar on a terminal, and otherwise a log message every ten
//! seconds.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use records::replay::log_range::LogRange;
use records::replay::progress_rate::ProgressRate;
use records::replay::replay_plan::ReplayPlan;
use records::replay::replay_throttle::PauseCause;
use service::number::gauge;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::metrics::replay::ReplayMetrics;
use crate::replay::job_progress::JobProgress;
use crate::replay::throttle_state::SharedThrottle;

/// Time between two log messages without a terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
const BAR: &str = "{bar:32} {msg}";

/// The progress of one job.
#[derive(Debug)]
pub(crate) struct ReplayProgress {
    throttle: SharedThrottle,
    metrics: ReplayMetrics,
    /// The task that sets the throttle; it ends with the progress.
    _watch: JoinSet<()>,
    rate: ProgressRate,
    bar: Option<ProgressBar>,
    began: Option<Instant>,
    logged_at: Option<Instant>,
}

impl ReplayProgress {
    /// Starts the progress over the offsets of the plan; the task of `watch` sets `throttle`.
    pub(crate) fn new(
        plan: &ReplayPlan,
        throttle: SharedThrottle,
        metrics: ReplayMetrics,
        watch: JoinSet<()>,
    ) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let (target, offsets) = (ProgressDrawTarget::stderr(), Some(plan.offsets()));
            let style = ProgressStyle::with_template(BAR);
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::with_draw_target(offsets, target).with_style(style)
        });
        let (rate, began, logged_at) = (ProgressRate::default(), None, None);
        Self { throttle, metrics, _watch: watch, rate, bar, began, logged_at }
    }

    /// What the throttle of the worker allows.
    pub(crate) fn throttle(&self) -> &SharedThrottle {
        &self.throttle
    }

    /// Notes the committed positions, and shows the progress.
    pub(crate) fn note(
        &mut self,
        plan: &ReplayPlan,
        positions: &BTreeMap<i32, i64>,
        now: Instant,
    ) -> JobProgress {
        let (offsets, done) = (plan.offsets(), plan.done(positions));
        let began = *self.began.get_or_insert(now);
        self.rate.note(now.saturating_duration_since(began), done);
        self.throttle.set_open_partitions(open_partitions(plan, positions));
        let state = self.throttle.state();
        let progress = JobProgress {
            offsets,
            done,
            per_second: self.rate.per_second(),
            live_lag: state.live_lag.map(|lag| lag.records),
            parts: state.parts,
            cause: state.cause.filter(|_| done < offsets),
        };
        self.metrics.offsets.set(gauge(offsets));
        self.metrics.offsets_done.set(gauge(done));
        self.show(&progress, now);
        progress
    }

    fn show(&mut self, progress: &JobProgress, now: Instant) {
        if let Some(bar) = &self.bar {
            bar.set_position(progress.done);
            bar.set_message(progress.to_string());
            return;
        }
        let is_due = |at: Instant| now.saturating_duration_since(at) >= LOG_INTERVAL;
        if self.logged_at.is_none_or(is_due) {
            self.logged_at = Some(now);
            let JobProgress { offsets, done, per_second, live_lag, parts, cause } = *progress;
            let (seconds_left, paused) = (progress.seconds_left(), cause.map(PauseCause::name));
            tracing::info!(
                done,
                offsets,
                per_second,
                seconds_left,
                live_lag,
                parts,
                paused,
                "progress of the replay"
            );
        }
    }
}

impl Drop for ReplayProgress {
    /// Removes the bar.
    fn drop(&mut self) {
        self.metrics.set_paused(None);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Partitions that have offsets left.
fn open_partitions(plan: &ReplayPlan, positions: &BTreeMap<i32, i64>) -> usize {
    let is_open = |(partition, ranges): &(&i32, &Vec<LogRange>)| {
        ranges.iter().map(|range| range.end).max() > positions.get(partition).copied()
    };
    plan.ranges.iter().filter(is_open).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_open_until_its_position_is_at_its_end() {
        let plan: ReplayPlan = serde_json::from_value(serde_json::json!({
            "topic": "t", "window": { "log_time": { "from_ms": 0, "to_ms": null } },
            "ranges": { "0": [{ "first": 5, "end": 9 }], "2": [{ "first": 1, "end": 3 }] },
            "rules": { "program": 1, "geo": "", "user_agents": "", "crawlers": "", "referrers": "" },
        }))
        .unwrap();
        for (positions, expected) in
            [(&[][..], 2), (&[(0, 5), (2, 1)], 2), (&[(0, 9), (2, 2)], 1), (&[(0, 9), (2, 3)], 0)]
        {
            let positions = positions.iter().copied().collect();
            assert_eq!(open_partitions(&plan, &positions), expected, "{positions:?}");
        }
    }
}
