//! The configuration and the record headers that every Kafka producer of this service has.

use broker::{Brokers, ServerError};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use schemas::headers;

use crate::kafka::CLIENT_ID;
use crate::outbox::offer::TraceHeaders;

/// What the operator may change.
const DEFAULTS: [(&str, &str); 3] = [
    ("compression.type", "zstd"),
    ("reconnect.backoff.max.ms", "2000"),
    ("log.connection.close", "false"),
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

/// The headers of a record with this trace.
pub(crate) fn record_headers(trace: TraceHeaders<'_>) -> OwnedHeaders {
    let mut list = OwnedHeaders::new_with_capacity(4)
        .insert(Header { key: headers::CONTENT_TYPE, value: Some(headers::CONTENT_TYPE_AVRO) })
        .insert(Header { key: headers::PRODUCER_VERSION, value: Some(env!("CARGO_PKG_VERSION")) });
    for (key, value) in
        [(headers::TRACEPARENT, trace.traceparent), (headers::TRACESTATE, trace.tracestate)]
    {
        if value.is_some() {
            list = list.insert(Header { key, value });
        }
    }
    list
}
