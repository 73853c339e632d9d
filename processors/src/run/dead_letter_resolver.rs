//! Notes each redriven copy whose click is in the table: its dead letter is resolved. Several processes may
//! do so at once, which changes nothing.

use std::time::Duration;

use broker::{ErrorClass, ServerError};
use tokio_util::sync::CancellationToken;

use crate::clickhouse::resolved_dead_letters::{Pending, events, pending, resolve};
use crate::metrics::processor::ProcessorMetrics;
use crate::run::query_timer::QueryTimer;
use crate::run::retry::Retry;
use crate::shards::cluster::Cluster;

/// Least time between two rounds.
const EVERY: Duration = Duration::from_secs(5);
/// Longest pause after a round that failed, without the delay of [`Retry`].
const FAILED_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Rounds without a new event, five minutes, after which the clicks are looked up once a minute: a copy
/// that has not become a row by then may never do so.
const ROUNDS_OFTEN: u32 = 60;
/// Rounds in that minute.
const ROUNDS_SELDOM: u32 = 12;

/// Runs until `stop`.
pub(crate) async fn run(cluster: Cluster, metrics: ProcessorMetrics, stop: CancellationToken) {
    let mut retry = Retry::new("dead_letter_resolver", &metrics);
    let mut resolver = DeadLetterResolver { cluster, rounds: Rounds::default() };
    let resolve = async {
        loop {
            let queries = QueryTimer::begin();
            let outcome = resolver.round().await;
            let pause = match outcome {
                Ok(()) => queries.pause(EVERY),
                Err(_) => queries.pause_after_failure(FAILED_PAUSE_MAX),
            };
            match outcome {
                Ok(()) => retry.done(),
                Err(error) => {
                    // A fatal error must not stop the clicks.
                    let error = ServerError { class: ErrorClass::Retryable, ..error };
                    if retry.after(error).await.is_err() {
                        return;
                    }
                }
            }
            tokio::time::sleep(pause).await;
        }
    };
    stop.run_until_cancelled(resolve).await;
}

struct DeadLetterResolver {
    cluster: Cluster,
    rounds: Rounds,
}

impl DeadLetterResolver {
    async fn round(&mut self) -> Result<(), ServerError> {
        // Counted first: an event that is added meanwhile is seen in the next round.
        if !self.rounds.is_due(events(self.cluster.any()).await?) {
            return Ok(());
        }
        let pending = pending(self.cluster.any()).await?;
        self.rounds.none_is_pending = pending.letters == 0;
        if let Pending { letters: 1.., first_us, last_us } = pending {
            let round = self.rounds.number.into();
            resolve(&self.cluster, first_us..=last_us, round).await?;
        }
        Ok(())
    }
}

/// Decides in which rounds the pending dead letters are read.
#[derive(Debug, Default)]
struct Rounds {
    /// Number of this round.
    number: u32,
    /// Events in the table, in the last round.
    events: Option<u64>,
    /// Rounds with this number of events.
    same: u32,
    /// With this number of events, no dead letter is pending.
    none_is_pending: bool,
}

impl Rounds {
    /// Whether the round is to read the pending dead letters, when the table has so many events.
    fn is_due(&mut self, events: u64) -> bool {
        self.number = self.number.wrapping_add(1);
        if self.events != Some(events) {
            (self.events, self.same, self.none_is_pending) = (Some(events), 0, false);
            return true;
        }
        self.same = self.same.saturating_add(1);
        !self.none_is_pending
            && (self.same < ROUNDS_OFTEN || self.number.is_multiple_of(ROUNDS_SELDOM))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::unanswering_server::failures_within;

    fn due(rounds: &mut Rounds, events: u64, count: u32) -> usize {
        (0..count).filter(|_| rounds.is_due(events)).count()
    }

    #[test]
    fn while_none_is_pending_the_events_are_read_once_after_each_change() {
        let mut rounds = Rounds::default();
        assert_eq!(due(&mut rounds, 0, 1), 1);
        rounds.none_is_pending = true;
        assert_eq!(due(&mut rounds, 0, 1_000), 0);
        assert_eq!(due(&mut rounds, 3, 2), 2, "until a round finds none");
        rounds.none_is_pending = true;
        assert_eq!(due(&mut rounds, 3, 1_000), 0);
    }

    #[test]
    fn clicks_that_do_not_come_are_looked_up_often_and_then_once_a_minute() {
        let mut rounds = Rounds::default();
        assert_eq!(due(&mut rounds, 3, 60), 60);
        assert_eq!(due(&mut rounds, 3, 1_200), 100);
        assert_eq!(due(&mut rounds, 4, 60), 60, "a new event");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_delays_the_next_round_by_a_minute() {
        // Two timeouts of 60 s, and the pause of 60 s between them.
        let time = Duration::from_secs(185);
        let rounds =
            |server, metrics| run(Cluster::single(server), metrics, CancellationToken::new());
        assert_eq!(failures_within(time, rounds).await, 2);
    }
}
