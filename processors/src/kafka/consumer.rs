//! The group's consumer: what it owns, where it starts, what it commits.
//!
//! Each assignment of a partition has an epoch. Records carry it, and a commit is
//! issued only while the epoch lasts (invariant 11): the gate is held by whoever
//! commits and by the rebalance, so that one waits for the other.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::{Brokers, Quiet, server_error};
use crate::error::ServerError;
use crate::flow::{self, Batch, Header, Limits, Reason};

/// Bounds a question to the broker during a rebalance; several together stay below the session
/// timeout.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Positions by partition, each with the epoch of the assignment that it belongs to.
pub type Positions = BTreeMap<i32, (u64, i64)>;

/// Something that happened to the assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A partition is ours from a position on.
    Assigned {
        /// Which.
        partition: i32,
        /// Of the assignment.
        epoch: u64,
        /// Where reading starts.
        start: flow::Start,
        /// What the broker holds as committed.
        committed: Option<i64>,
    },
    /// A partition is no longer ours.
    Ended {
        /// Which.
        partition: i32,
    },
}

/// A member of the group, reading one topic.
pub struct Consumer {
    inner: StreamConsumer<Ownership>,
    topic: String,
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
    notices: Vec<Notice>,
    failed: Option<ServerError>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Consumer {
    /// Joins `group` and subscribes to `topic`.
    ///
    /// # Errors
    /// Fatal for a property that cannot be; a broker that is away shows while reading.
    pub fn join(brokers: &Brokers, group: &str, topic: &str) -> Result<Self, ServerError> {
        let config = brokers.client(&[
            ("group.id", group),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_committed"),
        ]);
        let inner: StreamConsumer<Ownership> = config
            .create_with_context(Ownership::default())
            .map_err(|error| server_error(&error))?;
        inner.subscribe(&[topic]).map_err(|error| server_error(&error))?;
        Ok(Self { inner, topic: topic.to_owned() })
    }

    /// Waits for a record, then takes what is there without waiting, until `limits`. May be
    /// dropped at any time without losing a record. It also keeps the membership alive: it must
    /// be called again within `max.poll.interval.ms`, if only with all partitions paused.
    ///
    /// # Errors
    /// Retryable errors are to be called again after; a fatal one ends the membership.
    pub async fn fill(&self, batch: &mut Batch, limits: Limits) -> Result<(), ServerError> {
        let mut message = self.inner.recv().await;
        loop {
            self.push(&message.map_err(|error| server_error(&error))?, batch);
            if batch.is_full(limits) {
                return Ok(());
            }
            match self.inner.recv().now_or_never() {
                Some(next) => message = next,
                None => return Ok(()),
            }
        }
    }

    fn push(&self, message: &BorrowedMessage<'_>, batch: &mut Batch) {
        let partition = message.partition();
        // A partition that is not ours has no epoch; what is read of it is never committed.
        let epoch = lock(&self.inner.context().state).epochs.get(&partition).copied();
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        batch.push(
            (partition, message.offset(), epoch.unwrap_or_default()),
            message.timestamp().to_millis().unwrap_or_default(),
            (message.key(), message.payload()),
            headers.map(|header| Header { name: header.key, value: header.value }),
        );
    }

    /// What happened to the assignment since the last call.
    ///
    /// # Errors
    /// An assignment that could not be taken up. The member then owns what it does not read, so
    /// it has to end: another one, or the same one started again, takes its place.
    pub fn notices(&self) -> Result<Vec<Notice>, ServerError> {
        let mut state = lock(&self.inner.context().state);
        match state.failed.take() {
            Some(failed) => Err(failed),
            None => Ok(std::mem::take(&mut state.notices)),
        }
    }

    /// Commits those of `positions` whose assignment still lasts, and waits for the broker's
    /// answer. Blocks the thread, up to the session timeout when the coordinator is away.
    ///
    /// # Errors
    /// They may stand or not; it may be repeated with the same positions.
    pub fn commit(&self, positions: &Positions) -> Result<(), ServerError> {
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

    /// What the broker holds as committed for the partitions that are ours. Blocks.
    ///
    /// # Errors
    /// The broker is away.
    pub fn committed(&self) -> Result<Positions, ServerError> {
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

    /// Reads on from `position` under a new epoch, which a notice tells. Blocks for a moment.
    ///
    /// # Errors
    /// The broker is away. The partition then stands still until it is assigned anew.
    pub fn read_from(&self, partition: i32, position: i64) -> Result<(), ServerError> {
        let bounds = self.inner.fetch_watermarks(&self.topic, partition, ASK_TIMEOUT);
        let (low, high) = bounds.map_err(|error| server_error(&error))?;
        let start = flow::start(Some(position), low, high);
        let reason = match start.reason {
            Reason::Resumed | Reason::FirstRead | Reason::Moved => Reason::Moved,
            lost @ (Reason::Expired { .. } | Reason::BeyondEnd) => lost,
        };
        let start = flow::Start { reason, ..start };
        let offset = Offset::Offset(start.position);
        self.inner
            .seek(&self.topic, partition, offset, ASK_TIMEOUT)
            .map_err(|error| server_error(&error))?;
        lock(&self.inner.context().state).begin([(partition, start, Some(position))]);
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

    /// Stops fetching; records that were fetched and not yet handed out are fetched again later.
    ///
    /// # Errors
    /// As the library says.
    pub fn pause(&self) -> Result<(), ServerError> {
        let all = self.inner.assignment().map_err(|error| server_error(&error))?;
        self.inner.pause(&all).map_err(|error| server_error(&error))
    }

    /// Fetches again.
    ///
    /// # Errors
    /// As the library says.
    pub fn resume(&self) -> Result<(), ServerError> {
        let all = self.inner.assignment().map_err(|error| server_error(&error))?;
        self.inner.resume(&all).map_err(|error| server_error(&error))
    }
}

impl ClientContext for Ownership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Quiet.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Quiet.error(error, reason);
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
            // Revoked, or lost for any other reason: what was ours is not any more.
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
        let starts = starts(consumer, partitions).map_err(|error| server_error(&error))?;
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

    fn end(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> Result<(), ServerError> {
        let gate = lock(&self.gate);
        {
            let mut state = lock(&self.state);
            for element in partitions.elements() {
                let partition = element.partition();
                state.epochs.remove(&partition);
                state.notices.push(Notice::Ended { partition });
            }
        }
        drop(gate);
        consumer.incremental_unassign(partitions).map_err(|error| server_error(&error))
    }
}

impl State {
    fn begin(&mut self, starts: impl IntoIterator<Item = Begin>) {
        self.epoch += 1;
        let epoch = self.epoch;
        for (partition, start, committed) in starts {
            self.epochs.insert(partition, epoch);
            self.notices.push(Notice::Assigned { partition, epoch, start, committed });
        }
    }
}

/// A partition, where it is to be read from, and what the broker holds for it.
type Begin = (i32, flow::Start, Option<i64>);

/// Where each partition is to be read from, by [`flow::start`].
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
        starts.push((topic, (partition, flow::start(position, low, high), position)));
    }
    Ok(starts)
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
