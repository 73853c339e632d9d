//! The assignment: which partitions the group has assigned to this member, kept by the rebalance
//! callback. Here a partition is assigned, and here it is revoked.
//!
//! Each assignment of a partition has an epoch. Records carry it, and a commit is sent only while the
//! epoch lasts (invariant 11): a commit and the end of an assignment hold the same lock, so that one
//! waits for the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use broker::{QuietContext, ServerError, server_error};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use crate::flow::start_policy::{StartPosition, start_position};
use crate::run::source::Notice;
use service::lock::lock;

/// Bounds a request during a rebalance; several together stay below the session timeout.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How often, and after what time, a request is repeated while a partition has no leader.
const ELECTION_RETRIES: u32 = 20;
const ELECTION_PAUSE: Duration = Duration::from_millis(250);

/// What the group has assigned to this member.
#[derive(Default)]
pub(super) struct Assignment {
    /// Held during a commit and while an assignment ends.
    lasts: Mutex<()>,
    state: Mutex<AssignmentState>,
}

#[derive(Default)]
struct AssignmentState {
    epoch: u64,
    /// Of each assigned partition.
    epochs: BTreeMap<i32, u64>,
    /// The position from which each is read.
    starts: BTreeMap<i32, i64>,
    /// Partitions that the group revokes and that were not released yet.
    revoked: BTreeSet<i32>,
    /// The driver has ended and would release no partition.
    closing: bool,
    /// As the library last reported it.
    lag: BTreeMap<i32, u64>,
    notices: Vec<Notice>,
    failed: Option<ServerError>,
}

/// A partition, the position to read it from, and what the broker holds as committed.
pub(super) struct StartingPartition {
    pub(super) partition: i32,
    pub(super) start: StartPosition,
    pub(super) committed: Option<i64>,
}

impl Assignment {
    /// Keeps all assignments from ending as long as the guard lives.
    pub(super) fn hold(&self) -> MutexGuard<'_, ()> {
        lock(&self.lasts)
    }

    /// Epochs of the assigned partitions.
    pub(super) fn epochs(&self) -> BTreeMap<i32, u64> {
        lock(&self.state).epochs.clone()
    }

    /// Positions from which the assigned partitions are read.
    pub(super) fn starts(&self) -> BTreeMap<i32, i64> {
        lock(&self.state).starts.clone()
    }

    /// The epoch for a record of a partition; `None` if the group revokes it: the next member reads
    /// the record. A partition that is not assigned has epoch 0, under which nothing is committed.
    pub(super) fn epoch_to_read(&self, partition: i32) -> Option<u64> {
        let state = lock(&self.state);
        let epoch = state.epochs.get(&partition).copied().unwrap_or_default();
        (!state.revoked.contains(&partition)).then_some(epoch)
    }

    /// Records of each assigned partition that were not read yet.
    pub(super) fn lag(&self) -> BTreeMap<i32, u64> {
        let state = lock(&self.state);
        // The library reports the lag of a new partition after a while.
        let lag = |partition| state.lag.get(partition).copied().unwrap_or(0);
        state.epochs.keys().map(|partition| (*partition, lag(partition))).collect()
    }

    /// The changes since the last call.
    ///
    /// # Errors
    /// An assignment that could not be taken up. The member then owns partitions that it does not
    /// read, so it has to end: another one, or the same one after a restart, takes its place.
    pub(super) fn take_notices(&self) -> Result<Vec<Notice>, ServerError> {
        let mut state = lock(&self.state);
        match state.failed.take() {
            Some(failed) => Err(failed),
            None => Ok(std::mem::take(&mut state.notices)),
        }
    }

    /// Reading of a partition goes on from `position`, under the same epoch.
    pub(super) fn go_on_from(&self, partition: i32, position: i64) {
        lock(&self.state).starts.insert(partition, position);
    }

    /// Those of `partitions` that the group revokes and that were not released yet.
    pub(super) fn revoked_of(&self, partitions: &[i32]) -> BTreeSet<i32> {
        let state = lock(&self.state);
        partitions.iter().copied().filter(|own| state.revoked.contains(own)).collect()
    }

    /// From now on, revoked partitions are released at once. Returns those that were not yet.
    pub(super) fn close(&self) -> Vec<i32> {
        let mut state = lock(&self.state);
        state.closing = true;
        state.revoked.iter().copied().collect()
    }

    /// Begins assignments under a new epoch.
    pub(super) fn begin(&self, starting: impl IntoIterator<Item = StartingPartition>) {
        let mut state = lock(&self.state);
        state.epoch += 1;
        let epoch = state.epoch;
        for StartingPartition { partition, start, committed } in starting {
            state.epochs.insert(partition, epoch);
            state.lag.remove(&partition);
            state.starts.insert(partition, start.position);
            state.notices.push(Notice::Assigned { partition, epoch, start, committed });
        }
    }

    /// Ends assignments, after a commit that is in flight.
    pub(super) fn end(&self, partitions: &BTreeSet<i32>) {
        let lasts = self.hold();
        let mut state = lock(&self.state);
        for &partition in partitions {
            state.epochs.remove(&partition);
            state.starts.remove(&partition);
            state.revoked.remove(&partition);
            state.notices.push(Notice::Revoked { partition });
        }
        drop(state);
        drop(lasts);
    }

    fn assign(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> Result<(), ServerError> {
        let mut starting = starting_partitions(consumer, partitions);
        let mut retries = 0..ELECTION_RETRIES;
        while starting.as_ref().is_err_and(is_electing) && retries.next().is_some() {
            std::thread::sleep(ELECTION_PAUSE);
            starting = starting_partitions(consumer, partitions);
        }
        let starting = starting.map_err(|error| server_error(&error))?;
        let mut assignment = TopicPartitionList::new();
        for (topic, StartingPartition { partition, start, .. }) in &starting {
            assignment
                .add_partition_offset(topic, *partition, Offset::Offset(start.position))
                .map_err(|error| server_error(&error))?;
        }
        self.begin(starting.into_iter().map(|(_, starting)| starting));
        consumer.incremental_assign(&assignment).map_err(|error| server_error(&error))?;
        // The library remembers that a partition was paused when it was assigned before, and would
        // never fetch it again.
        consumer.resume(&assignment).map_err(|error| server_error(&error))
    }

    /// Lets the driver finish what was read of partitions that the group revokes, unless they are
    /// lost already; true if the driver is to release them.
    fn request_revocation(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> bool {
        let mut state = lock(&self.state);
        if state.closing || consumer.assignment_lost() {
            return false;
        }
        let partitions = numbers(partitions);
        state.revoked.extend(&partitions);
        let partitions = partitions.into_iter().collect();
        state.notices.push(Notice::RevocationRequested { partitions });
        true
    }

    fn revoke(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> Result<(), ServerError> {
        self.end(&numbers(partitions));
        consumer.incremental_unassign(partitions).map_err(|error| server_error(&error))
    }
}

impl ClientContext for Assignment {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        QuietContext.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        QuietContext.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let mut state = lock(&self.state);
        let topics = statistics.topics.into_values();
        for (partition, reported) in topics.flat_map(|topic| topic.partitions) {
            if let Ok(lag) = u64::try_from(reported.consumer_lag) {
                state.lag.insert(partition, lag);
            }
        }
    }
}

impl ConsumerContext for Assignment {
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
                if self.request_revocation(consumer, partitions) =>
            {
                Ok(())
            }
            // Lost, or revoked while closing: the assignment ends at once.
            _ => self.revoke(consumer, partitions),
        };
        if let Err(error) = outcome {
            lock(&self.state).failed = Some(error);
        }
    }
}

fn numbers(partitions: &TopicPartitionList) -> BTreeSet<i32> {
    partitions.elements().iter().map(|element| element.partition()).collect()
}

/// The position from which each partition, with its topic, is to be read, by the start policy.
fn starting_partitions(
    consumer: &BaseConsumer<Assignment>,
    partitions: &TopicPartitionList,
) -> KafkaResult<Vec<(String, StartingPartition)>> {
    let committed = consumer.committed_offsets(partitions.clone(), REQUEST_TIMEOUT)?;
    let mut starting = Vec::new();
    for element in committed.elements() {
        element.error()?;
        let (topic, partition) = (element.topic().to_owned(), element.partition());
        let (low, high) = consumer.fetch_watermarks(&topic, partition, REQUEST_TIMEOUT)?;
        let committed = position(element.offset());
        let start = start_position(committed, low, high);
        starting.push((topic, StartingPartition { partition, start, committed }));
    }
    Ok(starting)
}

/// Whether the brokers replied that they have not elected a leader yet.
fn is_electing(error: &KafkaError) -> bool {
    const SIGNS: [RDKafkaErrorCode; 4] = [
        RDKafkaErrorCode::NotLeaderForPartition,
        RDKafkaErrorCode::LeaderNotAvailable,
        RDKafkaErrorCode::NotCoordinator,
        RDKafkaErrorCode::CoordinatorLoadInProgress,
    ];
    error.rdkafka_error_code().is_some_and(|code| SIGNS.contains(&code))
}

/// A position, where there is one.
pub(super) fn position(offset: Offset) -> Option<i64> {
    match offset {
        Offset::Offset(position) => Some(position),
        Offset::Beginning
        | Offset::End
        | Offset::Stored
        | Offset::Invalid
        | Offset::OffsetTail(_) => None,
    }
}
