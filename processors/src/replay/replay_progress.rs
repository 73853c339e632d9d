//! The progress of a replay as one worker shows it: a bar on a terminal, and otherwise a log message every ten
//! seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::ProgressBar;
use records::replay::progress_rate::ProgressRate;
use records::replay::replay_plan::ReplayPlan;
use records::replay::replay_throttle::PauseCause;
use service::number::gauge;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::metrics::replay::ReplayMetrics;
use crate::replay::job_progress::JobProgress;
use crate::replay::replay_bar::replay_bar;
use crate::replay::replay_group::ReplayGroup;
use crate::replay::throttle_state::SharedThrottle;

/// Time between two log messages without a terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

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
        let bar = replay_bar(plan.offsets(), "{msg}");
        let (rate, began, logged_at) = (ProgressRate::default(), None, None);
        Self { throttle, metrics, _watch: watch, rate, bar, began, logged_at }
    }

    /// What the throttle of the worker allows.
    pub(crate) fn throttle(&self) -> &SharedThrottle {
        &self.throttle
    }

    /// A pass begins.
    pub(crate) fn begin(&self, group: &ReplayGroup) {
        self.throttle.set_open_partitions(group.pass.ranges.len());
        self.metrics.passes_done.set(gauge(group.number.saturating_sub(1)));
    }

    /// Notes the committed positions of a pass, and shows the progress.
    pub(crate) fn note(
        &mut self,
        plan: &ReplayPlan,
        ReplayGroup { number, pass, .. }: &ReplayGroup,
        positions: &BTreeMap<i32, i64>,
        now: Instant,
    ) -> JobProgress {
        let (offsets, passes) = (plan.offsets(), plan.pass_count());
        let done = plan.offsets_before(*number) + pass.done(positions);
        let began = *self.began.get_or_insert(now);
        self.rate.note(now.saturating_duration_since(began), done);
        self.throttle.set_open_partitions(pass.open_partitions(positions));
        let state = self.throttle.state();
        let progress = JobProgress {
            pass: *number,
            passes,
            offsets,
            done,
            per_second: self.rate.per_second(),
            live_lag: state.live_lag.map(|lag| lag.records),
            parts: state.parts,
            cause: state.cause.filter(|_| done < offsets),
        };
        self.metrics.offsets.set(gauge(offsets));
        self.metrics.offsets_done.set(gauge(done));
        let passes_done = if pass.is_done(positions) { *number } else { number.saturating_sub(1) };
        self.metrics.passes_done.set(gauge(passes_done));
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
            let JobProgress { pass, passes, offsets, done, per_second, .. } = *progress;
            let JobProgress { live_lag, parts, cause, .. } = *progress;
            let (seconds_left, paused) = (progress.seconds_left(), cause.map(PauseCause::name));
            tracing::info!(
                pass,
                passes,
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
