//! The offsets of a topic at a log time.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::{Brokers, ServerError, server_error};
use rdkafka::consumer::Consumer as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::log_reader::{Bounds, consumer};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// By partition: the first offset whose record was appended at a time (milliseconds since 1970) or later,
/// and the end of the log where there is none. `bounds` are those of the topic. Blocks.
///
/// # Errors
/// The broker does not answer.
pub fn offsets_at(
    brokers: &Brokers,
    topic: &str,
    bounds: &BTreeMap<i32, Bounds>,
    time_ms: i64,
) -> Result<BTreeMap<i32, i64>, ServerError> {
    let consumer = consumer(brokers)?;
    let mut times = TopicPartitionList::new();
    for partition in bounds.keys() {
        times
            .add_partition_offset(topic, *partition, Offset::Offset(time_ms.max(0)))
            .map_err(|error| server_error(&error))?;
    }
    let found = consumer.offsets_for_times(times, REQUEST_TIMEOUT);
    let mut offsets = BTreeMap::new();
    for found in found.map_err(|error| server_error(&error))?.elements() {
        found.error().map_err(|error| server_error(&error))?;
        let Some(Bounds { low, high }) = bounds.get(&found.partition()) else { continue };
        let offset = found.offset().to_raw().filter(|offset| *offset >= 0);
        offsets.insert(found.partition(), offset.map_or(*high, |it| it.clamp(*low, *high)));
    }
    Ok(offsets)
}
