//! The pause after queries that a process repeats: it grows with their duration, so that they take a bounded
//! share of the time of the server, for any size of the tables.
#![expect(clippy::disallowed_methods, reason = "measures how long the queries take")]

use std::time::Duration;

use tokio::time::Instant;

/// The pause lasts so many times the queries: they take a tenth of the time.
const FACTOR: u32 = 9;
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// Measures queries.
#[derive(Debug)]
pub(crate) struct QueryTimer(Instant);

impl QueryTimer {
    /// The queries begin now.
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    /// The queries have ended, and the next ones begin after this time, `least` at least.
    pub(crate) fn pause(self, least: Duration) -> Duration {
        pause(least, self.0.elapsed())
    }
}

fn pause(least: Duration, took: Duration) -> Duration {
    least.max(PAUSE_MAX.min(took.saturating_mul(FACTOR)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_take_a_tenth_of_the_time_and_the_pause_is_bounded() {
        let least = Duration::from_secs(15);
        for (took, expected) in [(0, 15), (1, 15), (5, 45), (30, 270), (60, 540), (u64::MAX, 600)] {
            assert_eq!(pause(least, Duration::from_secs(took)), Duration::from_secs(expected));
        }
    }
}
