//! Reads each second whether a reset of the group is open.
#![expect(clippy::disallowed_methods, reason = "a reset expires though the server does not answer")]

use std::time::Duration;

use broker::ServerError;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::clickhouse::reset_table;
use crate::clickhouse::server::Server;
use crate::metrics::processor::ProcessorMetrics;
use crate::run::known_reset::KnownReset;

/// Interval between two reads.
const EVERY: Duration = Duration::from_secs(1);
/// The stage of the read.
const STAGE: &str = "reset";

/// Reads the resets of one group.
#[derive(Debug)]
pub(crate) struct ResetWatch {
    server: Server,
    group: String,
    metrics: ProcessorMetrics,
    known: KnownReset,
    open: watch::Sender<Option<String>>,
}

impl ResetWatch {
    /// A watch that has read nothing yet, and the id of the open reset as it changes.
    pub(crate) fn new(
        server: Server,
        group: String,
        metrics: ProcessorMetrics,
    ) -> (Self, watch::Receiver<Option<String>>) {
        let (open, changes) = watch::channel(None);
        (Self { server, group, metrics, known: KnownReset::default(), open }, changes)
    }

    /// Reads until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let read = async {
            let mut ticks = tokio::time::interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                self.look().await;
            }
        };
        stop.run_until_cancelled(read).await;
    }

    /// Reads once.
    pub(crate) async fn look(&mut self) {
        match reset_table::open(&self.server, &self.group).await {
            Ok(found) => {
                self.metrics.attempts.ended(STAGE, "");
                self.known.read(found, Instant::now());
            }
            Err(error) => self.note(&error),
        }
        let open = self.known.open_at(Instant::now()).map(str::to_owned);
        self.open.send_if_modified(|known| {
            let is_changed = *known != open;
            *known = open;
            is_changed
        });
    }

    /// An error does not stop the clicks.
    fn note(&self, error: &ServerError) {
        let code = error.code;
        if self.metrics.failed(STAGE, code) {
            tracing::warn!(stage = STAGE, code, %error, "the resets of the group cannot be read");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::unanswering_server::failures_within;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_opens_no_reset_and_is_asked_again() {
        let watching = |server, metrics| {
            let (watch, _) = ResetWatch::new(server, "g".to_owned(), metrics);
            watch.run(CancellationToken::new())
        };
        // A timeout of 2 s, then the next second.
        assert_eq!(failures_within(Duration::from_millis(5_500), watching).await, 2);
    }
}
