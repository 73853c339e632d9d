//! When a redrive may send the next copies: the job sets it, and the sender of a batch waits for it.
#![expect(clippy::disallowed_methods, reason = "the rate limit is by the time of this process")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use service::lock::lock;
use tokio::time::Instant;

use crate::redrive::rate_limit::RateLimit;
use crate::redrive::server_attempts::{Interrupt, ServerAttempts};

/// The longest wait between two looks at what the job allows, which may change meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a job allows; its clones share it.
#[derive(Debug, Clone)]
pub(crate) struct SendLimit(Arc<Mutex<Allowed>>);

#[derive(Debug)]
struct Allowed {
    rate: RateLimit,
    /// ClickHouse has the last report of the job. If it has not, another process may resume the job, and
    /// nothing is sent.
    is_reported: bool,
}

impl SendLimit {
    /// A limit of records a second; without a rate, nothing waits.
    pub(crate) fn new(per_second: Option<u32>) -> Self {
        let rate = RateLimit::new(per_second);
        Self(Arc::new(Mutex::new(Allowed { rate, is_reported: true })))
    }

    /// Changes the rate, also within a batch.
    pub(crate) fn set_rate(&self, per_second: u32) {
        lock(&self.0).rate.set(per_second);
    }

    /// Sets whether ClickHouse has the last report of the job.
    pub(crate) fn set_reported(&self, is_reported: bool) {
        lock(&self.0).is_reported = is_reported;
    }

    /// Whether ClickHouse has the last report of the job.
    pub(crate) fn is_reported(&self) -> bool {
        lock(&self.0).is_reported
    }

    /// The largest batch, at most `max` records.
    pub(crate) fn batch_max(&self, max: usize) -> usize {
        lock(&self.0).rate.batch_max(max)
    }

    /// Waits until ClickHouse has the last report of the job.
    ///
    /// # Errors
    /// The redrive is stopped.
    pub(crate) async fn until_reported(&self, attempts: &ServerAttempts) -> Result<(), Interrupt> {
        while !self.is_reported() {
            attempts.pause(LOOK_EVERY).await?;
        }
        attempts.go_on()
    }

    /// Waits until copies may be sent; returns how many, from one to `max`.
    ///
    /// # Errors
    /// The redrive is stopped.
    pub(crate) async fn permit(
        &self,
        max: usize,
        attempts: &ServerAttempts,
    ) -> Result<usize, Interrupt> {
        loop {
            attempts.go_on()?;
            match self.taken(max) {
                Ok(records) => return Ok(records),
                Err(delay) => attempts.pause(delay.min(LOOK_EVERY)).await?,
            }
        }
    }

    /// Takes records that may be sent now, or returns how long to wait.
    fn taken(&self, max: usize) -> Result<usize, Duration> {
        let mut allowed = lock(&self.0);
        if !allowed.is_reported {
            return Err(LOOK_EVERY);
        }
        let now = Instant::now();
        let delay = allowed.rate.delay(now);
        if !delay.is_zero() {
            return Err(delay);
        }
        let records = allowed.rate.part_max(max);
        allowed.rate.take(records, now);
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    /// Sends a batch; returns the parts that were permitted.
    async fn batch(limit: &SendLimit, records: usize, attempts: &ServerAttempts) -> Vec<usize> {
        let (mut parts, mut left) = (Vec::new(), records);
        while left > 0 {
            let Ok(part) = limit.permit(left, attempts).await else { break };
            parts.push(part);
            left -= part;
        }
        parts
    }

    #[tokio::test(start_paused = true)]
    async fn the_copies_of_a_batch_are_spread_over_its_time() {
        let attempts = ServerAttempts::new(CancellationToken::new());
        let (limit, began) = (SendLimit::new(Some(3)), Instant::now());
        assert_eq!(limit.batch_max(500), 30);
        assert_eq!(batch(&limit, 30, &attempts).await, [1; 30]);
        let took = began.elapsed();
        assert!((9_600..=11_000).contains(&took.as_millis()), "{took:?}");
        let (limit, began) = (SendLimit::new(None), Instant::now());
        assert_eq!(batch(&limit, 500, &attempts).await, [500]);
        assert!(began.elapsed().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_a_new_rate_and_a_missing_report_take_effect_within_a_batch() {
        let stop = CancellationToken::new();
        let attempts = ServerAttempts::new(stop.clone());
        let limit = SendLimit::new(Some(1));
        let change = async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            limit.set_reported(false);
            tokio::time::sleep(Duration::from_secs(60)).await;
            limit.set_rate(1_000);
            limit.set_reported(true);
        };
        let began = Instant::now();
        let (parts, ()) = tokio::join!(batch(&limit, 1_002, &attempts), change);
        assert_eq!(parts, [1, 1, 500, 500]);
        let took = began.elapsed();
        assert!((61_500..=63_000).contains(&took.as_millis()), "{took:?}");

        let limit = SendLimit::new(Some(1));
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            stop.cancel();
        };
        let began = Instant::now();
        let (parts, ()) = tokio::join!(batch(&limit, 10, &attempts), stopping);
        assert_eq!(parts, [1, 1, 1]);
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        assert!(matches!(limit.until_reported(&attempts).await, Err(Interrupt::Stopped)));
    }
}
