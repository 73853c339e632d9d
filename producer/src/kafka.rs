//! The only folder of the producer that knows rdkafka.
pub mod link_producer;
