//! The only folder of the processors that uses rdkafka.

pub mod assignment;
pub mod client_id;
pub mod dead_letter_writer;
pub mod group_client;
pub mod group_consumer;
pub mod group_settings;
pub mod link_reader;
mod log_bounds;
pub mod log_reader;
pub mod offsets;
mod starting_partition;
pub mod topics;
mod unreadable_errors;
