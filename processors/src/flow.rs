//! The life of records between the log and the table, without I/O and without a clock.

pub mod block;
pub mod linger;
pub mod offset_range;
pub mod start_policy;
pub mod storm_breaker;
pub mod tracker;
