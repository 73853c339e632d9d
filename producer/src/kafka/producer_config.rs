//! The configuration that every Kafka producer of this service has.

use broker::{Brokers, ServerError};
use rdkafka::config::ClientConfig;

use crate::kafka::CLIENT_ID;
/// What the operator may change.
const DEFAULTS: [(&str, &str); 4] = [
    ("compression.type", "zstd"),
    ("reconnect.backoff.max.ms", "2000"),
    ("log.connection.close", "false"),
    // Clicks of this time are in one batch. The library's default, twice `linger.ms`, is none for a linger of 0.
    ("sticky.partitioning.linger.ms", "10"),
];

const REQUIRED: &[(&str, &str)] = &[
    ("acks", "all"),
    ("enable.idempotence", "true"),
    // No time limit: an outage is waited out.
    ("message.timeout.ms", "0"),
    // A topic with the broker's default settings would not be the log (`processors setup`).
    ("allow.auto.create.topics", "false"),
    // More than the relay's bounds of clicks in flight.
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
    // How often the library reports which brokers are up.
    ("statistics.interval.ms", "2000"),
];

/// The configuration of a producer: acknowledged by all replicas, idempotent, without a time limit.
/// Records wait `linger_ms` for others, unless the operator sets another time.
///
/// # Errors
/// Fatal: a property that the operator may not set.
pub(crate) fn producer_config(
    brokers: &Brokers,
    linger_ms: &str,
) -> Result<ClientConfig, ServerError> {
    let defaults = [&DEFAULTS[..], &[("linger.ms", linger_ms)]].concat();
    brokers.config(CLIENT_ID, &defaults, REQUIRED)
}
