//! The life of records between the log and the table, without I/O and without a clock.

mod backoff;
mod block;
mod breaker;
mod pace;
mod span;
mod start;
mod tracker;

pub use backoff::Backoff;
pub use block::{Block, Header, Limits, Record};
pub use breaker::{Breaker, Held, Verdict};
pub use pace::Pace;
pub use span::{Span, Spans};
pub use start::{Reason, Start, start};
pub use tracker::{Action, BatchId, Input, Tracker};
