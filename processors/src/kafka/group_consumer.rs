//! The group's consumer: what it owns, where it starts, what it commits.
//!
//! Each assignment of a partition has an epoch. Records carry it, and a commit is
//! issued only while the epoch lasts (invariant 11): the gate is held by whoever
//! commits and by the rebalance, so that one waits for the other.

use broker::{Brokers, QuietContext, ServerError, server_error};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use crate::flow::block::{Block, Header, Limits};
use crate::flow::start_policy;
use crate::flow::start_policy::Reason;
use crate::kafka::CLIENT_ID;
use crate::run::source::{Log, Notice, Positions};
use service::lock::lock;

/// Bounds a question during a rebalance; several together stay below the session timeout.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// How often, and after what time, it is asked again for a partition that has no leader just then.
const ELECTION_PAUSES: u32 = 20;
const ELECTION_PAUSE: Duration = Duration::from_millis(250);

/// What is fetched ahead counts against the memory (one answer goes beyond it); when that is full,
/// fetching stops for a second by default, in which a backlog stands still.
const FETCH_AHEAD: &[(&str, &str)] = &[
    ("queued.max.messages.kbytes", "8192"),
    ("fetch.message.max.bytes", "262144"),
    ("fetch.queue.backoff.ms", "5"),
];

/// How a member joins its group.
#[derive(Debug, Clone)]
pub struct Group {
    /// The group.
    pub name: String,
    /// The protocol of the group.
    pub protocol: Protocol,
    /// A name of the member's own that outlives its process, so that a restart within the session
    /// moves no partition.
    pub instance: Option<String>,
}

/// How partitions are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// By the members, cooperatively: every broker speaks it.
    Classic,
    /// By the broker (KIP-848): Kafka 4 and later.
    Consumer,
}

/// A member of the group, reading one topic.
pub struct Consumer {
    inner: StreamConsumer<Ownership>,
    topic: String,
    /// Held while records are read, and while reading is put elsewhere: no record of the new place
    /// may come under the old epoch, or the other way round.
    reading: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Ownership {
    /// Held while a commit is under way and while an assignment ends.
    gate: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    epoch: u64,
    epochs: BTreeMap<i32, u64>,
    /// Where reading of them began.
    starts: BTreeMap<i32, i64>,
    /// Partitions that the group wants back and that were not released yet.
    leaving: BTreeSet<i32>,
    /// The driver is gone: nobody would release anything.
    closing: bool,
    /// As the library told last.
    lag: BTreeMap<i32, u64>,
    notices: Vec<Notice>,
    failed: Option<ServerError>,
}

impl Consumer {
    /// Joins `group` and subscribes to `topic`.
    ///
    /// # Errors
    /// Fatal for a property that cannot be; a broker that is away shows while reading.
    pub fn join(brokers: &Brokers, group: &Group, topic: &str) -> Result<Self, ServerError> {
        let mut ours = vec![
            ("group.id", group.name.as_str()),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_committed"),
            ("statistics.interval.ms", "500"),
        ];
        ours.push(match group.protocol {
            Protocol::Classic => ("partition.assignment.strategy", "cooperative-sticky"),
            Protocol::Consumer => ("group.protocol", "consumer"),
        });
        ours.extend(group.instance.as_deref().map(|instance| ("group.instance.id", instance)));
        let config = brokers.config(CLIENT_ID, FETCH_AHEAD, &ours)?;
        let inner: StreamConsumer<Ownership> = config
            .create_with_context(Ownership::default())
            .map_err(|error| server_error(&error))?;
        inner.subscribe(&[topic]).map_err(|error| server_error(&error))?;
        Ok(Self { inner, topic: topic.to_owned(), reading: tokio::sync::Mutex::default() })
    }

    fn push(&self, message: &BorrowedMessage<'_>, block: &mut Block) {
        let partition = message.partition();
        let state = lock(&self.inner.context().state);
        // Whoever gets the partition reads it.
        if state.leaving.contains(&partition) {
            return;
        }
        // A partition that is not ours has no epoch; what is read of it is never committed.
        let epoch = state.epochs.get(&partition).copied();
        drop(state);
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        block.push(
            (partition, message.offset(), epoch.unwrap_or_default()),
            message.timestamp().to_millis().unwrap_or_default(),
            (message.key(), message.payload()),
            headers.map(|header| Header { name: header.key, value: header.value }),
        );
    }

    fn commit_now(&self, positions: &Positions) -> Result<(), ServerError> {
        let ownership = self.inner.context();
        let gate = lock(&ownership.gate);
        let epochs = lock(&ownership.state).epochs.clone();
        let lasting = |partition: &i32, epoch: u64| epochs.get(partition) == Some(&epoch);
        let offsets = self.list(
            positions
                .iter()
                .filter(|(partition, (epoch, _))| lasting(partition, *epoch))
                .map(|(partition, (_, position))| (*partition, Offset::Offset(*position))),
        )?;
        if offsets.count() == 0 {
            return Ok(());
        }
        let committed = self.inner.commit(&offsets, CommitMode::Sync);
        drop(gate);
        committed.map_err(|error| server_error(&error))
    }

    fn committed_now(&self) -> Result<Positions, ServerError> {
        let epochs = lock(&self.inner.context().state).epochs.clone();
        let offsets = self.list(epochs.keys().map(|partition| (*partition, Offset::Invalid)))?;
        let found = self.inner.committed_offsets(offsets, ASK_TIMEOUT);
        let found = found.map_err(|error| server_error(&error))?;
        let positions = found.elements().into_iter().filter_map(|element| {
            let epoch = epochs.get(&element.partition())?;
            Some((element.partition(), (*epoch, held(element.offset())?)))
        });
        Ok(positions.collect())
    }

    fn read_from_now(&self, partition: i32, position: i64) -> Result<(), ServerError> {
        let bounds = self.inner.fetch_watermarks(&self.topic, partition, ASK_TIMEOUT);
        let (low, high) = bounds.map_err(|error| server_error(&error))?;
        let start = start_policy::start(Some(position), low, high);
        let reason = match start.reason {
            Reason::Resumed | Reason::FirstRead | Reason::Moved => Reason::Moved,
            lost @ (Reason::Expired { .. } | Reason::BeyondEnd) => lost,
        };
        let start = start_policy::Start { reason, ..start };
        let offset = Offset::Offset(start.position);
        // The assignment may have ended since, and does not end from here on.
        let _reading = self.reading.blocking_lock();
        let ownership = self.inner.context();
        let _gate = lock(&ownership.gate);
        if !lock(&ownership.state).epochs.contains_key(&partition) {
            return Ok(());
        }
        if self.inner.seek(&self.topic, partition, offset, ASK_TIMEOUT).is_err() {
            // A partition whose position was lost is not fetched any more, and cannot be sought.
            let list = self.list(std::iter::once((partition, offset)))?;
            let anew = self.inner.incremental_unassign(&list);
            let anew = anew.and_then(|()| self.inner.incremental_assign(&list));
            anew.map_err(|error| server_error(&error))?;
        }
        lock(&ownership.state).begin([(partition, start, Some(position))]);
        Ok(())
    }

    fn realign_now(&self) -> Result<(), ServerError> {
        let positions = self.inner.position().map_err(|error| server_error(&error))?;
        let starts = lock(&self.inner.context().state).starts.clone();
        for (partition, start) in starts {
            let read = positions.find_partition(&self.topic, partition);
            let position = read.and_then(|element| held(element.offset())).unwrap_or(start);
            let bounds = self.inner.fetch_watermarks(&self.topic, partition, ASK_TIMEOUT);
            let (low, high) = bounds.map_err(|error| server_error(&error))?;
            if !(low..=high).contains(&position) {
                self.read_from_now(partition, position)?;
            }
        }
        Ok(())
    }

    fn list(
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

impl Log for Consumer {
    async fn fill(&self, block: &mut Block, limits: Limits) -> Result<(), ServerError> {
        let _reading = self.reading.lock().await;
        let mut message = self.inner.recv().await;
        loop {
            self.push(&message.map_err(|error| server_error(&error))?, block);
            if block.is_full(limits) {
                return Ok(());
            }
            match self.inner.recv().now_or_never() {
                Some(next) => message = next,
                None => return Ok(()),
            }
        }
    }

    /// # Errors
    /// An assignment that could not be taken up. The member then owns what it does not read, so
    /// it has to end: another one, or the same one started again, takes its place.
    fn notices(&self) -> Result<Vec<Notice>, ServerError> {
        let mut state = lock(&self.inner.context().state);
        match state.failed.take() {
            Some(failed) => Err(failed),
            None => Ok(std::mem::take(&mut state.notices)),
        }
    }

    fn release(&self, partitions: &[i32]) -> Result<(), ServerError> {
        let ownership = self.inner.context();
        let left: BTreeSet<i32> = {
            let state = lock(&ownership.state);
            partitions.iter().copied().filter(|own| state.leaving.contains(own)).collect()
        };
        if left.is_empty() {
            return Ok(());
        }
        ownership.forget(&left);
        let list = self.list(left.into_iter().map(|partition| (partition, Offset::Invalid)))?;
        self.inner.incremental_unassign(&list).map_err(|error| server_error(&error))
    }

    /// Waits up to the session timeout when the coordinator is away.
    async fn commit(self: Arc<Self>, positions: Positions) -> Result<(), ServerError> {
        blocking(move || self.commit_now(&positions)).await
    }

    async fn committed(self: Arc<Self>) -> Result<Positions, ServerError> {
        blocking(move || self.committed_now()).await
    }

    async fn read_from(self: Arc<Self>, partition: i32, position: i64) -> Result<(), ServerError> {
        blocking(move || self.read_from_now(partition, position)).await
    }

    async fn realign(self: Arc<Self>) -> Result<(), ServerError> {
        blocking(move || self.realign_now()).await
    }

    fn pause(&self) -> Result<(), ServerError> {
        let all = self.inner.assignment().map_err(|error| server_error(&error))?;
        self.inner.pause(&all).map_err(|error| server_error(&error))
    }

    fn resume(&self) -> Result<(), ServerError> {
        let all = self.inner.assignment().map_err(|error| server_error(&error))?;
        self.inner.resume(&all).map_err(|error| server_error(&error))
    }

    fn lag(&self) -> BTreeMap<i32, u64> {
        let state = lock(&self.inner.context().state);
        let lag = |partition| state.lag.get(partition).copied().unwrap_or(0);
        state.epochs.keys().map(|partition| (*partition, lag(partition))).collect()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // Leaving the group asks for all partitions back, and waits until they are released.
        let leaving: Vec<i32> = {
            let mut state = lock(&self.inner.context().state);
            state.closing = true;
            state.leaving.iter().copied().collect()
        };
        if let Err(error) = self.release(&leaving) {
            tracing::debug!(%error, "leaving the group");
        }
    }
}

async fn blocking<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    let answer = tokio::task::spawn_blocking(question).await;
    answer.map_err(|panicked| ServerError::fatal("task_panicked", panicked))?
}

impl ClientContext for Ownership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        QuietContext.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        QuietContext.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let mut state = lock(&self.state);
        for (partition, told) in statistics.topics.into_values().flat_map(|topic| topic.partitions)
        {
            if let Ok(lag) = u64::try_from(told.consumer_lag) {
                state.lag.insert(partition, lag);
            }
        }
    }
}

impl ConsumerContext for Ownership {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum of all errors there are")]
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        error: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let outcome = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.assign(consumer, partitions)
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS
                if self.asks(consumer, partitions) =>
            {
                Ok(())
            }
            // Lost, for whatever reason: what was ours is not any more.
            _ => self.end(consumer, partitions),
        };
        if let Err(error) = outcome {
            lock(&self.state).failed = Some(error);
        }
    }
}

impl Ownership {
    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> Result<(), ServerError> {
        let mut starts = starts(consumer, partitions);
        let mut pauses = 0..ELECTION_PAUSES;
        while starts.as_ref().is_err_and(is_electing) && pauses.next().is_some() {
            std::thread::sleep(ELECTION_PAUSE);
            starts = self::starts(consumer, partitions);
        }
        let starts = starts.map_err(|error| server_error(&error))?;
        let mut assignment = TopicPartitionList::new();
        for (topic, (partition, start, _)) in &starts {
            assignment
                .add_partition_offset(topic, *partition, Offset::Offset(start.position))
                .map_err(|error| server_error(&error))?;
        }
        lock(&self.state).begin(starts.into_iter().map(|(_, begin)| begin));
        consumer.incremental_assign(&assignment).map_err(|error| server_error(&error))?;
        // The library remembers that a partition was paused when it was ours before, and would
        // never fetch it again.
        consumer.resume(&assignment).map_err(|error| server_error(&error))
    }

    /// Lets the driver finish what was read of partitions that the group wants back, unless they
    /// are lost already; true if it is to release them.
    fn asks(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> bool {
        let mut state = lock(&self.state);
        if state.closing || consumer.assignment_lost() {
            return false;
        }
        let partitions = numbers(partitions);
        state.leaving.extend(&partitions);
        state.notices.push(Notice::Asked { partitions: partitions.into_iter().collect() });
        true
    }

    fn end(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> Result<(), ServerError> {
        self.forget(&numbers(partitions));
        consumer.incremental_unassign(partitions).map_err(|error| server_error(&error))
    }

    /// Ends assignments, after any commit that is under way.
    fn forget(&self, partitions: &BTreeSet<i32>) {
        let gate = lock(&self.gate);
        let mut state = lock(&self.state);
        for &partition in partitions {
            state.epochs.remove(&partition);
            state.starts.remove(&partition);
            state.leaving.remove(&partition);
            state.notices.push(Notice::Ended { partition });
        }
        drop(state);
        drop(gate);
    }
}

fn numbers(partitions: &TopicPartitionList) -> BTreeSet<i32> {
    partitions.elements().iter().map(|element| element.partition()).collect()
}

impl State {
    fn begin(&mut self, starts: impl IntoIterator<Item = Begin>) {
        self.epoch += 1;
        let epoch = self.epoch;
        for (partition, start, committed) in starts {
            self.epochs.insert(partition, epoch);
            self.lag.remove(&partition);
            self.starts.insert(partition, start.position);
            self.notices.push(Notice::Assigned { partition, epoch, start, committed });
        }
    }
}

/// A partition, where it is to be read from, and what the broker holds for it.
type Begin = (i32, start_policy::Start, Option<i64>);

/// Where each partition is to be read from, by [`start_policy::start`].
fn starts(
    consumer: &BaseConsumer<Ownership>,
    partitions: &TopicPartitionList,
) -> KafkaResult<Vec<(String, Begin)>> {
    let committed = consumer.committed_offsets(partitions.clone(), ASK_TIMEOUT)?;
    let mut starts = Vec::new();
    for element in committed.elements() {
        element.error()?;
        let (topic, partition) = (element.topic().to_owned(), element.partition());
        let (low, high) = consumer.fetch_watermarks(&topic, partition, ASK_TIMEOUT)?;
        let position = held(element.offset());
        starts.push((topic, (partition, start_policy::start(position, low, high), position)));
    }
    Ok(starts)
}

/// Whether brokers say, at once, that they have not agreed yet on who leads.
fn is_electing(error: &KafkaError) -> bool {
    const SIGNS: [RDKafkaErrorCode; 4] = [
        RDKafkaErrorCode::NotLeaderForPartition,
        RDKafkaErrorCode::LeaderNotAvailable,
        RDKafkaErrorCode::NotCoordinator,
        RDKafkaErrorCode::CoordinatorLoadInProgress,
    ];
    error.rdkafka_error_code().is_some_and(|code| SIGNS.contains(&code))
}

/// A committed position, where there is one.
fn held(offset: Offset) -> Option<i64> {
    match offset {
        Offset::Offset(position) => Some(position),
        Offset::Beginning
        | Offset::End
        | Offset::Stored
        | Offset::Invalid
        | Offset::OffsetTail(_) => None,
    }
}
