//! The offsets of a topic at a log time.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::{Brokers, ServerError, SilenceContext, server_error};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::log_reader::{Bounds, consumer};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A topic with the bounds of its partitions.
pub struct LogTimes<'a> {
    consumer: BaseConsumer<SilenceContext>,
    topic: &'a str,
    bounds: &'a BTreeMap<i32, Bounds>,
}

impl std::fmt::Debug for LogTimes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogTimes").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl<'a> LogTimes<'a> {
    /// Starts the client. Sends no request.
    ///
    /// # Errors
    /// A property that is refused.
    pub fn open(
        brokers: &Brokers,
        topic: &'a str,
        bounds: &'a BTreeMap<i32, Bounds>,
    ) -> Result<Self, ServerError> {
        Ok(Self { consumer: consumer(brokers)?, topic, bounds })
    }

    /// By partition: the first offset whose record was appended at a time (milliseconds since 1970) or later,
    /// and the end of the log where there is none. Blocks.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn offsets_at(&self, time_ms: i64) -> Result<BTreeMap<i32, i64>, ServerError> {
        let mut times = TopicPartitionList::new();
        for partition in self.bounds.keys() {
            times
                .add_partition_offset(self.topic, *partition, Offset::Offset(time_ms.max(0)))
                .map_err(|error| server_error(&error))?;
        }
        let found = self.consumer.offsets_for_times(times, REQUEST_TIMEOUT);
        let mut offsets = BTreeMap::new();
        for found in found.map_err(|error| server_error(&error))?.elements() {
            found.error().map_err(|error| server_error(&error))?;
            let Some(Bounds { low, high }) = self.bounds.get(&found.partition()) else { continue };
            let offset = found.offset().to_raw().filter(|offset| *offset >= 0);
            offsets.insert(found.partition(), offset.map_or(*high, |it| it.clamp(*low, *high)));
        }
        Ok(offsets)
    }
}
