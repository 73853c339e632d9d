//! Records between the log and the table: the pure core of the pipeline, without I/O and clock.

pub mod batch_parts;
pub mod block;
pub mod linger;
pub mod offset_range;
pub mod origin_headers;
pub mod record_sign;
pub mod start_policy;
pub mod storm_breaker;
pub mod stub;
pub mod topic_record;
pub mod tracker;
