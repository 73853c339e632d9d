//! The earliest and the latest time of a click: the bounds of `occurred_at`.
//!
//! A much earlier time would create partitions of other centuries, and a later one comes from a wrong
//! clock. Pure: the caller gives the present time.

use thiserror::Error;

/// Microseconds of a day.
pub const DAY_US: i64 = 86_400_000_000;
/// 2000-01-01, microseconds since 1970.
pub const OCCURRED_AT_MIN_US: i64 = 946_684_800_000_000;
/// How far the clock that stamped a click may be ahead.
pub const AHEAD_MAX_US: i64 = DAY_US;

/// The bound that a time exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OutOfBounds {
    /// Before [`OCCURRED_AT_MIN_US`].
    #[error("before 2000")]
    TooOld,
    /// More than [`AHEAD_MAX_US`] ahead.
    #[error("more than a day ahead")]
    TooFarAhead,
}

/// Whether a click may have happened at `occurred_at`; both are microseconds since 1970.
///
/// # Errors
/// The bound that it exceeds.
pub fn check_occurred_at(occurred_at: i64, now: i64) -> Result<(), OutOfBounds> {
    if occurred_at < OCCURRED_AT_MIN_US {
        Err(OutOfBounds::TooOld)
    } else if occurred_at > now.saturating_add(AHEAD_MAX_US) {
        Err(OutOfBounds::TooFarAhead)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_lies_between_2000_and_a_day_ahead() {
        let now = 1_764_000_000_000_000;
        for (occurred_at, expected) in [
            (OCCURRED_AT_MIN_US, Ok(())),
            (OCCURRED_AT_MIN_US - 1, Err(OutOfBounds::TooOld)),
            (now + DAY_US, Ok(())),
            (now + DAY_US + 1, Err(OutOfBounds::TooFarAhead)),
            (i64::MIN, Err(OutOfBounds::TooOld)),
            (i64::MAX, Err(OutOfBounds::TooFarAhead)),
        ] {
            assert_eq!(check_occurred_at(occurred_at, now), expected, "{occurred_at}");
        }
        assert_eq!(check_occurred_at(i64::MAX, i64::MAX), Ok(()));
    }
}
