//! The three classes of errors of both services.

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The same request may succeed later: wait and repeat, without end; never a dead letter.
    Retryable,
    /// This record can never succeed: it becomes a dead letter.
    Record,
    /// The process or its configuration is wrong: stop, commit nothing.
    Fatal,
}

/// Code of a batch that the library cannot read: it exceeds the bound of a decompressed batch, or its
/// bytes are damaged.
pub const BATCH_UNREADABLE: &str = "batch_unreadable";
