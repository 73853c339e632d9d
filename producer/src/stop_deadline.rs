//! The deadline of a stop: the process ends in time, even if disk, broker, database or clients hang.
//!
//! After the signal, requests in flight have [`DRAIN_TIMEOUT`] to end. Then the outbox writes the clicks
//! in memory while the relay delivers them, and then the relay ends. The links stop at the same time. A
//! part that has not ended at the deadline ends with the process.
#![expect(clippy::disallowed_methods, reason = "a deadline is a time of the clock")]

use std::time::Duration;

use service::telemetry;
use tokio::time::Instant;

use crate::delivery::relay::RELAY_STOP;
use crate::outbox::CLOSE_TIMEOUT;

/// Time for requests in flight to end; each is answered from memory.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for blocking calls in flight to end, such as one to a database; all clicks are on the disk by
/// then.
pub const RUNTIME_STOP: Duration = Duration::from_secs(1);

/// The deadline of one stop.
#[derive(Debug, Clone, Copy)]
pub struct StopDeadline(Instant);

impl StopDeadline {
    /// The deadline of a stop that begins now and waits at most `flush` for clicks to be delivered.
    pub fn after(flush: Duration) -> Self {
        Self(Instant::now() + parts_timeout(flush))
    }

    /// Waits for a part of the stop; returns `None` if it has not ended at the deadline.
    pub async fn within<T>(self, part: &'static str, work: impl Future<Output = T>) -> Option<T> {
        let ended = tokio::time::timeout_at(self.0, work).await.ok();
        if ended.is_none() {
            tracing::error!(code = "stop_deadline", part, "a part did not stop in time");
        }
        ended
    }
}

/// Longest time from the signal to the end of the process. A supervisor must wait longer before it kills
/// the process.
pub fn stop_timeout(flush: Duration) -> Duration {
    parts_timeout(flush) + RUNTIME_STOP + telemetry::STOP_TIMEOUT
}

fn parts_timeout(flush: Duration) -> Duration {
    DRAIN_TIMEOUT + flush.max(CLOSE_TIMEOUT) + RELAY_STOP
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn m9_parts_that_hang_end_together_at_the_deadline_and_no_wait_adds_to_another() {
        for (flush, expected) in [(0, 40), (1, 40), (30, 40), (120, 130)] {
            let flush = Duration::from_secs(flush);
            let (deadline, began) = (StopDeadline::after(flush), Instant::now());
            let links = deadline.within("links", pending::<()>());
            let delivery = deadline.within("delivery", async {
                tokio::time::sleep(DRAIN_TIMEOUT).await;
                pending::<()>().await;
            });
            let ended = tokio::join!(links, delivery, deadline.within("other", async { 7 }));
            assert_eq!(ended, (None, None, Some(7)));
            assert_eq!(deadline.within("late", pending::<()>()).await, None);
            assert_eq!(began.elapsed().as_secs(), expected);
            assert_eq!(stop_timeout(flush).as_secs(), expected + 3);
        }
    }
}
