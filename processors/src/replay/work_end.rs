//! Why a worker stops to process records.

use broker::ServerError;

use crate::jobs::job::Job;

/// Why it stops.
#[derive(Debug)]
pub(crate) enum WorkEnd {
    /// Every position of the pass is at the end of its range.
    Complete,
    /// An operator cancelled the job.
    Cancelled,
    /// A signal.
    Signal,
    /// The leader has ended the job.
    Ended(Box<Job>),
}

impl WorkEnd {
    /// Takes the error of the drain that followed.
    ///
    /// # Errors
    /// The error, unless waiting may resolve it and every position of the pass is committed: nothing is left to
    /// store.
    pub(crate) fn after_drain(&self, error: ServerError) -> Result<(), ServerError> {
        if !matches!(self, Self::Complete) || !error.is_retryable() {
            return Err(error);
        }
        let code = error.code;
        tracing::warn!(code, %error, "the worker left the complete pass before its last requests had ended");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_drain_is_an_error_only_if_the_pass_is_not_complete() {
        let late = || ServerError::retryable("drain_timeout", "");
        assert!(WorkEnd::Complete.after_drain(late()).is_ok());
        assert!(WorkEnd::Signal.after_drain(late()).is_err());
        let panicked = ServerError::fatal("task_panicked", "");
        assert!(WorkEnd::Complete.after_drain(panicked).is_err());
    }
}
