//! The name under which the processors' Kafka clients appear at the broker.

/// `client.id` of every client.
pub const CLIENT_ID: &str = "clicktrail-processors";
