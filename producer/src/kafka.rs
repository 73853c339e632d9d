//! Clients of the broker: the only folder of the producer that uses rdkafka.

pub mod click_producer;
pub mod endpoint;
pub mod link_consumer;
pub mod link_producer;
pub mod producer_config;

/// `client.id` of every client.
pub const CLIENT_ID: &str = "clicktrail-producer";
