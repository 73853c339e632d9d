//! Runs the pipeline: reads blocks from a source, encodes them, writes batches to a sink, commits.

pub mod backpressure;
pub mod batch;
pub mod batch_writer;
pub mod batcher;
pub mod block_encoder;
mod dead_letter_gauge;
mod dead_letter_log;
mod dead_letter_resolver;
pub mod driver;
pub mod driver_settings;
pub mod in_flight;
mod job_gauge;
mod known_reset;
mod membership;
pub mod offset_requests;
pub mod pipeline;
pub mod processor;
mod query_timer;
pub(crate) mod readiness;
mod reset_watch;
pub mod retry;
pub mod revocation;
mod row_writer;
mod shard_turn;
pub mod shared_breaker;
pub mod sink;
pub mod source;
pub mod topic_copy;
pub mod trace;
#[cfg(test)]
mod unanswering_server;
