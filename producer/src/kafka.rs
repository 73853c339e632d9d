//! The only folder of the producer that knows rdkafka.
pub mod click_producer;
pub mod link_consumer;
pub mod link_producer;
