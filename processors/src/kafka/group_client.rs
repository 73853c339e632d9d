//! The group's client: joins the group and subscribes to the topic.

use broker::{Brokers, STATISTICS_INTERVAL, ServerError, server_error};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::assignment::Assignment;
use crate::kafka::bounded_drop::{BoundedDrop, DROP_MAX};
use crate::kafka::client_id::CLIENT_ID;
use crate::kafka::group_settings::{GroupProtocol, GroupSettings};
use crate::kafka::read_limits::ReadLimits;

/// Bounds the memory of records that are fetched ahead (one response may exceed it). When it is full,
/// the library stops fetching for a second by default, in which a backlog does not shrink.
const FETCH_AHEAD: &[(&str, &str)] =
    &[("queued.max.messages.kbytes", "8192"), ("fetch.queue.backoff.ms", "5")];

/// A member of the group.
pub(super) struct GroupClient {
    /// Leaves the group when it is dropped.
    pub(super) consumer: BoundedDrop<StreamConsumer<Assignment>>,
    pub(super) topic: String,
    /// Held while records are read, and during a seek: no record of the new position may get the old
    /// epoch, and no earlier record the new one.
    pub(super) reading: tokio::sync::Mutex<()>,
}

impl GroupClient {
    /// Joins a group and subscribes to `topic`, of which it reads what is within `limits`.
    ///
    /// # Errors
    /// Fatal for a property that is refused; an unreachable broker is reported while reading.
    pub(super) fn join(
        brokers: &Brokers,
        group: &GroupSettings,
        topic: &str,
        limits: Option<ReadLimits>,
    ) -> Result<Self, ServerError> {
        let mut properties = vec![
            ("group.id", group.id.as_str()),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_committed"),
            STATISTICS_INTERVAL,
        ];
        properties.push(match group.protocol {
            GroupProtocol::Classic => ("partition.assignment.strategy", "cooperative-sticky"),
            GroupProtocol::Consumer => ("group.protocol", "consumer"),
        });
        // The end of a range may be the end of the log, and hold no record.
        properties.extend(limits.as_ref().map(|_| ("enable.partition.eof", "true")));
        properties.extend(group.instance_id.as_deref().map(|id| ("group.instance.id", id)));
        let config = brokers.consumer_config(CLIENT_ID, FETCH_AHEAD, &properties)?;
        let consumer: StreamConsumer<Assignment> = config
            .create_with_context(Assignment::within(limits))
            .map_err(|error| server_error(&error))?;
        consumer.subscribe(&[topic]).map_err(|error| server_error(&error))?;
        let consumer = BoundedDrop::new(consumer, DROP_MAX);
        Ok(Self { consumer, topic: topic.to_owned(), reading: tokio::sync::Mutex::default() })
    }

    /// The assignment, which the rebalance callback updates.
    pub(super) fn assignment(&self) -> &Assignment {
        self.consumer.context()
    }

    /// A list of partitions of the topic, in the library's type.
    pub(super) fn list(
        &self,
        offsets: impl Iterator<Item = (i32, Offset)>,
    ) -> Result<TopicPartitionList, ServerError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.topic, partition, offset)
                .map_err(|error| server_error(&error))?;
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_that_a_setting_of_the_group_sets_is_refused() {
        let settings = [GroupProtocol::Classic, GroupProtocol::Consumer].map(|protocol| {
            let instance_id = Some("one".to_owned());
            GroupSettings { id: "group".to_owned(), protocol, instance_id }
        });
        for key in [
            "enable.auto.commit",
            "group.id",
            "group.instance.id",
            "group.protocol",
            "partition.assignment.strategy",
        ] {
            let properties = vec![format!("{key}=two").parse().unwrap()];
            let brokers = Brokers { servers: "127.0.0.1:1".to_owned(), properties };
            for group in &settings {
                let error = GroupClient::join(&brokers, group, "log", None).err().unwrap();
                assert!(error.message.contains(key), "{error}");
            }
        }
    }
}
