//! When the continuous audit first found each unreadable batch of its window. Such a batch has no log
//! time by which the grace period could be measured, and the processors write its stub only after a
//! search for it. Pure: time is an argument.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::audit::entry::LogPosition;

/// The unreadable batches of the runs so far.
#[derive(Debug, Default)]
pub struct UnreadableBatches {
    /// By first offset: when a run first found the batch, and the last run that found it.
    found: HashMap<LogPosition, (Instant, u64)>,
    run: u64,
}

impl UnreadableBatches {
    /// Notes that a run begins.
    pub fn begin_run(&mut self) {
        self.run += 1;
    }

    /// Notes that the run has read its window; removes the batches that it did not find.
    pub fn end_run(&mut self) {
        let current = self.run;
        self.found.retain(|_, (_, run)| *run == current);
    }

    /// Notes that the run found a batch. Returns whether the batch has been known for `grace`, so that
    /// its stub must exist.
    pub fn is_due(&mut self, first: LogPosition, grace: Duration, now: Instant) -> bool {
        let (since, run) = self.found.entry(first).or_insert((now, self.run));
        *run = self.run;
        now >= *since + grace
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test starts at the time of its runtime")]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn h3_an_unreadable_batch_is_due_after_the_grace_period() {
        let grace = Duration::from_secs(30);
        let (began, mut batches) = (Instant::now(), UnreadableBatches::default());
        let [old, new] = [5, 900].map(|offset| LogPosition { partition: 1, offset });
        let mut due = |second, found: &[LogPosition]| {
            batches.begin_run();
            let now = began + Duration::from_secs(second);
            let due = found.iter().filter(|first| batches.is_due(**first, grace, now));
            let due: Vec<i64> = due.map(|first| first.offset).collect();
            batches.end_run();
            due
        };
        assert!(due(0, &[old]).is_empty());
        assert!(due(29, &[old, new]).is_empty());
        assert_eq!(due(30, &[old, new]), [5]);
        assert_eq!(due(59, &[new, old]), [900, 5]);
        // A batch that a run did not find counts as new afterwards.
        assert_eq!(due(60, &[old]), [5]);
        assert_eq!(due(61, &[old, new]), [5]);
        assert!(due(62, &[]).is_empty());
        assert!(batches.found.is_empty(), "no longer than the window");
        // A failed run removes none.
        batches.is_due(old, grace, began);
        batches.begin_run();
        batches.begin_run();
        assert!(batches.is_due(old, grace, began + grace));
    }
}
