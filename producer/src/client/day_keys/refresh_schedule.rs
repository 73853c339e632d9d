//! When to read the store of day keys again.
//!
//! Pure.

use std::time::Duration;

/// Time between two reads of the store. A deleted key may still be used for this time.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// The wait after the first failure; it doubles with each further failure, up to the interval.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// The waits between the reads of one process.
#[derive(Debug, Clone, Copy, Default)]
pub struct RefreshSchedule {
    /// Failures in a row.
    failures: u32,
}

impl RefreshSchedule {
    /// The wait after a read that was complete or has failed.
    pub fn wait_after(&mut self, is_complete: bool) -> Duration {
        if is_complete {
            self.failures = 0;
            return REFRESH_INTERVAL;
        }
        let wait = RETRY_MIN.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        wait.min(REFRESH_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_failed_is_repeated_after_a_second_and_then_less_and_less_often() {
        let mut schedule = RefreshSchedule::default();
        let mut waits = |results: &[bool]| {
            let wait = |is_complete: &bool| schedule.wait_after(*is_complete).as_secs();
            results.iter().map(wait).collect::<Vec<_>>()
        };
        assert_eq!(waits(&[false; 9]), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(waits(&[true, true, false, false, true]), [60, 60, 1, 2, 60]);
        assert!(waits(&[false; 100]).iter().all(|seconds| (1..=60).contains(seconds)));
    }
}
