//! Retries: repeats a request to a server, with growing delays, until it succeeds or fails for good.

use std::time::Duration;

use broker::{Backoff, ErrorClass, ServerError};
use tokio::time::Instant;

use crate::metrics::processor::ProcessorMetrics;

const LOG_EVERY: Duration = Duration::from_secs(60);

/// One request that is repeated until it succeeds.
#[derive(Debug)]
pub struct Retry<'m> {
    stage: &'static str,
    metrics: &'m ProcessorMetrics,
    began: Instant,
    tries: u32,
    logged: Option<Instant>,
}

impl<'m> Retry<'m> {
    /// Nothing has failed yet. `stage` names it in metrics and logs.
    pub fn new(stage: &'static str, metrics: &'m ProcessorMetrics) -> Self {
        Self { stage, metrics, began: Instant::now(), tries: 0, logged: None }
    }

    /// Waits before the next attempt, without end; an outage is logged once a minute.
    ///
    /// # Errors
    /// A fatal `error`, at once: waiting cannot help.
    pub async fn after(&mut self, error: ServerError) -> Result<(), ServerError> {
        match error.class {
            ErrorClass::Retryable | ErrorClass::Record => {}
            ErrorClass::Fatal => return Err(error),
        }
        let (stage, tries) = (self.stage, self.tries);
        self.metrics.retry(stage, error.code);
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_EVERY) {
            self.logged = Some(Instant::now());
            tracing::warn!(stage, code = error.code, tries, %error, "the attempt failed; trying again");
        }
        self.tries = tries.saturating_add(1);
        tokio::time::sleep(Backoff::SERVERS.random_delay(tries)).await;
        Ok(())
    }

    /// The request succeeded.
    pub fn done(&self) {
        if self.logged.is_some() {
            let seconds = self.began.elapsed().as_secs_f64();
            tracing::info!(stage = self.stage, tries = self.tries, seconds, "recovered");
        }
    }
}

/// Evaluates `$attempt` (a future of a `Result<_, ServerError>`) until it is `Ok`, and returns
/// early from the function around it with a fatal error.
///
/// A macro, because the compiler cannot prove yet that a future which borrows from a closure is `Send`.
macro_rules! until_done {
    ($stage:literal, $metrics:expr, $attempt:expr) => {{
        let mut retry = $crate::run::retry::Retry::new($stage, $metrics);
        loop {
            match $attempt.await {
                Ok(value) => {
                    retry.done();
                    break value;
                }
                Err(error) => retry.after(error).await?,
            }
        }
    }};
}

pub(crate) use until_done;
