//! Counts the jobs of the table periodically, for the gauge.

use std::time::Duration;

use broker::{ErrorClass, ServerError};
use tokio_util::sync::CancellationToken;

use crate::clickhouse::job_counts::job_counts;
use crate::clickhouse::server::Server;
use crate::metrics::processor::ProcessorMetrics;
use crate::run::query_timer::QueryTimer;
use crate::run::retry::Retry;

/// Least time between two counts.
const EVERY: Duration = Duration::from_secs(15);
/// Longest pause after a failure, without the delay of [`Retry`].
const FAILED_PAUSE_MAX: Duration = Duration::from_secs(240);

/// Counts until `stop`. While the server does not answer, the gauge has no value.
pub(crate) async fn run(server: Server, metrics: ProcessorMetrics, stop: CancellationToken) {
    let mut retry = Retry::new("job_gauge", &metrics);
    let count = async {
        loop {
            let queries = QueryTimer::begin();
            let pause = match job_counts(&server).await {
                Ok(counts) => {
                    metrics.jobs.set(Some(counts));
                    retry.done();
                    queries.pause(EVERY)
                }
                Err(error) => {
                    let pause = queries.pause_after_failure(FAILED_PAUSE_MAX);
                    metrics.jobs.set(None);
                    // A fatal error must not stop the clicks.
                    let error = ServerError { class: ErrorClass::Retryable, ..error };
                    if retry.after(error).await.is_err() {
                        return;
                    }
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    stop.run_until_cancelled(count).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::unanswering_server::failures_within;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_delays_the_next_count_of_jobs_by_minutes() {
        // Two timeouts of 10 s, and the pause of 90 s between them.
        let time = Duration::from_secs(115);
        let counts = |server, metrics| run(server, metrics, CancellationToken::new());
        assert_eq!(failures_within(time, counts).await, 2);
    }
}
