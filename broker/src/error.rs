//! Errors of servers: one of three classes, and a code that never changes.
//!
//! The code is metric label, log field and RUNBOOK heading.

use schemas::ErrorClass;
use thiserror::Error;

/// Code of a position that lies outside the log: retention has deleted it, or the topic was
/// recreated.
pub const POSITION_LOST: &str = "log_position_lost";

/// Code of a group member whose instance id another process has taken: this process can read no
/// further, the other one can.
pub const MEMBER_FENCED: &str = "kafka_member_fenced";

/// The error of a request to a server.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{code}: {message}")]
pub struct ServerError {
    /// [`ErrorClass::Record`] only where a server refused the record itself.
    pub class: ErrorClass,
    /// Stable name.
    pub code: &'static str,
    /// The server's message, and the remedy where it is known.
    pub message: String,
}

impl ServerError {
    /// Waiting may resolve it.
    pub fn retryable(code: &'static str, message: impl ToString) -> Self {
        Self { class: ErrorClass::Retryable, code, message: message.to_string() }
    }

    /// Waiting does not resolve it.
    pub fn fatal(code: &'static str, message: impl ToString) -> Self {
        Self { class: ErrorClass::Fatal, code, message: message.to_string() }
    }

    /// Whether waiting may resolve it.
    pub fn is_retryable(&self) -> bool {
        self.class == ErrorClass::Retryable
    }
}
