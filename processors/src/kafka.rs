//! The only folder of the processors that uses rdkafka.

pub mod assignment;
mod bounded_drop;
pub mod client_id;
pub mod dead_letter_writer;
pub mod group_backlog;
pub mod group_client;
pub mod group_consumer;
pub mod group_lag;
pub mod group_positions;
pub mod group_settings;
mod log_bounds;
pub mod log_reader;
pub mod log_status;
pub mod log_times;
pub mod offset_reader;
pub mod offsets;
mod read_epoch;
pub mod read_limits;
mod read_position;
pub mod redrive_writer;
mod renewed_producer;
mod starting_partition;
pub mod topic_reader;
pub mod topics;
mod unreadable_errors;
