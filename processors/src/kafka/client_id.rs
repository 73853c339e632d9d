//! The name by which brokers know the Kafka clients of the processors.

/// `client.id` of every client.
pub const CLIENT_ID: &str = "clicktrail-processors";
