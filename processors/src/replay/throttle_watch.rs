//! Watches what the throttle of a worker depends on: the requests of operators, the lag of live processing and
//! the parts of the table; and decides each second whether the worker may read.
#![expect(clippy::disallowed_methods, reason = "a value counts from the time of its answer")]

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
use crate::clickhouse::throttle_requests::limits;
use crate::kafka::group_lag::GroupLag;
use crate::metrics::processor::ProcessorMetrics;
use crate::metrics::replay::ReplayMetrics;
use crate::replay::throttle_state::{SharedThrottle, ThrottleState};
use crate::shards::cluster::Cluster;

/// Interval between two decisions, and between two measurements.
const EVERY: Duration = Duration::from_secs(1);
/// A measurement counts for this long after its answer. Counted from its question, a value of a server that takes
/// longer than this to answer would never count, although the server reports it.
const KNOWN_FOR: Duration = Duration::from_secs(10);

/// The watch of one worker.
#[derive(Debug)]
pub(crate) struct ThrottleWatch {
    /// ClickHouse.
    pub(crate) cluster: Cluster,
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

/// A value, and when it arrived.
type Answer<T> = Option<(Instant, T)>;

/// The last measurements.
#[derive(Debug, Default)]
struct Measured {
    live_lag: Answer<LiveLag>,
    parts: Answer<u64>,
}

/// Decides by the time since the watch began.
#[derive(Debug)]
struct Decisions {
    throttle: ReplayThrottle,
    began: Instant,
}

/// A measurement that still counts.
fn known<T: Copy>(measured: Answer<T>, now: Instant) -> Option<T> {
    let recent = measured.filter(|(at, _)| now.saturating_duration_since(*at) < KNOWN_FOR);
    recent.map(|(_, value)| value)
}

fn ticks() -> Interval {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Asks each second, without end, and notes each answer with the time of its arrival. A tick of the interval is
/// no such time: after a slow answer it returns when it was due.
async fn measure<T, F: Future<Output = Option<T>>>(
    ask: impl Fn() -> F,
    mut note: impl FnMut((Instant, T)),
) {
    let mut ticks = ticks();
    loop {
        ticks.tick().await;
        if let Some(value) = ask().await {
            note((Instant::now(), value));
        }
    }
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
        let ask = || async {
            let seconds = self.throttle.state().limits.max_lag_seconds.0.unwrap_or_default();
            let (live, max_age) = (Arc::clone(&self.live), Duration::from_secs(seconds.into()));
            self.answer("live_lag", blocking(move || live.read(max_age)).await)
        };
        let mut is_noted = false;
        let note = |lag: (Instant, LiveLag)| {
            lock(measured).live_lag = Some(lag);
            if !lag.1.has_positions && !is_noted {
                is_noted = true;
                tracing::warn!(
                    "the group of live processing has no committed position: the replay does not \
                     wait for it; name the group of `processors run` with --group"
                );
            }
        };
        measure(ask, note).await;
    }

    async fn measure_parts(&self, measured: &Mutex<Measured>) {
        let ask = || async { self.answer("parts", most_active_parts(&self.cluster).await) };
        measure(ask, |parts| lock(measured).parts = Some(parts)).await;
    }

    async fn decide(&self, measured: &Mutex<Measured>) {
        let mut ticks = ticks();
        let mut decisions =
            Decisions { throttle: ReplayThrottle::default(), began: ticks.tick().await };
        loop {
            // The first decision waits for the first measurements.
            ticks.tick().await;
            let answer = self.answer("throttle", limits(self.cluster.any(), &self.id).await);
            let state = self.throttle.state();
            let is_decided = state.may_read || state.cause.is_some();
            if let Some(limits) = answer.or_else(|| is_decided.then_some(state.limits)) {
                self.apply(limits, measured, &mut decisions, Instant::now());
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

    /// An answer, if it is one. Counts and logs a failure.
    fn answer<T>(&self, stage: &'static str, answer: Result<T, ServerError>) -> Option<T> {
        let warn = |error: &ServerError| {
            let code = error.code;
            if self.worker.failed(stage, code) {
                tracing::warn!(stage, code, %error, "a value of the throttle could not be read");
            }
        };
        answer.inspect_err(warn).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_value_is_known_between_two_slow_answers_and_not_during_an_outage() {
        let (measured, began) = (Mutex::<Answer<u32>>::default(), Instant::now());
        let seconds = || began.elapsed().as_secs();
        // Each answer takes nine seconds; between 100 s and 130 s there is none.
        let ask = || async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            (!(100..130).contains(&seconds())).then_some(5)
        };
        let watching = async {
            let mut unknown = Vec::new();
            for _ in 0..200 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if known(*lock(&measured), Instant::now()).is_none() {
                    unknown.push(seconds());
                }
            }
            unknown
        };
        let unknown = tokio::select! {
            () = measure(ask, |value| *lock(&measured) = Some(value)) => Vec::new(),
            unknown = watching => unknown,
        };
        assert!(unknown.iter().all(|at| *at < 10 || (100..140).contains(at)), "{unknown:?}");
        assert!(unknown.contains(&120), "{unknown:?}");
    }

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
