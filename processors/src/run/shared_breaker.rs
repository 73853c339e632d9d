//! The storm breaker of the process: blocks are counted in it, batches wait for its decision.
#![expect(clippy::disallowed_methods, reason = "compares clocks: those of sources with its own")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::flow::record_sign::RecordSign;
use crate::flow::storm_breaker::{BreakerTime, PendingRecords, StormBreaker, StormDecision};
use service::lock::lock;
use service::number::{gauge, millis};

/// How often a batch that waits asks for the decision.
const DECIDE_EVERY: Duration = Duration::from_millis(100);

/// The breaker with its clock.
#[derive(Debug)]
pub struct SharedBreaker {
    breaker: Mutex<StormBreaker>,
    waiting: AtomicUsize,
    began: Instant,
}

impl Default for SharedBreaker {
    fn default() -> Self {
        Self { breaker: Mutex::default(), waiting: AtomicUsize::new(0), began: Instant::now() }
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

    /// Waits until it is decided whether suspect records are a storm.
    pub(crate) async fn is_storm(&self, pending: PendingRecords) -> bool {
        self.wait_for(async {
            loop {
                match lock(&self.breaker).decide(pending, self.age_ms()) {
                    StormDecision::Wait => {}
                    StormDecision::DeadLetter => return false,
                    StormDecision::Storm => return true,
                }
                tokio::time::sleep(DECIDE_EVERY).await;
            }
        })
        .await
    }

    /// Waits for a decision about bad records; a batch counts as waiting meanwhile.
    pub(crate) async fn wait_for<T>(&self, decision: impl Future<Output = T>) -> T {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let decided = decision.await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        decided
    }

    /// Batches whose rows are durable and which only wait for a decision.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn age_ms(&self) -> u64 {
        millis(self.began.elapsed())
    }
}
