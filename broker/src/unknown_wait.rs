//! The wait for schema ids that the registry does not know: some seconds of any minute, for all ids in all.
//! The reader stops during the wait.
//!
//! A registry may get an id late, so its first "not found" is not final. But a sender may write any id.
//! Pure: the caller gives the time.

use std::time::Duration;

use tokio::time::Instant;

/// How long one wait lasts.
pub(crate) const WAIT: Duration = Duration::from_secs(5);
/// From the start of one wait to the start of the next.
pub(crate) const EVERY: Duration = Duration::from_secs(60);

/// The last wait, which all ids share.
#[derive(Debug, Default)]
pub(crate) struct UnknownWait {
    began: Option<Instant>,
}

impl UnknownWait {
    /// Until when to ask again; `None`: "not found" is final now.
    pub(crate) fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let began = match self.began {
            Some(began) if now < began + EVERY => began,
            Some(_) | None => *self.began.insert(now),
        };
        Some(began + WAIT).filter(|deadline| now < *deadline)
    }

    /// The registry did not answer: after an outage it may not have all ids yet, so the next "not found"
    /// starts a wait again.
    pub(crate) fn reset(&mut self) {
        self.began = None;
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test starts at the time of its runtime")]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn h5_ids_are_waited_for_five_seconds_of_a_minute_whatever_comes() {
        let start = Instant::now();
        let mut wait = UnknownWait::default();
        // A new id each 100 ms, for ten minutes: the milliseconds in which one waits.
        let mut waited: Vec<u64> = Vec::new();
        for ms in (0..600_000).step_by(100) {
            let now = start + Duration::from_millis(ms);
            if let Some(deadline) = wait.deadline(now) {
                assert!(deadline <= now + WAIT);
                waited.push(ms);
            }
        }
        assert_eq!(waited.len(), 10 * 50, "some wait in each minute");
        for begin in (0..540_000).step_by(100) {
            let within = waited.iter().filter(|ms| (begin..begin + 60_000).contains(*ms)).count();
            assert!(within <= 50, "{within} tenths of a second in the minute from {begin} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn h5_an_outage_gives_the_wait_back() {
        let start = Instant::now();
        let mut wait = UnknownWait::default();
        assert_eq!(wait.deadline(start), Some(start + WAIT));
        assert_eq!(wait.deadline(start + WAIT), None);
        wait.reset();
        assert_eq!(wait.deadline(start + WAIT), Some(start + WAIT + WAIT));
    }
}
