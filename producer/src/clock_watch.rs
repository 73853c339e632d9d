//! Checks the clock of this host: it must be after 2023, and near the clock of the broker.
//!
//! A click gets the time of this clock even if it is wrong, and is delivered: the producer neither holds
//! it back nor loses it. The processors dead-letter and count clicks from before 2000 or more than a day
//! ahead of the broker's clock. Pure: both times are arguments.

use std::sync::{Arc, Mutex};

use prometheus_client::metrics::gauge::Gauge;
use service::lock::lock;
use service::number::gauge;
use service::worker::Problem;
use thiserror::Error;

/// 2024-01-01 in milliseconds since 1970: this program did not exist before.
const FLOOR_MS: u64 = 1_704_067_200_000;
/// Most milliseconds between this clock and the broker's. A click is acknowledged within seconds after
/// the broker appends it.
const SKEW_MAX_MS: u64 = 300_000;

/// What is wrong with the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ClockFault {
    /// It is before 2024.
    #[error("the clock of this host is before 2024")]
    BeforeFloor,
    /// It is behind the broker's.
    #[error("the clock of this host is more than 5 minutes behind the broker's")]
    Behind,
    /// It is ahead of the broker's.
    #[error("the clock of this host is more than 5 minutes ahead of the broker's")]
    Ahead,
}

impl ClockFault {
    /// The fault of a clock at `now_ms` that is `skew_ms` ahead of the broker's, if that is known.
    pub fn of(now_ms: u64, skew_ms: Option<i64>) -> Option<Self> {
        let skew_ms = skew_ms.filter(|skew_ms| skew_ms.unsigned_abs() > SKEW_MAX_MS);
        match skew_ms {
            _ if now_ms < FLOOR_MS => Some(Self::BeforeFloor),
            Some(..0) => Some(Self::Behind),
            Some(0..) => Some(Self::Ahead),
            None => None,
        }
    }

    /// Stable name: log field and heading in the RUNBOOK.
    pub fn code(self) -> &'static str {
        match self {
            Self::BeforeFloor => "clock_before_2024",
            Self::Behind | Self::Ahead => "clock_skewed",
        }
    }
}

/// The current fault of the clock, if it has one; clones share it.
#[derive(Debug, Clone)]
pub struct ClockWatch {
    /// How far the clock is ahead of the broker's, as of the last acknowledged click.
    skew_ms: Arc<Mutex<Option<i64>>>,
    skew_seconds: Gauge,
    problem: Problem,
}

impl ClockWatch {
    /// A watch that writes the difference to the broker's clock into this gauge.
    pub fn new(skew_seconds: Gauge) -> Self {
        Self { skew_ms: Arc::default(), skew_seconds, problem: Problem::default() }
    }

    /// Notes that the broker appended a click at `broker_ms` and acknowledged it at `now_ms`.
    pub fn compare(&self, now_ms: u64, broker_ms: u64) {
        let skew_ms = gauge(now_ms).saturating_sub(gauge(broker_ms));
        *lock(&self.skew_ms) = Some(skew_ms);
        self.skew_seconds.set(skew_ms / 1000);
    }

    /// The fault at `now_ms`, for the health probe. Logs when a fault begins and ends.
    pub fn check(&self, now_ms: u64) -> Option<String> {
        let skew_ms = *lock(&self.skew_ms);
        let Some(fault) = ClockFault::of(now_ms, skew_ms) else {
            if self.problem.current().is_some() {
                self.problem.set(None);
                tracing::info!("the clock of this host is right again");
            }
            return None;
        };
        let text = format!(
            "{}: {fault}: clicks get its time, and those before 2000 or more than a day ahead become \
             dead letters",
            fault.code()
        );
        if self.problem.is_new(text.clone()) {
            let skew_seconds = skew_ms.map(|skew_ms| skew_ms / 1000);
            tracing::error!(code = fault.code(), now_ms, skew_seconds, "{fault}");
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_764_000_000_000;
    const DAY: u64 = 86_400_000;

    #[test]
    fn m7_a_clock_is_compared_with_2024_and_with_the_broker() {
        for (now, broker, code) in [
            (NOW, None, None),
            (NOW, Some(NOW), None),
            (NOW, Some(NOW - SKEW_MAX_MS), None),
            (NOW, Some(NOW + SKEW_MAX_MS), None),
            (NOW, Some(NOW + SKEW_MAX_MS + 1), Some("clock_skewed")),
            (NOW + DAY, Some(NOW), Some("clock_skewed")),
            (0, None, Some("clock_before_2024")),
            (0, Some(NOW), Some("clock_before_2024")),
            (FLOOR_MS - 1, None, Some("clock_before_2024")),
            (FLOOR_MS, None, None),
            (FLOOR_MS, Some(NOW), Some("clock_skewed")),
            (u64::MAX / 4, Some(0), Some("clock_skewed")),
        ] {
            let watch = ClockWatch::new(Gauge::default());
            if let Some(broker) = broker {
                watch.compare(now, broker);
            }
            let found = watch.check(now).map(|text| text.split(':').next().unwrap().to_owned());
            assert_eq!(found.as_deref(), code, "{now} {broker:?}");
        }
    }

    #[test]
    fn m7_a_clock_that_was_corrected_is_right_again() {
        let gauge = Gauge::default();
        let watch = ClockWatch::new(gauge.clone());
        assert!(watch.clone().check(1_000).is_some());
        watch.compare(1_000, NOW);
        assert!(gauge.get() < -1_000_000_000, "{}", gauge.get());
        watch.compare(NOW, NOW - 2_000);
        assert_eq!((watch.check(NOW), gauge.get()), (None, 2));
    }
}
