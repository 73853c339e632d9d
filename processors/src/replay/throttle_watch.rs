//! Watches what the throttle of a worker depends on: the requests of operators, the lag of live processing and
//! the parts of the table; and decides each second whether the worker may read.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::ServerError;
use records::replay::live_lag::LiveLag;
use records::replay::replay_throttle::{ReplayThrottle, ThrottleFacts};
use records::replay::throttle_limits::ThrottleLimits;
use service::lock::lock;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::audit::decoded_events::blocking;
use crate::clickhouse::active_parts::most_active_parts;
use crate::clickhouse::server::Server;
use crate::clickhouse::throttle_requests::limits;
use crate::kafka::group_lag::GroupLag;
use crate::metrics::processor::ProcessorMetrics;
use crate::metrics::replay::ReplayMetrics;
use crate::replay::throttle_state::{SharedThrottle, ThrottleState};

/// Interval between two decisions, and between two measurements.
const EVERY: Duration = Duration::from_secs(1);
/// Age from which on a measurement no longer counts.
const KNOWN_FOR: Duration = Duration::from_secs(10);

/// The watch of one worker.
#[derive(Debug)]
pub(crate) struct ThrottleWatch {
    /// ClickHouse.
    pub(crate) server: Server,
    /// Job.
    pub(crate) id: String,
    /// The group of live processing.
    pub(crate) live: Arc<GroupLag>,
    /// What it decides.
    pub(crate) throttle: SharedThrottle,
    /// Counts failures.
    pub(crate) worker: ProcessorMetrics,
    /// Shows what it decides.
    pub(crate) metrics: ReplayMetrics,
}

/// The last measurements, and when each began.
#[derive(Debug, Default)]
struct Measured {
    live_lag: Option<(Instant, LiveLag)>,
    parts: Option<(Instant, u64)>,
}

/// Decides by the time since the watch began.
#[derive(Debug)]
struct Decisions {
    throttle: ReplayThrottle,
    began: Instant,
}

/// A measurement that still counts.
fn known<T: Copy>(measured: Option<(Instant, T)>, now: Instant) -> Option<T> {
    let recent = measured.filter(|(at, _)| now.saturating_duration_since(*at) < KNOWN_FOR);
    recent.map(|(_, value)| value)
}

fn ticks() -> Interval {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl ThrottleWatch {
    /// Watches without end. A server that does not answer delays no other measurement.
    pub(crate) async fn run(self) {
        let measured = Mutex::default();
        tokio::join!(
            self.measure_lag(&measured),
            self.measure_parts(&measured),
            self.decide(&measured)
        );
    }

    async fn measure_lag(&self, measured: &Mutex<Measured>) {
        let (mut ticks, mut is_noted) = (ticks(), false);
        loop {
            let at = ticks.tick().await;
            let seconds = self.throttle.state().limits.max_lag_seconds.0.unwrap_or_default();
            let (live, max_age) = (Arc::clone(&self.live), Duration::from_secs(seconds.into()));
            match blocking(move || live.read(max_age)).await {
                Ok(lag) => {
                    lock(measured).live_lag = Some((at, lag));
                    if !lag.has_positions && !is_noted {
                        is_noted = true;
                        tracing::warn!(
                            "the group of live processing has no committed position: the replay does not \
                             wait for it; name the group of `processors run` with --group"
                        );
                    }
                }
                Err(error) => self.warn("live_lag", error),
            }
        }
    }

    async fn measure_parts(&self, measured: &Mutex<Measured>) {
        let mut ticks = ticks();
        loop {
            let at = ticks.tick().await;
            match most_active_parts(&self.server).await {
                Ok(parts) => lock(measured).parts = Some((at, parts)),
                Err(error) => self.warn("parts", error),
            }
        }
    }

    async fn decide(&self, measured: &Mutex<Measured>) {
        let mut ticks = ticks();
        let mut decisions =
            Decisions { throttle: ReplayThrottle::default(), began: ticks.tick().await };
        loop {
            // The first decision waits for the first measurements.
            let now = ticks.tick().await;
            match limits(&self.server, &self.id).await {
                Ok(limits) => self.apply(limits, measured, &mut decisions, now),
                Err(error) => {
                    self.warn("throttle", error);
                    let state = self.throttle.state();
                    if state.may_read || state.cause.is_some() {
                        self.apply(state.limits, measured, &mut decisions, now);
                    }
                }
            }
        }
    }

    fn apply(
        &self,
        limits: ThrottleLimits,
        measured: &Mutex<Measured>,
        decisions: &mut Decisions,
        now: Instant,
    ) {
        let (live_lag, parts) = {
            let measured = lock(measured);
            (known(measured.live_lag, now), known(measured.parts, now))
        };
        let facts = ThrottleFacts { late: live_lag.map(|lag| lag.late), parts };
        let since = now.saturating_duration_since(decisions.began);
        let cause = decisions.throttle.pause(&limits, &facts, since);
        let state = ThrottleState {
            limits,
            may_read: cause.is_none(),
            cause,
            live_lag,
            parts,
            open_partitions: 0,
        };
        let before = self.throttle.set(state);
        let live_lag = live_lag.map(|lag| lag.records);
        self.metrics.set_paused(cause);
        self.metrics.live_lag.set(live_lag);
        self.metrics.active_parts.set(parts);
        if before.limits != limits {
            tracing::info!(%limits, "the limits of the replay have changed");
        }
        match cause {
            Some(cause) if before.cause != Some(cause) => {
                let cause = cause.name();
                tracing::info!(cause, live_lag, parts, "the replay pauses");
            }
            None if before.cause.is_some() => {
                tracing::info!(live_lag, parts, "the replay continues");
            }
            Some(_) | None => {}
        }
    }

    fn warn(&self, stage: &'static str, error: ServerError) {
        let code = error.code;
        if self.worker.failed(stage, code) {
            tracing::warn!(stage, code, %error, "a value of the throttle could not be read");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_measurement_counts_for_ten_seconds() {
        let at = ticks().tick().await;
        let later = |seconds| at + Duration::from_secs(seconds);
        assert_eq!(known(Some((at, 5)), at), Some(5));
        assert_eq!(known(Some((at, 5)), later(9)), Some(5));
        assert_eq!(known(Some((at, 5)), later(10)), None);
        assert_eq!(known::<u64>(None, at), None);
    }
}
