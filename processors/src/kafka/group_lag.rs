//! The lag of a group of which this process is no member.
#![expect(clippy::disallowed_methods, reason = "a record is late by the time of this host")]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broker::{Brokers, ServerError, server_error};
use rdkafka::consumer::Consumer as _;
use rdkafka::{Offset, TopicPartitionList};
use records::replay::live_lag::{LiveLag, LivePartition};
use records::replay::log_range::LogRange;
use service::number::gauge;

use crate::kafka::group_positions::GroupPositions;
use crate::kafka::log_bounds::{log_bounds, position};

/// Bounds each request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of one group and one topic, which joins no group and commits no position.
#[derive(Debug)]
pub struct GroupLag(GroupPositions);

impl GroupLag {
    /// Starts the client. Sends no request.
    ///
    /// # Errors
    /// A property that is refused.
    pub fn open(brokers: &Brokers, group: &str, topic: &str) -> Result<Self, ServerError> {
        GroupPositions::open(brokers, group, topic).map(Self)
    }

    /// The lag of the group. A record is late when it is in the log for `max_age` or longer. Blocks.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub fn read(&self, max_age: Duration) -> Result<LiveLag, ServerError> {
        let GroupPositions { consumer, topic, .. } = &self.0;
        let metadata = consumer.fetch_metadata(Some(topic.as_str()), REQUEST_TIMEOUT);
        let metadata = metadata.map_err(|error| server_error(&error))?;
        let partitions = metadata.topics().iter().flat_map(|found| found.partitions());
        let partitions: Vec<i32> = partitions.map(|partition| partition.id()).collect();
        // Before the bounds of the log, so that the lag is not understated.
        let committed = self.0.committed(partitions.iter().copied())?;
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(topic, partition);
        }
        let bounds = log_bounds(consumer, &list, || REQUEST_TIMEOUT);
        let bounds = bounds.map_err(|error| server_error(&error))?;
        let late_ends = self.late_ends(list, max_age)?;
        let partition = |(own, (first, end)): (i32, (i64, i64))| LivePartition {
            held: LogRange { first, end },
            committed: committed.get(&own).copied(),
            late_end: late_ends.get(&own).copied().unwrap_or(end),
        };
        let partitions: Vec<_> = bounds.into_iter().map(partition).collect();
        Ok(LiveLag::of(&partitions))
    }

    /// The first offset of each partition that is not late; none where all offsets are.
    fn late_ends(
        &self,
        mut times: TopicPartitionList,
        max_age: Duration,
    ) -> Result<BTreeMap<i32, i64>, ServerError> {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = gauge(since_1970.saturating_sub(max_age).as_millis());
        let set = times.set_all_offsets(Offset::Offset(time_ms));
        set.map_err(|error| server_error(&error))?;
        let found = self.0.consumer.offsets_for_times(times, REQUEST_TIMEOUT);
        let mut ends = BTreeMap::new();
        for found in found.map_err(|error| server_error(&error))?.elements() {
            found.error().map_err(|error| server_error(&error))?;
            ends.extend(position(found.offset()).map(|end| (found.partition(), end)));
        }
        Ok(ends)
    }
}
