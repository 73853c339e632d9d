//! Asks a server again until it does what it was asked, or waiting cannot help.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{ErrorClass, ServerError};
use crate::flow::backoff::Backoff;
use crate::metrics::Metrics;

const LOG_EVERY: Duration = Duration::from_secs(60);

/// One thing that is asked of a server until it is done.
#[derive(Debug)]
pub struct Retry<'m> {
    stage: &'static str,
    metrics: &'m Metrics,
    began: Instant,
    tries: u32,
    logged: Option<Instant>,
}

impl<'m> Retry<'m> {
    /// Nothing has failed yet. `stage` names it in metrics and logs.
    pub fn new(stage: &'static str, metrics: &'m Metrics) -> Self {
        Self { stage, metrics, began: Instant::now(), tries: 0, logged: None }
    }

    /// Waits before the next attempt, without end; an outage makes one line a minute.
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
            tracing::warn!(stage, code = error.code, tries, %error, "waiting, and trying again");
        }
        self.tries = tries.saturating_add(1);
        tokio::time::sleep(Backoff::SERVERS.delay(tries, random())).await;
        Ok(())
    }

    /// It is done.
    pub fn done(&self) {
        if self.logged.is_some() {
            let seconds = self.began.elapsed().as_secs_f64();
            tracing::info!(stage = self.stage, tries = self.tries, seconds, "recovered");
        }
    }
}

thread_local! {
    static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(()));
}

/// Makes the jitter of this thread's waits repeatable: for simulations.
pub fn seed(seed: u64) {
    STATE.set(seed);
}

/// The next number of this thread's sequence (SplitMix64).
fn random() -> u64 {
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Evaluates `$attempt` (a future of a `Result<_, ServerError>`) until it is `Ok`, and returns
/// early from the function around it with a fatal error.
///
/// A macro, because a future that borrows from a closure cannot yet be said to be `Send`.
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
