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
use crate::flow::{self, Batch, Header, Limits, Reason, Span};

/// Bounds a question to the broker during a rebalance; several together stay below the session
/// timeout.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Something that an operator wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A partition is ours from a position on.
    Assigned {
        /// Which.
        partition: i32,
        /// Where reading starts.
        start: flow::Start,
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

    /// Partitions that are ours now.
    pub fn assigned(&self) -> usize {
        lock(&self.inner.context().state).epochs.len()
    }

    /// Commits those of `spans` whose assignment still lasts, and waits for the broker's answer.
    /// Blocks the thread, up to the session timeout when the coordinator is away.
    ///
    /// # Errors
    /// Nothing may have been committed; it may be repeated with the same spans.
    pub fn commit(&self, spans: &BTreeMap<i32, Span>) -> Result<(), ServerError> {
        let ownership = self.inner.context();
        let gate = lock(&ownership.gate);
        let mut offsets = TopicPartitionList::new();
        let epochs = lock(&ownership.state).epochs.clone();
        for (partition, span) in spans {
            if epochs.get(partition) == Some(&span.epoch) {
                let position = Offset::Offset(span.next);
                offsets
                    .add_partition_offset(&self.topic, *partition, position)
                    .map_err(|error| server_error(&error))?;
            }
        }
        if offsets.count() == 0 {
            return Ok(());
        }
        let committed = self.inner.commit(&offsets, CommitMode::Sync);
        drop(gate);
        committed.map_err(|error| server_error(&error))
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
        {
            let mut state = lock(&self.state);
            state.epoch += 1;
            let epoch = state.epoch;
            for (topic, partition, start) in starts {
                let position = Offset::Offset(start.position);
                assignment
                    .add_partition_offset(&topic, partition, position)
                    .map_err(|error| server_error(&error))?;
                state.epochs.insert(partition, epoch);
                state.notices.push(Notice::Assigned { partition, start });
            }
        }
        consumer.incremental_assign(&assignment).map_err(|error| server_error(&error))
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

/// Where each partition is to be read from, by [`flow::start`].
fn starts(
    consumer: &BaseConsumer<Ownership>,
    partitions: &TopicPartitionList,
) -> KafkaResult<Vec<(String, i32, flow::Start)>> {
    let committed = consumer.committed_offsets(partitions.clone(), ASK_TIMEOUT)?;
    let mut starts = Vec::new();
    for element in committed.elements() {
        element.error()?;
        let (topic, partition) = (element.topic().to_owned(), element.partition());
        let (low, high) = consumer.fetch_watermarks(&topic, partition, ASK_TIMEOUT)?;
        let position = match element.offset() {
            Offset::Offset(position) => Some(position),
            Offset::Beginning
            | Offset::End
            | Offset::Stored
            | Offset::Invalid
            | Offset::OffsetTail(_) => None,
        };
        starts.push((topic, partition, flow::start(position, low, high)));
    }
    Ok(starts)
}

impl Notice {
    /// Offsets that retention took before they were read.
    pub fn lost(self) -> i64 {
        match self {
            Self::Assigned { start, .. } => match start.reason {
                Reason::Expired { lost } => lost,
                Reason::FirstRead | Reason::Resumed | Reason::BeyondEnd => 0,
            },
            Self::Ended { .. } => 0,
        }
    }
}
