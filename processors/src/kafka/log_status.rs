//! The state of the topics and of the live group, for `processors status`. Every method blocks.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::{Brokers, QuietContext, ServerError, server_error};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::client_id::CLIENT_ID;
use crate::kafka::log_bounds::{LogBounds, known_bounds, position};
use crate::status::facts::{GroupRates, GroupState, TopicState};

/// One wait for records.
const POLL: Duration = Duration::from_millis(50);
/// Left after the oldest records were read, for the second sample.
const RESERVE: Duration = Duration::from_millis(300);
/// Bounds of what is fetched ahead, since one record of each partition is wanted, and of the time for which the
/// client of a broker that does not answer waits at its end.
const BOUNDS: [(&str, &str); 4] = [
    ("socket.timeout.ms", "2000"),
    ("queued.min.messages", "1"),
    ("queued.max.messages.kbytes", "1024"),
    ("fetch.wait.max.ms", "50"),
];

/// How much time is left for all requests.
type TimeLeft<'a> = &'a dyn Fn() -> Duration;

/// A client of the brokers that joins no group and commits no position.
pub struct LogStatus {
    consumer: BaseConsumer<QuietContext>,
    group: String,
    topic: String,
}

impl std::fmt::Debug for LogStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStatus").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// Positions at one moment.
struct GroupSample {
    bounds: LogBounds,
    committed: BTreeMap<i32, i64>,
}

impl GroupSample {
    /// The first record of each partition that the group has not committed.
    fn unread(&self) -> BTreeMap<i32, i64> {
        let next = |partition: &i32, low: i64| {
            self.committed.get(partition).map_or(low, |committed| *committed.max(&low))
        };
        let partitions = self
            .bounds
            .iter()
            .map(|(partition, (low, high))| (*partition, next(partition, *low).min(*high), *high));
        let unread = partitions.filter(|(_, next, high)| next < high);
        unread.map(|(partition, next, _)| (partition, next)).collect()
    }

    fn lag(&self) -> i64 {
        let high = |partition| self.bounds.get(&partition).map_or(0, |(_, high)| *high);
        self.unread().into_iter().map(|(partition, next)| high(partition) - next).sum()
    }

    /// Records that were appended and committed between this sample and a later one, of the partitions that
    /// both have.
    fn until(&self, later: &Self) -> GroupRates {
        let both = self.bounds.iter().filter_map(|(partition, (_, before))| {
            later.bounds.get(partition).map(|(_, after)| after - before)
        });
        let committed = self.committed.iter().filter_map(|(partition, before)| {
            later.committed.get(partition).map(|after| after - before)
        });
        GroupRates { appended: both.sum::<i64>().max(0), committed: committed.sum::<i64>().max(0) }
    }
}

impl LogStatus {
    /// Starts the client, for the positions of `group` in `topic`. Sends no request.
    ///
    /// # Errors
    /// A property that is refused.
    pub fn open(brokers: &Brokers, group: &str, topic: &str) -> Result<Self, ServerError> {
        let config = brokers.consumer_config(
            CLIENT_ID,
            &BOUNDS,
            &[
                ("group.id", group),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("auto.offset.reset", "error"),
                ("isolation.level", "read_committed"),
            ],
        )?;
        let consumer = config.create_with_context(QuietContext);
        let consumer = consumer.map_err(|error| server_error(&error))?;
        Ok(Self { consumer, group: group.to_owned(), topic: topic.to_owned() })
    }

    /// The number of brokers, and the state of each topic.
    ///
    /// # Errors
    /// No broker answers in time.
    pub fn topics(
        &self,
        names: &[String],
        left: TimeLeft<'_>,
    ) -> Result<(usize, Vec<TopicState>), ServerError> {
        let (mut brokers, mut topics) = (0, Vec::new());
        for name in names {
            let found = self.consumer.fetch_metadata(Some(name), left());
            let found = found.map_err(|error| server_error(&error))?;
            brokers = found.brokers().len();
            let mut topic = TopicState { name: name.clone(), ..TopicState::default() };
            for partition in found.topics().iter().flat_map(|found| found.partitions()) {
                topic.partitions += 1;
                topic.leaderless += usize::from(partition.leader() < 0);
                let in_sync = partition.isr().len();
                topic.underreplicated += usize::from(in_sync < partition.replicas().len());
            }
            topics.push(topic);
        }
        Ok((brokers, topics))
    }

    /// The state of the group, by two samples that are `apart`.
    ///
    /// # Errors
    /// The topic does not exist, or the brokers do not answer in time.
    pub fn group(&self, apart: Duration, left: TimeLeft<'_>) -> Result<GroupState, ServerError> {
        let partitions = self.partitions(left)?;
        let all = partitions.count();
        let begin = left();
        let first = self.sample(&partitions, left)?;
        let members = self.members(left);
        let oldest_unread_ms = self.oldest_ms(&first.unread(), left);
        // So much of `apart` the other requests took.
        let pause = apart.saturating_sub(begin.saturating_sub(left()));
        let rates = if pause + RESERVE < left() {
            std::thread::sleep(pause);
            self.sample(&partitions, left).ok().map(|last| first.until(&last))
        } else {
            None
        };
        Ok(GroupState {
            name: self.group.clone(),
            members,
            lag_records: first.lag(),
            unknown_partitions: all - first.bounds.len(),
            oldest_unread_ms,
            rates,
        })
    }

    fn partitions(&self, left: TimeLeft<'_>) -> Result<TopicPartitionList, ServerError> {
        let found = self.consumer.fetch_metadata(Some(&self.topic), left());
        let found = found.map_err(|error| server_error(&error))?;
        let mut list = TopicPartitionList::new();
        for partition in found.topics().iter().flat_map(|found| found.partitions()) {
            list.add_partition(&self.topic, partition.id());
        }
        if list.count() == 0 {
            let text = format!("there is no topic {}", self.topic);
            return Err(ServerError::fatal("kafka_topic_missing", text));
        }
        Ok(list)
    }

    fn sample(
        &self,
        partitions: &TopicPartitionList,
        left: TimeLeft<'_>,
    ) -> Result<GroupSample, ServerError> {
        let found = self.consumer.committed_offsets(partitions.clone(), left());
        let found = found.map_err(|error| server_error(&error))?;
        let mut committed = BTreeMap::new();
        for element in found.elements() {
            element.error().map_err(|error| server_error(&error))?;
            committed.extend(position(element.offset()).map(|it| (element.partition(), it)));
        }
        // Time is left for the other questions although a leader does not answer.
        let bounds = known_bounds(&self.consumer, partitions, left() / 3);
        let bounds = bounds.map_err(|error| server_error(&error))?;
        Ok(GroupSample { bounds, committed })
    }

    /// The number of members; `None` where the brokers do not name it: those of a group of the protocol
    /// `consumer` are not in this answer.
    fn members(&self, left: TimeLeft<'_>) -> Option<usize> {
        let groups = self.consumer.fetch_group_list(Some(&self.group), left() / 3).ok()?;
        match groups.groups().iter().find(|group| group.name() == self.group) {
            Some(group) if group.state() == "Dead" => None,
            Some(group) => Some(group.members().len()),
            None => Some(0),
        }
    }

    /// The earliest log time of these records, if the leaders send them in time.
    fn oldest_ms(&self, unread: &BTreeMap<i32, i64>, left: TimeLeft<'_>) -> Option<i64> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in unread {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset)).ok()?;
        }
        if list.count() == 0 {
            return None;
        }
        self.consumer.assign(&list).ok()?;
        let end = left() / 2;
        let mut times = BTreeMap::new();
        while times.len() < unread.len() && left() > end {
            if let Some(Ok(message)) = self.consumer.poll(POLL) {
                times.entry(message.partition()).or_insert(message.timestamp().to_millis());
            }
        }
        self.consumer.unassign().ok()?;
        times.into_values().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(bounds: &[(i32, i64, i64)], committed: &[(i32, i64)]) -> GroupSample {
        let bounds = bounds.iter().map(|(partition, low, high)| (*partition, (*low, *high)));
        GroupSample { bounds: bounds.collect(), committed: committed.iter().copied().collect() }
    }

    #[test]
    fn the_lag_begins_at_the_position_or_where_the_log_begins() {
        let own = sample(
            &[(0, 0, 10), (1, 5, 10), (2, 5, 10), (3, 0, 10), (4, 0, 0)],
            &[(0, 10), (1, 2), (3, 8), (7, 3)],
        );
        assert_eq!(own.unread(), BTreeMap::from([(1, 5), (2, 5), (3, 8)]));
        assert_eq!(own.lag(), 5 + 5 + 2);
    }

    #[test]
    fn rates_count_the_partitions_that_both_samples_have() {
        let first = sample(&[(0, 0, 10), (1, 0, 10)], &[(0, 4), (1, 4)]);
        let last = sample(&[(0, 0, 15), (2, 0, 90)], &[(0, 6), (2, 80)]);
        assert_eq!(first.until(&last), GroupRates { appended: 5, committed: 2 });
        assert_eq!(last.until(&first), GroupRates { appended: 0, committed: 0 });
    }
}
