//! How fast a job progresses, and when it ends at that rate. Pure: the time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

/// The rate is that of the last so many seconds.
const WINDOW: Duration = Duration::from_secs(30);

/// The rate of a count that grows.
#[derive(Debug, Default)]
pub struct ProgressRate {
    /// Times since a fixed moment, and the count at each.
    seen: VecDeque<(Duration, u64)>,
}

impl ProgressRate {
    /// Notes the count.
    pub fn note(&mut self, now: Duration, count: u64) {
        self.seen.push_back((now, count));
        // The oldest one that is kept is at the start of the window, or before it.
        while self.seen.get(1).is_some_and(|(second, _)| now.saturating_sub(*second) >= WINDOW) {
            self.seen.pop_front();
        }
    }

    /// How much the count grows in a second.
    pub fn per_second(&self) -> u64 {
        let (Some((from, first)), Some((to, last))) = (self.seen.front(), self.seen.back()) else {
            return 0;
        };
        let (grown, took) = (last.saturating_sub(*first), to.saturating_sub(*from));
        let grown_in_ms = u128::from(grown) * 1000;
        u64::try_from(grown_in_ms / took.as_millis().max(1)).unwrap_or(u64::MAX)
    }
}

/// Seconds until `left` is done at a rate; `None` at none.
pub fn seconds_left(left: u64, per_second: u64) -> Option<u64> {
    left.checked_div(per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_thirty_seconds() {
        let mut rate = ProgressRate::default();
        assert_eq!(rate.per_second(), 0);
        let mut count = 0;
        for second in 0..100 {
            rate.note(Duration::from_secs(second), count);
            count += if second < 50 { 1000 } else { 10 };
        }
        assert_eq!(rate.per_second(), 10);
        assert_eq!(seconds_left(605, rate.per_second()), Some(60));
        assert_eq!(seconds_left(5, 0), None);
        assert!(rate.seen.len() < 40);
    }
}
