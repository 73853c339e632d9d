//! The only folder of the producer that knows rdkafka.
pub mod link_consumer;
pub mod link_producer;
