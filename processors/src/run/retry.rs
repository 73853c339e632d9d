//! Retries: repeats a request to a server, with growing delays, until it succeeds or its error is fatal.
#![expect(clippy::disallowed_methods, reason = "measures how long a request fails")]

use broker::{Backoff, ErrorClass, ServerError};
use tokio::time::Instant;

use crate::metrics::processor::ProcessorMetrics;

/// One request that is repeated until it succeeds.
#[derive(Debug)]
pub struct Retry<'m> {
    stage: &'static str,
    /// The record, batch or id of the request.
    what: String,
    metrics: &'m ProcessorMetrics,
    began: Instant,
    tries: u32,
}

impl<'m> Retry<'m> {
    /// A request that has not failed yet. `stage` names it in metrics and logs.
    pub fn new(stage: &'static str, metrics: &'m ProcessorMetrics) -> Self {
        Self { stage, what: String::new(), metrics, began: Instant::now(), tries: 0 }
    }

    /// Sets the subject of the request before its first failure is logged.
    pub fn name(&mut self, what: impl FnOnce() -> String) {
        if self.tries == 0 {
            self.what = what();
        }
    }

    /// Whether the last attempt failed.
    pub fn has_failed(&self) -> bool {
        self.tries > 0
    }

    /// Waits before the next attempt, without end; an outage is logged once a minute.
    ///
    /// # Errors
    /// A fatal `error`, immediately: waiting cannot help.
    pub async fn after(&mut self, error: ServerError) -> Result<(), ServerError> {
        match error.class {
            ErrorClass::Retryable | ErrorClass::Record => {}
            ErrorClass::Fatal => return Err(error),
        }
        let (stage, tries, what) = (self.stage, self.tries, self.what.as_str());
        self.metrics.retry(stage, error.code);
        if self.metrics.attempts.failed(stage, what, error.code) {
            tracing::warn!(stage, what, code = error.code, tries, %error, "the attempt failed; it is repeated");
        }
        let delay = Backoff::SERVERS.random_delay(self.tries);
        self.tries = self.tries.saturating_add(1);
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// The request succeeded; another one may follow.
    pub fn done(&mut self) {
        if self.tries > 0 {
            let seconds = self.began.elapsed().as_secs_f64();
            let (stage, tries, what) = (self.stage, self.tries, self.what.as_str());
            tracing::info!(stage, what, tries, seconds, "recovered");
            self.metrics.attempts.ended(stage, what);
            self.tries = 0;
        }
        self.began = Instant::now();
    }
}

impl Drop for Retry<'_> {
    fn drop(&mut self) {
        if self.tries > 0 {
            self.metrics.attempts.ended(self.stage, &self.what);
        }
    }
}

/// Evaluates `$attempt` (a future of a `Result<_, ServerError>`) until it is `Ok`, and returns
/// early from the function around it with a fatal error. `$what` names what it is about.
///
/// A macro, because the compiler cannot prove yet that a future which borrows from a closure is `Send`.
macro_rules! until_done {
    ($stage:literal, $metrics:expr, $attempt:expr) => {
        $crate::run::retry::until_done!($stage, $metrics, $attempt, String::new())
    };
    ($stage:literal, $metrics:expr, $attempt:expr, $what:expr) => {{
        let mut retry = $crate::run::retry::Retry::new($stage, $metrics);
        loop {
            match $attempt.await {
                Ok(value) => {
                    retry.done();
                    break value;
                }
                Err(error) => {
                    retry.name(|| $what);
                    retry.after(error).await?;
                }
            }
        }
    }};
}

pub(crate) use until_done;
