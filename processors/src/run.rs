//! Runs the pipeline: reads blocks from a source, encodes them, writes batches to a sink, commits.
pub mod batch;
pub mod batcher;
pub mod driver;
pub mod block_encoder;
pub mod retry;
pub mod source;
pub mod trace;
