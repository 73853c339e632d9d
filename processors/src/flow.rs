//! The life of records between the log and the table, without I/O and without a clock.

mod backoff;
mod batch;
mod breaker;
mod start;
mod tracker;

pub use backoff::Backoff;
pub use batch::{Batch, Header, Limits, Record, Span};
pub use breaker::{Breaker, Held, Verdict};
pub use start::{Reason, Start, start};
pub use tracker::{Action, BatchId, Input, Tracker};
