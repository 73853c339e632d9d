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
/// The same, if the registry did not answer in between. A registry that fails often gets two waits in a
/// minute.
const EVERY_OUTAGE: Duration = Duration::from_secs(30);

/// The last wait, which all ids share.
#[derive(Debug, Default)]
pub(crate) struct UnknownWait {
    began: Option<Instant>,
    /// The registry has not answered since then.
    failed: bool,
}

impl UnknownWait {
    /// Until when to ask again; `None`: "not found" is final now.
    pub(crate) fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let every = if self.failed { EVERY_OUTAGE } else { EVERY };
        let began = match self.began {
            Some(began) if now < began + every => began,
            Some(_) | None => {
                self.failed = false;
                *self.began.insert(now)
            }
        };
        Some(began + WAIT).filter(|deadline| now < *deadline)
    }

    /// The registry did not answer: after an outage it may not have all ids yet, so the next "not found"
    /// starts a wait again.
    pub(crate) fn reset(&mut self) {
        self.failed = true;
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
        let later = start + EVERY_OUTAGE;
        assert_eq!(wait.deadline(later), Some(later + WAIT));
        assert_eq!(wait.deadline(later + EVERY_OUTAGE), None, "the outage has had its wait");
    }

    #[tokio::test(start_paused = true)]
    async fn h5_a_registry_that_fails_often_holds_readers_ten_seconds_of_a_minute_at_most() {
        let start = Instant::now();
        let mut wait = UnknownWait::default();
        // A failure each second, and a new id each 100 ms.
        let waits = |ms: &u64| {
            if ms.is_multiple_of(1_000) {
                wait.reset();
            }
            wait.deadline(start + Duration::from_millis(*ms)).is_some()
        };
        let waited: Vec<u64> = (0..600_000).step_by(100).filter(waits).collect();
        for begin in (0..540_000).step_by(100) {
            let within = waited.iter().filter(|ms| (begin..begin + 60_000).contains(*ms)).count();
            assert!(within <= 100, "{within} tenths of a second in the minute from {begin} ms");
        }
    }
}
