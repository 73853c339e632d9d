//! The storm breaker of the process: it counts blocks, and batches wait for its decision.
#![expect(
    clippy::disallowed_methods,
    reason = "compares the clocks of sources with that of the process"
)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use records::flow::record_sign::RecordSign;
use records::flow::storm_breaker::{
    BreakerTime, PendingRecords, StormBreaker, StormDecision, WINDOW,
};
use tokio::time::Instant;

use service::lock::lock;
use service::number::{gauge, millis};

/// How often a batch that waits asks for the decision.
const DECIDE_EVERY: Duration = Duration::from_millis(100);

/// The breaker with its clock.
#[derive(Debug)]
pub struct SharedBreaker {
    breaker: Mutex<StormBreaker>,
    /// Valid records of blocks that were counted, since the last block that was not.
    preceding: AtomicUsize,
    began: Instant,
}

impl Default for SharedBreaker {
    fn default() -> Self {
        let (breaker, preceding) = Default::default();
        Self { breaker, preceding, began: Instant::now() }
    }
}

impl SharedBreaker {
    /// Counts the records of a block; returns the suspect ones, if any.
    pub(crate) fn observe(
        &self,
        signs: impl Iterator<Item = RecordSign>,
    ) -> Option<PendingRecords> {
        // A clock before 1970 agrees with no source.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = BreakerTime { age_ms: self.age_ms(), unix_us: gauge(since_1970.as_micros()) };
        lock(&self.breaker).observe(signs, now)
    }

    /// As [`SharedBreaker::observe`], for a block in the order of the log.
    pub(crate) fn observe_in_turn(&self, signs: &[RecordSign]) -> Option<PendingRecords> {
        let good = signs.iter().filter(|sign| **sign == RecordSign::Good).count();
        self.preceding.fetch_add(good, Ordering::Relaxed);
        self.observe(signs.iter().copied())
    }

    /// The signs of a block that is counted later, when the schema ids of its records are known, after
    /// signs of the valid records that precede it in the log, at most as many as the breaker judges
    /// together. Without them, many such blocks that are counted one after the other would be a storm.
    pub(crate) fn postpone(&self, signs: Vec<RecordSign>) -> Vec<RecordSign> {
        let preceding = self.preceding.swap(0, Ordering::Relaxed).min(WINDOW);
        [vec![RecordSign::Good; preceding], signs].concat()
    }

    /// Waits until it is decided whether suspect records are a storm.
    pub(crate) async fn is_storm(&self, pending: PendingRecords) -> bool {
        loop {
            match lock(&self.breaker).decide(pending, self.age_ms()) {
                StormDecision::Wait => {}
                StormDecision::DeadLetter => return false,
                StormDecision::Storm => return true,
            }
            tokio::time::sleep(DECIDE_EVERY).await;
        }
    }

    fn age_ms(&self) -> u64 {
        millis(self.began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn h5_blocks_that_are_counted_after_an_outage_are_no_storm_among_valid_ones() {
        // Each block is one record; of a storm, most are bad.
        for (good, is_storm) in [(0, true), (1, false), (9, false)] {
            let breaker = SharedBreaker::default();
            let mut postponed = Vec::new();
            for _ in 0..300 {
                for _ in 0..good {
                    assert_eq!(breaker.observe_in_turn(&[RecordSign::Good]), None);
                }
                postponed.push(breaker.postpone(vec![RecordSign::Schema]));
            }
            let pending: Vec<_> = postponed
                .into_iter()
                .filter_map(|signs| breaker.observe(signs.into_iter()))
                .collect();
            assert_eq!(pending.len(), 300);
            let mut storms = 0;
            for pending in pending {
                storms += u32::from(breaker.is_storm(pending).await);
            }
            assert_eq!(storms > 0, is_storm, "{good} valid records for each");
        }
    }
}
