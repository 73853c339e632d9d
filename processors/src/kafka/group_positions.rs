//! The committed positions of a group, read and written by a client that is no member of it.
//!
//! The brokers take a commit from such a client only while the group has no member.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::{Brokers, QuietContext, ServerError, server_error};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::client_id::CLIENT_ID;
use crate::kafka::log_bounds::position;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of one group and one topic. Every method blocks.
pub struct GroupPositions {
    pub(super) consumer: BaseConsumer<QuietContext>,
    pub(super) topic: String,
}

impl std::fmt::Debug for GroupPositions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupPositions").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl GroupPositions {
    /// Starts the client. Sends no request.
    ///
    /// # Errors
    /// A property that is refused.
    pub fn open(brokers: &Brokers, group: &str, topic: &str) -> Result<Self, ServerError> {
        let config = brokers.consumer_config(
            CLIENT_ID,
            &[],
            &[
                ("group.id", group),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
            ],
        )?;
        let consumer = config.create_with_context(QuietContext);
        let consumer = consumer.map_err(|error| server_error(&error))?;
        Ok(Self { consumer, topic: topic.to_owned() })
    }

    /// The committed positions of those of `partitions` that have one.
    ///
    /// # Errors
    /// The coordinator of the group does not answer.
    pub fn committed(
        &self,
        partitions: impl IntoIterator<Item = i32>,
    ) -> Result<BTreeMap<i32, i64>, ServerError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, partition);
        }
        let found = self.consumer.committed_offsets(list, REQUEST_TIMEOUT);
        let found = found.map_err(|error| server_error(&error))?;
        let mut positions = BTreeMap::new();
        for element in found.elements() {
            element.error().map_err(|error| server_error(&error))?;
            positions.extend(position(element.offset()).map(|it| (element.partition(), it)));
        }
        Ok(positions)
    }

    /// Commits positions.
    ///
    /// # Errors
    /// The group has a member, or the coordinator does not answer.
    pub fn commit(&self, positions: &BTreeMap<i32, i64>) -> Result<(), ServerError> {
        if positions.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for (partition, position) in positions {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*position))
                .map_err(|error| server_error(&error))?;
        }
        self.consumer.commit(&list, CommitMode::Sync).map_err(|error| server_error(&error))
    }
}
