//! The deadline of a stop: it ends in time, whatever disk, broker, database and clients do.
//!
//! From the signal on, requests in flight have [`DRAIN_TIMEOUT`] to end. Then the outbox writes what is
//! in memory while its clicks are delivered, and the relay ends. The links end meanwhile. A part that
//! has not ended at the deadline ends with the process.
#![expect(clippy::disallowed_methods, reason = "a deadline is a time of the clock")]

use std::time::Duration;

use service::telemetry;
use tokio::time::Instant;

use crate::delivery::relay::RELAY_STOP;
use crate::outbox::CLOSE_TIMEOUT;

/// How long requests in flight may take to end; each is answered from memory.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end waits for blocking calls in flight, such as one to a database; all that must be on
/// the disk is there before.
pub const RUNTIME_STOP: Duration = Duration::from_secs(1);

/// The deadline of one stop.
#[derive(Debug, Clone, Copy)]
pub struct StopDeadline(Instant);

impl StopDeadline {
    /// That of a stop which begins now, and waits at most `flush` for clicks to be delivered.
    pub fn after(flush: Duration) -> Self {
        Self(Instant::now() + parts_timeout(flush))
    }

    /// Waits for a part of the stop; none if it has not ended at the deadline.
    pub async fn within<T>(self, part: &'static str, work: impl Future<Output = T>) -> Option<T> {
        let ended = tokio::time::timeout_at(self.0, work).await.ok();
        if ended.is_none() {
            tracing::error!(code = "stop_deadline", part, "a part did not stop in time");
        }
        ended
    }
}

/// Longest time from the signal to the end of the process. A supervisor waits longer before it kills.
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
