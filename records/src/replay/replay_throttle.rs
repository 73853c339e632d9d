//! Whether a replay pauses beside live processing, and why. Pure: the time is an argument.

use std::time::Duration;

use crate::replay::throttle_limits::{ThrottleLimit, ThrottleLimits};

/// A pause that a measured value began lasts at least so long after that value was last above its limit, so
/// that the replay does not begin and end a pause each second.
const HOLD: Duration = Duration::from_secs(5);
/// Late offsets that pause nothing. The last offsets of a log may hold no record (markers of transactions),
/// and no position passes them.
const LATE_MAX: u64 = 100;

/// Why a replay pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PauseCause {
    /// An operator has paused it.
    Operator,
    /// Live processing is late.
    LiveLag,
    /// A partition of the table of clicks has too many active parts.
    Parts,
    /// The brokers do not report the lag of live processing.
    LiveLagUnknown,
    /// ClickHouse does not report its parts.
    PartsUnknown,
}

impl PauseCause {
    /// Every cause.
    pub const ALL: [Self; 5] =
        [Self::Operator, Self::LiveLag, Self::Parts, Self::LiveLagUnknown, Self::PartsUnknown];

    /// Its name in logs, metrics and the table of jobs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::LiveLag => "live_lag",
            Self::Parts => "parts",
            Self::LiveLagUnknown => "live_lag_unknown",
            Self::PartsUnknown => "parts_unknown",
        }
    }
}

/// What is known of live processing; `None` while it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThrottleFacts {
    /// Offsets that live processing has not committed, and that are older than the limit of its lag.
    pub late: Option<u64>,
    /// The most active parts of a partition.
    pub parts: Option<u64>,
}

/// Decides about pauses.
#[derive(Debug, Default)]
pub struct ReplayThrottle {
    /// The last cause that was measured, and until when it holds.
    held: Option<(PauseCause, Duration)>,
}

impl ReplayThrottle {
    /// Why the replay pauses from `now` on, a time since a fixed moment; `None` if it does not.
    pub fn pause(
        &mut self,
        limits: &ThrottleLimits,
        facts: &ThrottleFacts,
        now: Duration,
    ) -> Option<PauseCause> {
        let measured = measured(limits, facts);
        if let Some(cause) = measured {
            self.held = Some((cause, now + HOLD));
        }
        let held = self.held.filter(|(cause, until)| now < *until && is_limited(limits, *cause));
        let operator = limits.is_paused.then_some(PauseCause::Operator);
        operator.or(measured).or(held.map(|(cause, _)| cause))
    }
}

fn measured(limits: &ThrottleLimits, facts: &ThrottleFacts) -> Option<PauseCause> {
    let above = |limit: ThrottleLimit, found: Option<u64>, most: u64, causes: [PauseCause; 2]| {
        let [exceeded, unknown] = causes;
        limit.0?;
        match found {
            None => Some(unknown),
            Some(found) => (found > most).then_some(exceeded),
        }
    };
    let parts_most = limits.max_parts.0.map_or(u64::MAX, u64::from);
    let lag = [PauseCause::LiveLag, PauseCause::LiveLagUnknown];
    let parts = [PauseCause::Parts, PauseCause::PartsUnknown];
    above(limits.max_lag_seconds, facts.late, LATE_MAX, lag)
        .or_else(|| above(limits.max_parts, facts.parts, parts_most, parts))
}

/// Whether the limits still have the one that a cause is about.
fn is_limited(limits: &ThrottleLimits, cause: PauseCause) -> bool {
    match cause {
        PauseCause::Operator => limits.is_paused,
        PauseCause::LiveLag | PauseCause::LiveLagUnknown => limits.max_lag_seconds.0.is_some(),
        PauseCause::Parts | PauseCause::PartsUnknown => limits.max_parts.0.is_some(),
    }
}

/// Records a second that one worker may read: its share of the rate, by the number of partitions that it reads
/// of `all` that have offsets left; at least one.
pub fn share(rate: u32, own: usize, all: usize) -> u32 {
    let [own, all] = [own, all].map(|partitions| partitions.max(1) as u64);
    let share = (u64::from(rate) * own / all).clamp(1, u64::from(rate.max(1)));
    u32::try_from(share).unwrap_or(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: ThrottleFacts = ThrottleFacts { late: Some(0), parts: Some(3) };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_limit_pauses_the_replay_and_an_unknown_value_does_so_too() {
        let limits = ThrottleLimits::default();
        let paused = ThrottleLimits { is_paused: true, ..limits };
        let no_lag = ThrottleLimits { max_lag_seconds: ThrottleLimit(None), ..limits };
        let no_parts = ThrottleLimits { max_parts: ThrottleLimit(None), ..no_lag };
        let late = ThrottleFacts { late: Some(101), ..KNOWN };
        let parts = ThrottleFacts { parts: Some(301), ..KNOWN };
        let unknown = ThrottleFacts::default();
        for (limits, facts, expected) in [
            (limits, KNOWN, None),
            (limits, ThrottleFacts { late: Some(100), parts: Some(300) }, None),
            (limits, late, Some(PauseCause::LiveLag)),
            (limits, parts, Some(PauseCause::Parts)),
            (limits, unknown, Some(PauseCause::LiveLagUnknown)),
            (no_lag, late, None),
            (no_lag, unknown, Some(PauseCause::PartsUnknown)),
            (no_parts, unknown, None),
            (paused, KNOWN, Some(PauseCause::Operator)),
            (paused, late, Some(PauseCause::Operator)),
        ] {
            let found = ReplayThrottle::default().pause(&limits, &facts, seconds(0));
            assert_eq!(found, expected, "{limits} {facts:?}");
        }
    }

    #[test]
    fn a_measured_pause_lasts_five_seconds_unless_its_limit_is_removed() {
        let (mut throttle, limits) = (ReplayThrottle::default(), ThrottleLimits::default());
        let late = ThrottleFacts { late: Some(5_000), ..KNOWN };
        let no_lag = ThrottleLimits { max_lag_seconds: ThrottleLimit(None), ..limits };
        let operator = ThrottleLimits { is_paused: true, ..limits };
        assert_eq!(throttle.pause(&limits, &late, seconds(10)), Some(PauseCause::LiveLag));
        assert_eq!(throttle.pause(&limits, &KNOWN, seconds(14)), Some(PauseCause::LiveLag));
        assert_eq!(throttle.pause(&no_lag, &KNOWN, seconds(14)), None);
        assert_eq!(throttle.pause(&limits, &KNOWN, seconds(15)), None);
        // The pause of an operator ends at once.
        assert_eq!(throttle.pause(&operator, &KNOWN, seconds(16)), Some(PauseCause::Operator));
        assert_eq!(throttle.pause(&limits, &KNOWN, seconds(17)), None);
    }

    #[test]
    fn the_shares_of_all_workers_are_the_rate_at_most() {
        for (rate, own, all, expected) in [
            (600, 2, 6, 200),
            (600, 6, 6, 600),
            (100, 1, 3, 33),
            (1, 1, 3, 1),
            (500, 0, 4, 125),
            (500, 5, 4, 500),
            (u32::MAX, 3, 3, u32::MAX),
        ] {
            assert_eq!(share(rate, own, all), expected, "{rate} {own} {all}");
        }
    }
}
