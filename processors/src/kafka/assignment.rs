//! The assignment: which partitions the group has assigned to this member. The rebalance callback
//! updates it, and sends no request to the brokers: an assignment, which needs requests, begins outside
//! the callback.
//!
//! Each assignment of a partition has an epoch. Records have the epoch under which they were read, and a
//! commit is sent only while the epoch lasts (invariant 11): a commit and the end of an assignment hold
//! the same lock, so that one waits for the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use broker::{ProbeFindings, QuietContext, ServerError, SilentPartitions, server_error};
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use records::flow::start_policy::StartReason;
use tokio::sync::Notify;

use crate::kafka::read_limits::ReadLimits;
use crate::kafka::read_position::ReadPositions;
use crate::kafka::starting_partition::StartingPartition;
use crate::run::source::Notice;
use service::lock::lock;

/// What the group has assigned to this member.
#[derive(Default)]
pub(super) struct Assignment {
    /// Wakes the reader when the group assigns partitions.
    request: Notify,
    /// Wakes the reader when a probe is due for a silent partition.
    silence: Notify,
    /// Held during a commit and while an assignment ends.
    lasts: Mutex<()>,
    state: Mutex<AssignmentState>,
    /// Counts the changes of epochs and of revoked partitions.
    changes: AtomicU64,
    /// What the member reads; `None`: everything that the group assigns.
    limits: Option<ReadLimits>,
}

#[derive(Default)]
struct AssignmentState {
    /// Partitions that the group assigns, until [`Assignment::begin_requested`].
    requested: Option<BTreeSet<i32>>,
    epoch: u64,
    /// The epoch of each assigned partition.
    epochs: BTreeMap<i32, u64>,
    /// The position from which each is read.
    starts: BTreeMap<i32, i64>,
    /// Those of which the group has committed nothing and whose start in the log is not known.
    unknown_starts: BTreeSet<i32>,
    /// Partitions that the group revokes and that were not released yet.
    revoked: BTreeSet<i32>,
    /// The driver has ended and will release no partition.
    closing: bool,
    /// The position after the last record of each in the log, as last reported; none while its leader has
    /// not answered.
    ends: BTreeMap<i32, i64>,
    /// The position up to which each was read, as last reported.
    read: BTreeMap<i32, i64>,
    reported: ReadPositions,
    silent: SilentPartitions,
    is_paused: bool,
    notices: Vec<Notice>,
    failed: Option<ServerError>,
}

impl Assignment {
    /// An assignment of nothing yet, to a member that reads within `limits`.
    pub(super) fn within(limits: Option<ReadLimits>) -> Self {
        Self { limits, ..Self::default() }
    }

    /// What the member reads; `None`: everything that the group assigns.
    pub(super) fn limits(&self) -> Option<&ReadLimits> {
        self.limits.as_ref()
    }

    /// Whether records of a partition are left to read.
    pub(super) fn reads(&self, partition: i32) -> bool {
        self.limits.as_ref().is_none_or(|limits| !limits.has_ended(partition))
    }

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

    /// Whether a partition is read for the first time, from a position that may not be in the log.
    pub(super) fn has_unknown_start(&self, partition: i32) -> bool {
        lock(&self.state).unknown_starts.contains(&partition)
    }

    /// The epoch for a record of a partition; `None` if the group revokes it: the next member reads
    /// the record. A partition that is not assigned has epoch 0, under which nothing is committed.
    pub(super) fn epoch_to_read(&self, partition: i32) -> Option<u64> {
        let state = lock(&self.state);
        let epoch = state.epochs.get(&partition).copied().unwrap_or_default();
        (!state.revoked.contains(&partition)).then_some(epoch)
    }

    /// Number of the changes of what [`Assignment::epoch_to_read`] returns.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The state, to change epochs or revoked partitions.
    fn changing(&self) -> MutexGuard<'_, AssignmentState> {
        let state = lock(&self.state);
        self.changes.fetch_add(1, Ordering::Release);
        state
    }

    /// Records of each assigned partition that were not read yet: from the position up to which it was read,
    /// or from which it is read, to the end of the log. The lag that the library reports is that of the
    /// committed position; it has none before the first commit. One record while the end is not known, so
    /// that the partition is named if none is read.
    pub(super) fn lag(&self) -> BTreeMap<i32, u64> {
        let state = lock(&self.state);
        let lag = |(&partition, &start): (&i32, &i64)| {
            let read = state.read.get(&partition).map_or(start, |read| start.max(*read));
            let end = state.ends.get(&partition).copied().unwrap_or(read + 1);
            let left = self.limits.as_ref().map(|limits| limits.left(partition));
            (partition, left.unwrap_or_else(|| u64::try_from(end - read).unwrap_or(0)))
        };
        state.starts.iter().map(lag).collect()
    }

    /// The changes since the last call.
    ///
    /// # Errors
    /// An assignment could not begin. The member then owns partitions that it does not read, so it has
    /// to end: another member, or this one after a restart, takes its place.
    pub(super) fn take_notices(&self) -> Result<Vec<Notice>, ServerError> {
        let mut state = lock(&self.state);
        match state.failed.take() {
            Some(failed) => Err(failed),
            None => Ok(std::mem::take(&mut state.notices)),
        }
    }

    /// Reading of a partition continues at `position`, under the same epoch.
    pub(super) fn go_on_from(&self, partition: i32, position: i64) {
        lock(&self.state).starts.insert(partition, position);
    }

    /// Those of `partitions` that the group revokes and that were not released yet.
    pub(super) fn revoked_of(&self, partitions: &[i32]) -> BTreeSet<i32> {
        let state = lock(&self.state);
        partitions.iter().copied().filter(|own| state.revoked.contains(own)).collect()
    }

    /// Notes whether all partitions are paused: those are not silent.
    pub(super) fn set_paused(&self, is_paused: bool) {
        let mut state = lock(&self.state);
        state.is_paused = is_paused;
        state.silent.clear();
        state.reported.clear();
    }

    /// Waits until a probe is due for a silent partition. May be dropped at any time.
    pub(super) async fn silence(&self) {
        self.silence.notified().await;
    }

    /// The partitions for which a probe is due since the last call.
    pub(super) fn take_due(&self) -> BTreeSet<i32> {
        lock(&self.state).silent.take_due()
    }

    /// A probe ended.
    pub(super) fn probed(&self, findings: &ProbeFindings) {
        lock(&self.state).silent.probed(findings);
    }

    /// Waits until the group assigns partitions. May be dropped at any time.
    pub(super) async fn request(&self) {
        self.request.notified().await;
    }

    /// The partitions that the group assigns and whose assignment has not begun.
    pub(super) fn requested(&self) -> Option<BTreeSet<i32>> {
        lock(&self.state).requested.clone()
    }

    /// Withdraws that request; `false` if there is none.
    pub(super) fn withdraw_request(&self) -> bool {
        lock(&self.state).requested.take().is_some()
    }

    /// Begins the assignments that the group requested; `false` if the request was withdrawn.
    pub(super) fn begin_requested(&self, starting: Vec<StartingPartition>) -> bool {
        let is_requested = self.withdraw_request();
        if is_requested {
            self.begin(starting);
        }
        is_requested
    }

    /// The partitions that the group assigns cannot be read.
    pub(super) fn fail(&self, error: ServerError) {
        lock(&self.state).failed = Some(error);
    }

    /// From now on, revoked partitions are released immediately. Returns those that were not released
    /// yet.
    pub(super) fn close(&self) -> Vec<i32> {
        let mut state = lock(&self.state);
        state.closing = true;
        state.revoked.iter().copied().collect()
    }

    /// Begins assignments under a new epoch.
    pub(super) fn begin(&self, starting: impl IntoIterator<Item = StartingPartition>) {
        let mut state = self.changing();
        state.epoch += 1;
        state.reported.clear();
        let epoch = state.epoch;
        for StartingPartition { partition, start, committed, end } in starting {
            if let Some(limits) = &self.limits {
                limits.start(partition, start.position);
            }
            state.epochs.insert(partition, epoch);
            state.read.remove(&partition);
            state.ends.remove(&partition);
            state.ends.extend(end.map(|end| (partition, end)));
            state.starts.insert(partition, start.position);
            state.unknown_starts.remove(&partition);
            let mut held = committed;
            if start.reason == StartReason::Unchecked && committed.is_none() {
                state.unknown_starts.insert(partition);
                // So that it is not committed: the log may start at a later offset.
                held = Some(start.position);
            }
            state.notices.push(Notice::Assigned { partition, epoch, start, committed: held });
        }
    }

    /// Ends assignments, after a commit that is in flight.
    pub(super) fn end(&self, partitions: &BTreeSet<i32>) {
        let lasts = self.hold();
        let mut state = self.changing();
        for &partition in partitions {
            state.epochs.remove(&partition);
            state.starts.remove(&partition);
            state.unknown_starts.remove(&partition);
            state.revoked.remove(&partition);
            state.notices.push(Notice::Revoked { partition });
        }
        drop(state);
        drop(lasts);
    }

    /// Notes that the group assigns partitions, and wakes the reader, which queries their positions. The
    /// callback itself runs on a thread of the runtime and must not wait for a reply.
    fn request_assignment(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let mut state = lock(&self.state);
        if state.closing {
            drop(state);
            return assign_none(consumer);
        }
        state.requested = Some(self.own(partitions));
        drop(state);
        self.request.notify_one();
    }

    /// Lets the driver finish what was read of partitions that the group revokes. Returns whether the driver
    /// is to release them: not if the member is leaving.
    pub(super) fn request_revocation(&self, partitions: BTreeSet<i32>) -> bool {
        let mut state = self.changing();
        if state.closing || partitions.is_empty() {
            return false;
        }
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
        let own = self.own(partitions);
        self.end(&own);
        // The library refuses to take back what was not assigned.
        let mut assigned = TopicPartitionList::new();
        for element in partitions.elements() {
            if own.contains(&element.partition()) {
                assigned.add_partition(element.topic(), element.partition());
            }
        }
        consumer.incremental_unassign(&assigned).map_err(|error| server_error(&error))
    }

    /// Those of the partitions that the member reads.
    fn own(&self, partitions: &TopicPartitionList) -> BTreeSet<i32> {
        let is_own = |own: &i32| self.limits.as_ref().is_none_or(|limits| limits.covers(*own));
        let numbers = partitions.elements().into_iter().map(|element| element.partition());
        numbers.filter(is_own).collect()
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
        if !state.is_paused && state.silent.note(&statistics, |partition| self.reads(partition)) {
            self.silence.notify_one();
        }
        let (now_us, topics) = (statistics.ts, statistics.topics.into_values());
        for (partition, reported) in topics.flat_map(|topic| topic.partitions) {
            // Negative values say that the library does not know the offset yet.
            if reported.hi_offset >= 0 {
                state.ends.insert(partition, reported.hi_offset);
            }
            // While it is paused, the library keeps what it has fetched.
            if state.is_paused {
                state.reported.clear();
            }
            if let Some(position) = state.reported.note(now_us, partition, &reported) {
                state.read.insert(partition, position);
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
                self.request_assignment(consumer, partitions);
                Ok(())
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS
                if !consumer.assignment_lost() && self.request_revocation(self.own(partitions)) =>
            {
                Ok(())
            }
            // Lost, or revoked while closing: the assignment ends immediately.
            _ => self.revoke(consumer, partitions),
        };
        if let Err(error) = outcome {
            self.fail(error);
        }
    }
}

/// Replies to a request of the group with no partition. Without a reply, the library would wait for one,
/// and the member could not leave the group.
pub(super) fn assign_none<C: ConsumerContext>(consumer: &impl Consumer<C>) {
    if let Err(error) = consumer.incremental_assign(&TopicPartitionList::new()) {
        tracing::debug!(%error, "cannot reply to an assignment");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::read_epoch::ReadEpoch;
    use rdkafka::statistics::{Partition, Topic};
    use records::flow::start_policy::{StartPosition, unchecked_start};
    use records::replay::log_range::LogRange;

    #[test]
    fn the_lag_is_known_from_the_start_and_does_not_wait_for_a_commit() {
        let assignment = Assignment::default();
        let start = StartPosition { position: 5, reason: StartReason::FirstRead };
        let (partition, end) = (1, Some(100));
        assignment.begin([StartingPartition { partition, start, committed: None, end }]);
        assert_eq!(assignment.lag(), BTreeMap::from([(1, 95)]));
        for (end, read, lag) in
            [(-1001, -1001, 95), (120, -1001, 115), (130, 90, 40), (130, 130, 0)]
        {
            let mut reported = Partition { partition: 1, ..Partition::default() };
            (reported.hi_offset, reported.app_offset) = (end, read);
            (reported.consumer_lag, reported.committed_offset) = (-1, -1001);
            let mut topic = Topic::default();
            topic.partitions.insert(1, reported);
            let topics = [("clicks".to_owned(), topic)].into();
            assignment.stats(Statistics { topics, ..Statistics::default() });
            assert_eq!(assignment.lag(), BTreeMap::from([(1, lag)]), "{end} {read}");
        }
        let end = Some(130);
        assignment.begin([StartingPartition { partition, start, committed: Some(5), end }]);
        assert_eq!(assignment.lag(), BTreeMap::from([(1, 125)]), "read again from the start");
        assignment.end(&BTreeSet::from([1]));
        assert_eq!(assignment.lag(), BTreeMap::new());
    }

    #[test]
    fn the_epoch_of_consecutive_records_is_looked_up_once() {
        let (assignment, mut epoch) = (Assignment::default(), ReadEpoch::default());
        assert_eq!(epoch.of(1, &assignment), Some(0));
        // A look-up would wait for this lock without end.
        let held = lock(&assignment.state);
        assert_eq!(epoch.of(1, &assignment), Some(0));
        drop(held);
    }

    #[test]
    fn a_member_with_limits_gets_their_partitions_only_and_its_lag_ends_with_them() {
        let range = LogRange { first: 5, end: 20 };
        let assignment = Assignment::within(Some(ReadLimits::new([(1, vec![range])])));
        let mut assigned = TopicPartitionList::new();
        assigned.add_partition_range("clicks", 0, 2);
        assert_eq!(assignment.own(&assigned), BTreeSet::from([1]));
        assert_eq!(Assignment::default().own(&assigned), BTreeSet::from([0, 1, 2]));
        let start = StartPosition { position: 8, reason: StartReason::Resumed };
        let (partition, committed, end) = (1, Some(8), Some(1_000));
        assignment.begin([StartingPartition { partition, start, committed, end }]);
        assert_eq!(assignment.lag(), BTreeMap::from([(1, 12)]));
        let limits = assignment.limits().unwrap();
        assert!(limits.read(1, 17).is_some_and(|(is_own, _)| is_own) && assignment.reads(1));
        assert_eq!(limits.read(1, 20), None);
        assert_eq!(limits.end(1), Some(LogRange { first: 18, end: 20 }));
        assert!(!assignment.reads(1) && !assignment.reads(0));
        assert_eq!(assignment.lag(), BTreeMap::from([(1, 0)]));
    }

    #[test]
    fn a_partition_of_unknown_bounds_has_lag_and_no_unread_position_of_it_is_committed() {
        let assignment = Assignment::default();
        for (committed, is_unknown, position) in [(None, true, 0), (Some(5), false, 5)] {
            let (partition, start) = (1, unchecked_start(committed));
            assignment.begin([StartingPartition { partition, start, committed, end: None }]);
            assert_eq!(assignment.lag(), BTreeMap::from([(1, 1)]), "it is named if it stalls");
            assert_eq!(assignment.has_unknown_start(1), is_unknown);
            let notices = assignment.take_notices().unwrap();
            let epoch = assignment.epochs()[&1];
            let committed = Some(position);
            assert_eq!(notices, [Notice::Assigned { partition, epoch, start, committed }]);
        }
    }
}
