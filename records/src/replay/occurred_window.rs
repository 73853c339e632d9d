//! The clicks of a replay by the time at which they occurred. Pure.

use std::fmt;

use jiff::Timestamp;
use schemas::bounds::AHEAD_MAX_US;
use serde::{Deserialize, Serialize};

/// Times from `from_us` to `to_us`, without the second one; microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OccurredWindow {
    /// First time.
    pub from_us: i64,
    /// Time after the last one; `None`: without end.
    pub to_us: Option<i64>,
}

impl OccurredWindow {
    /// Whether a click occurred in the window.
    pub fn contains(self, occurred_at_us: i64) -> bool {
        occurred_at_us >= self.from_us && self.to_us.is_none_or(|to_us| occurred_at_us < to_us)
    }

    /// The log time before which no click of the window was appended, milliseconds since 1970: a record whose
    /// click occurred more than a day after the log time is a dead letter.
    pub fn first_log_ms(self) -> i64 {
        (self.from_us - AHEAD_MAX_US).div_euclid(1_000)
    }
}

impl fmt::Display for OccurredWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |us: i64| time_text(Timestamp::from_microsecond(us), us);
        match self.to_us {
            Some(to_us) => write!(f, "from {} to {}", us(self.from_us), us(to_us)),
            None => write!(f, "from {}", us(self.from_us)),
        }
    }
}

/// A time as text; `number` where it is none.
pub(super) fn time_text(time: Result<Timestamp, jiff::Error>, number: i64) -> String {
    time.map_or_else(|_| number.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_its_first_time_and_not_its_last() {
        let window = OccurredWindow { from_us: 10, to_us: Some(20) };
        let within = [9, 10, 19, 20].map(|at| window.contains(at));
        assert_eq!(within, [false, true, true, false]);
        let open = OccurredWindow { to_us: None, ..window };
        assert!(open.contains(i64::MAX) && !open.contains(9));
    }

    #[test]
    fn the_log_is_read_from_a_day_before_the_window() {
        let from_us = 1_764_086_400_000_999;
        let window = OccurredWindow { from_us, to_us: Some(from_us + 1) };
        assert_eq!(window.first_log_ms(), 1_764_000_000_000);
        let expected = "from 2025-11-25T16:00:00.000999Z to 2025-11-25T16:00:00.001Z";
        assert_eq!(window.to_string(), expected);
    }
}
