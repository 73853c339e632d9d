//! Requests of a redrive to its servers: each is repeated until it succeeds, its error is fatal, or the
//! redrive is stopped.
#![expect(
    clippy::disallowed_methods,
    reason = "logs a failing request once a minute, and times one in a task that its caller waits for"
)]

use std::time::Duration;

use broker::{Backoff, ServerError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clickhouse::server::in_time;

/// How often a request that fails is logged.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// Bounds one attempt: ClickHouse's client has no limit.
const ATTEMPT_MAX: Duration = Duration::from_secs(120);
/// How long an attempt may last after the redrive was stopped.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Why a redrive ends before its last record.
#[derive(Debug)]
pub(crate) enum Interrupt {
    /// A signal or an operator stopped it.
    Stopped,
    /// An error that waiting cannot resolve.
    Failed(ServerError),
}

impl From<ServerError> for Interrupt {
    fn from(error: ServerError) -> Self {
        Self::Failed(error)
    }
}

/// Repeats requests until the redrive is stopped.
#[derive(Debug, Clone)]
pub(crate) struct ServerAttempts {
    stop: CancellationToken,
}

impl ServerAttempts {
    /// `stop` stops the redrive.
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { stop }
    }

    /// The result of `attempt`, which is repeated while its error is retryable. `stage` names it in the
    /// log.
    ///
    /// # Errors
    /// The redrive is stopped, or the error is fatal.
    pub(crate) async fn until_ok<T>(
        &self,
        stage: &'static str,
        mut attempt: impl AsyncFnMut() -> Result<T, ServerError>,
    ) -> Result<T, Interrupt> {
        let (mut tries, mut logged_at) = (0_u32, None::<Instant>);
        loop {
            let error = match self.within_time(attempt()).await? {
                Ok(value) => {
                    if logged_at.is_some() {
                        tracing::info!(stage, tries, "recovered");
                    }
                    return Ok(value);
                }
                Err(error) if error.is_retryable() => error,
                Err(error) => return Err(Interrupt::Failed(error)),
            };
            if logged_at.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
                logged_at = Some(Instant::now());
                let code = error.code;
                tracing::warn!(stage, code, tries, %error, "the attempt failed; it is repeated");
            }
            let delay = Backoff::SERVERS.random_delay(tries);
            tries = tries.saturating_add(1);
            self.pause(delay).await?;
        }
    }

    /// Waits.
    ///
    /// # Errors
    /// The redrive is stopped.
    pub(crate) async fn pause(&self, time: Duration) -> Result<(), Interrupt> {
        let ended = self.stop.run_until_cancelled(tokio::time::sleep(time)).await;
        ended.ok_or(Interrupt::Stopped)
    }

    /// Nothing, unless the redrive is stopped.
    ///
    /// # Errors
    /// The redrive is stopped.
    pub(crate) fn go_on(&self) -> Result<(), Interrupt> {
        if self.stop.is_cancelled() { Err(Interrupt::Stopped) } else { Ok(()) }
    }

    async fn within_time<T>(
        &self,
        attempt: impl Future<Output = Result<T, ServerError>>,
    ) -> Result<Result<T, ServerError>, Interrupt> {
        let stopped = async {
            self.stop.cancelled().await;
            tokio::time::sleep(STOP_MAX).await;
        };
        tokio::select! {
            done = in_time(ATTEMPT_MAX, attempt) => Ok(done),
            () = stopped => Err(Interrupt::Stopped),
        }
    }
}

/// How long a request took that succeeded. It is a task of its own, because the caller is not polled while
/// the job reports.
///
/// # Errors
/// Those of the request.
pub(crate) async fn timed(
    request: impl Future<Output = Result<(), ServerError>> + Send + 'static,
) -> Result<Duration, ServerError> {
    let timed = async move {
        let began = Instant::now();
        request.await.map(|()| began.elapsed())
    };
    tokio::spawn(timed).await.map_err(|error| ServerError::fatal("task_panicked", error))?
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn down() -> ServerError {
        ServerError::retryable("kafka_unreachable", "down")
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_repeated_until_it_succeeds_or_its_error_is_fatal() {
        let attempts = ServerAttempts::new(CancellationToken::new());
        let mut left = 30;
        let done = attempts.until_ok("send", async || {
            left -= 1;
            if left > 0 { Err(down()) } else { Ok(7) }
        });
        assert!(matches!(done.await, Ok(7)));
        let failed = attempts
            .until_ok("send", async || Err::<(), _>(ServerError::fatal("kafka_access", "no right")))
            .await;
        assert!(matches!(failed, Err(Interrupt::Failed(error)) if error.code == "kafka_access"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_a_pause_at_once_and_a_request_without_an_answer_in_ten_seconds() {
        let stop = CancellationToken::new();
        let attempts = ServerAttempts::new(stop.clone());
        stop.cancel();
        let began = Instant::now();
        let stopped = attempts.until_ok("send", async || Err::<(), _>(down())).await;
        assert!(matches!(stopped, Err(Interrupt::Stopped)));
        assert_eq!(began.elapsed(), Duration::ZERO);
        let stopped = attempts.until_ok("send", async || std::future::pending().await);
        let stopped: Result<(), _> = stopped.await;
        assert!(matches!(stopped, Err(Interrupt::Stopped)));
        assert!(began.elapsed() <= STOP_MAX + Duration::from_secs(1), "{:?}", began.elapsed());
        // The batch in flight ends.
        assert!(matches!(attempts.until_ok("send", async || Ok(1)).await, Ok(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_request_does_not_include_that_of_a_report() {
        let second = Duration::from_secs(1);
        let mut request = pin!(timed(async move {
            tokio::time::sleep(second).await;
            Ok(())
        }));
        tokio::select! {
            biased;
            _ = &mut request => panic!("it takes a second"),
            () = std::future::ready(()) => {}
        }
        tokio::time::sleep(9 * second).await;
        let took = request.await.unwrap();
        assert!(took >= second && took < 2 * second, "{took:?}");
        let failed = timed(async { Err(down()) }).await;
        assert_eq!(failed.map_err(|error| error.code), Err("kafka_unreachable"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_without_an_answer_is_repeated_after_two_minutes() {
        let attempts = ServerAttempts::new(CancellationToken::new());
        let mut tries = 0;
        let done = attempts.until_ok("events", async || {
            tries += 1;
            if tries == 1 { std::future::pending().await } else { Ok(tries) }
        });
        assert!(matches!(done.await, Ok(2)));
    }
}
