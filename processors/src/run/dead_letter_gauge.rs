//! Counts the dead letters of the table periodically, for the gauge.

use std::time::Duration;

use broker::{ErrorClass, ServerError};
use clap::ValueEnum as _;
use records::dead_letters::state::DeadLetterState;
use tokio_util::sync::CancellationToken;

use crate::clickhouse::held_dead_letters::{HeldDeadLetters, held, sizes};
use crate::clickhouse::server::Server;
use crate::metrics::processor::ProcessorMetrics;
use crate::run::query_timer::QueryTimer;
use crate::run::retry::Retry;

/// Least time between two looks at the tables.
const EVERY: Duration = Duration::from_secs(15);
/// Longest pause after a failure, without the delay of [`Retry`]: with both, and the time of the count, the
/// gauge has no value for five minutes at most.
const FAILED_PAUSE_MAX: Duration = Duration::from_secs(240);
/// Looks after which the dead letters are counted although the tables have the same number of rows.
const SAME_MAX: u32 = 20;

/// Counts until `stop`. While the server does not answer, the gauge has no value.
pub(crate) async fn run(server: Server, metrics: ProcessorMetrics, stop: CancellationToken) {
    let mut retry = Retry::new("dead_letter_gauge", &metrics);
    let mut counter =
        DeadLetterCounter { server, metrics: metrics.clone(), counted: None, same: 0 };
    let count = async {
        loop {
            let queries = QueryTimer::begin();
            let outcome = counter.count().await;
            let pause = match outcome {
                Ok(()) => queries.pause(EVERY),
                Err(_) => queries.pause_after_failure(FAILED_PAUSE_MAX),
            };
            match outcome {
                Ok(()) => retry.done(),
                Err(error) => {
                    counter.counted = None;
                    metrics.dead_letters_held.forget();
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
    stop.run_until_cancelled(count).await;
}

struct DeadLetterCounter {
    server: Server,
    metrics: ProcessorMetrics,
    /// Sizes of the tables before the last count.
    counted: Option<(u64, u64)>,
    /// Looks since then.
    same: u32,
}

impl DeadLetterCounter {
    async fn count(&mut self) -> Result<(), ServerError> {
        let sizes = sizes(&self.server).await?;
        self.same += 1;
        if self.counted == Some(sizes) && self.same < SAME_MAX {
            return Ok(());
        }
        let counts = held(&self.server).await?;
        self.metrics.dead_letters_held.set(counts.iter().filter_map(labelled));
        (self.counted, self.same) = (Some(sizes), 0);
        Ok(())
    }
}

/// A count of a state that this version knows.
fn labelled(held: &HeldDeadLetters) -> Option<(&str, DeadLetterState, u64)> {
    let state = DeadLetterState::from_str(&held.state_name, false).ok()?;
    Some((&held.error_code, state, held.letters))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::unanswering_server::failures_within;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_delays_the_next_count_by_four_minutes() {
        // Two timeouts of 30 s, and the pause of 240 s between them.
        let time = Duration::from_secs(310);
        let counts = |server, metrics| run(server, metrics, CancellationToken::new());
        assert_eq!(failures_within(time, counts).await, 2);
    }
}
