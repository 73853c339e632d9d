//! The broker's state through one long-lived client: each request has a deadline, and an unreachable
//! broker is an error, not a panic.

use std::cell::{Cell, Ref, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use schemas::headers;

use super::expected_clicks::{ExpectedClicks, LogLocation};
use crate::world::World;

const WAIT: Duration = Duration::from_secs(5);
const PROBE: Duration = Duration::from_millis(700);

/// The log and the group of one world.
pub(super) struct Broker {
    config: ClientConfig,
    client: RefCell<BaseConsumer>,
    /// The generation of the topic and its number of partitions when the client was created.
    knows: Cell<(usize, i32)>,
    topic: String,
    expected_clicks: Arc<ExpectedClicks>,
}

impl Broker {
    pub(super) fn of(world: &World, expected_clicks: &Arc<ExpectedClicks>) -> Self {
        let mut config = client(world);
        config.set("group.id", &world.group);
        let client = config.create().expect("a consumer can be made");
        Self {
            config,
            client: RefCell::new(client),
            knows: Cell::new(key(expected_clicks)),
            topic: world.topic.clone(),
            expected_clicks: Arc::clone(expected_clicks),
        }
    }

    fn partitions(&self) -> i32 {
        self.expected_clicks.lock().partitions()
    }

    /// A client with outdated metadata of a topic takes minutes to refresh it.
    fn client(&self) -> Ref<'_, BaseConsumer> {
        let key = key(&self.expected_clicks);
        if self.knows.replace(key) != key {
            let client = self.config.create().expect("a consumer can be made");
            self.client.replace(client);
        }
        self.client.borrow()
    }

    /// The committed position of each partition; 0 without one.
    ///
    /// # Errors
    /// The broker is unreachable.
    pub(super) fn committed(&self) -> KafkaResult<Vec<i64>> {
        let (mut asked, partitions) = (TopicPartitionList::new(), self.partitions());
        for partition in 0..partitions {
            asked.add_partition(&self.topic, partition);
        }
        let answer = self.client().committed_offsets(asked, WAIT)?;
        let mut positions = vec![0; partitions.unsigned_abs() as usize];
        for element in answer.elements() {
            element.error()?;
            if let Offset::Offset(position) = element.offset() {
                positions[element.partition().unsigned_abs() as usize] = position;
            }
        }
        Ok(positions)
    }

    /// The position after the last record of each partition.
    ///
    /// # Errors
    /// The broker is unreachable.
    pub(super) fn ends(&self) -> KafkaResult<Vec<i64>> {
        Ok(self.bounds()?.into_values().map(|(_, end)| end).collect())
    }

    /// The first offset of each partition, and the position after the last.
    ///
    /// # Errors
    /// The broker is unreachable.
    pub(super) fn bounds(&self) -> KafkaResult<BTreeMap<i32, (i64, i64)>> {
        let bounds = |partition| self.client().fetch_watermarks(&self.topic, partition, WAIT);
        (0..self.partitions()).map(|partition| Ok((partition, bounds(partition)?))).collect()
    }

    /// The number of records that the group has not committed. A position beyond the end, from a deleted
    /// topic, counts, too.
    ///
    /// # Errors
    /// The broker is unreachable.
    pub(super) fn lag(&self) -> KafkaResult<i64> {
        let committed = self.committed()?;
        Ok(self.ends()?.iter().zip(committed).map(|(end, position)| (end - position).abs()).sum())
    }

    /// Whether the topic does not exist now.
    pub(super) fn is_topic_gone(&self) -> bool {
        let metadata = self.client().fetch_metadata(None, WAIT);
        metadata.is_ok_and(|all| all.topics().iter().all(|topic| topic.name() != self.topic))
    }

    /// Commits positions as a client that is no member.
    ///
    /// # Errors
    /// The group has members, or the broker is unreachable.
    pub(super) fn commit(&self, positions: &[(i32, i64)]) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for (partition, position) in positions {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*position))?;
        }
        self.client().commit(&list, CommitMode::Sync)
    }

    /// Whether the broker answers at all, now.
    pub(super) fn answers(&self) -> bool {
        self.client().fetch_metadata(Some(&self.topic), PROBE).is_ok()
    }
}

/// A reader of the dead letters that remembers their records.
pub(super) struct DeadLetters {
    client: BaseConsumer,
    topic: String,
    next: Vec<i64>,
    expected_clicks: Arc<ExpectedClicks>,
    /// The locations of all records in the dead letters.
    pub locations: HashSet<LogLocation>,
}

impl DeadLetters {
    pub(super) fn of(world: &World, expected_clicks: &Arc<ExpectedClicks>) -> Self {
        let topic = world.dead_letters();
        let client: BaseConsumer = client(world)
            .set("group.id", "clicktrail-chaos-reader")
            .create()
            .expect("a consumer can be made");
        let metadata = client.fetch_metadata(Some(&topic), WAIT).expect("the broker answers");
        let partitions = metadata.topics()[0].partitions().len();
        let mut all = TopicPartitionList::new();
        for partition in (0..).take(partitions) {
            all.add_partition_offset(&topic, partition, Offset::Beginning).expect("an offset");
        }
        client.assign(&all).expect("an assignment");
        let expected_clicks = Arc::clone(expected_clicks);
        Self {
            client,
            topic,
            next: vec![0; partitions],
            expected_clicks,
            locations: HashSet::new(),
        }
    }

    /// Reads to the current end.
    ///
    /// # Errors
    /// The broker is unreachable, or the end was not reached in time.
    pub(super) fn read(&mut self) -> Result<(), String> {
        let mut ends = Vec::new();
        for partition in (0..).take(self.next.len()) {
            ends.push(self.end(partition)?);
        }
        let began = Instant::now();
        while self.next.iter().zip(&ends).any(|(next, end)| next < end) {
            if began.elapsed() > 2 * WAIT {
                return Err("the dead letters could not be read to their end".to_owned());
            }
            let Some(Ok(message)) = self.client.poll(PROBE) else { continue };
            self.next[message.partition().unsigned_abs() as usize] = message.offset() + 1;
            let expected_state = self.expected_clicks.lock();
            let location = origin(&message).map(|(partition, offset, logged_at_ms)| {
                (expected_state.topic_at(logged_at_ms), partition, offset)
            });
            self.locations.extend(location);
        }
        Ok(())
    }

    /// The end of a partition. A client may report an unknown topic long after a restart of the broker;
    /// the request is then repeated.
    fn end(&self, partition: i32) -> Result<i64, String> {
        let began = Instant::now();
        loop {
            let error = match self.client.fetch_watermarks(&self.topic, partition, WAIT) {
                Ok((_, high)) => return Ok(high),
                Err(error) if began.elapsed() > 2 * WAIT => return Err(error.to_string()),
                Err(error) => error,
            };
            if self.client.fetch_metadata(Some(&self.topic), WAIT).is_err() {
                return Err(error.to_string());
            }
            std::thread::sleep(PROBE);
        }
    }
}

/// The location of the record, and its log time.
fn origin(message: &BorrowedMessage<'_>) -> Option<(i32, i64, i64)> {
    let number = |name: &str| -> Option<i64> {
        let found = message.headers()?.iter().find(|header| header.key == name)?;
        std::str::from_utf8(found.value?).ok()?.parse().ok()
    };
    let partition = number(headers::CONNECT_PARTITION)?;
    let (offset, logged_at_ms) =
        (number(headers::CONNECT_OFFSET)?, number(headers::DEAD_LETTER_LOG_TIME)?);
    Some((i32::try_from(partition).ok()?, offset, logged_at_ms))
}

fn key(expected_clicks: &ExpectedClicks) -> (usize, i32) {
    let expected_state = expected_clicks.lock();
    (expected_state.topic(), expected_state.partitions())
}

fn client(world: &World) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &world.backends.kafka).set("enable.auto.commit", "false");
    config.set("auto.offset.reset", "earliest").set("reconnect.backoff.max.ms", "1000");
    config.set("log_level", "0");
    config
}
