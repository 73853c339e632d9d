//! The pause after queries that a process repeats: it grows with their duration, so that they take a bounded
//! share of the time of one of its threads, for any size of the tables.
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
        least.max(pause(self.0.elapsed(), PAUSE_MAX))
    }

    /// The queries have failed, and the next ones begin after this time, `most` at most: the duration of
    /// queries of a server that did not answer is a timeout, which would delay them for long.
    pub(crate) fn pause_after_failure(self, most: Duration) -> Duration {
        pause(self.0.elapsed(), most)
    }
}

fn pause(took: Duration, most: Duration) -> Duration {
    most.min(took.saturating_mul(FACTOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_take_a_tenth_of_the_time_and_the_pause_is_bounded() {
        for (took, expected) in [(0, 0), (5, 45), (30, 270), (60, 540), (u64::MAX, 600)] {
            let pause = pause(Duration::from_secs(took), PAUSE_MAX);
            assert_eq!(pause, Duration::from_secs(expected));
        }
        let least = Duration::from_secs(15);
        assert_eq!(QueryTimer::begin().pause(least), least);
    }
}
