//! The only folder of the processors that knows rdkafka.

pub mod group_consumer;
pub mod dead_letter_writer;
pub mod link_reader;
pub mod log_reader;
pub mod topics;

/// `client.id` of every client.
pub const CLIENT_ID: &str = "clicktrail-processors";
