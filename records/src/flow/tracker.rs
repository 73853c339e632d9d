//! The tracker of one partition: which batches are in flight, which are stored, and the position that
//! may be committed.
//!
//! Pure: `step(Input) -> Vec<Action>`, no I/O, no clock, `std` only. Model, simulation and driver call
//! this same `step`. Batches may be stored in any order; the position that may be committed is the start
//! of the first range that is not stored.

use std::collections::VecDeque;

/// Which batch; unique within the process.
pub type BatchId = u64;

/// What happened to the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// It is assigned to this member.
    Assigned {
        /// Epoch of this assignment; never used before.
        epoch: u64,
        /// First offset to read, by the start policy.
        position: i64,
        /// What the broker holds as committed; if it differs, a commit corrects it.
        committed: Option<i64>,
    },
    /// A batch with records of `first..next` is in flight. Offsets in between may hold none.
    BatchStarted {
        /// The batch.
        batch: BatchId,
        /// Assignment under which they were read.
        epoch: u64,
        /// First offset.
        first: i64,
        /// Position after the last.
        next: i64,
    },
    /// All records of a batch are rows in ClickHouse or acknowledged dead letters.
    BatchStored {
        /// The batch.
        batch: BatchId,
    },
    /// The broker acknowledged a commit.
    CommitAcknowledged {
        /// Epoch of the commit.
        epoch: u64,
        /// What was committed.
        position: i64,
    },
    /// A commit failed, or its reply was lost: the broker may have applied it or not.
    CommitFailed {
        /// Epoch of the commit.
        epoch: u64,
    },
    /// Time has passed: a failed commit may be repeated.
    Tick,
    /// The broker replied which position it holds.
    CommittedPosition {
        /// Epoch in which the request was sent.
        epoch: u64,
        /// The position that it holds.
        position: i64,
    },
    /// The partition is no longer assigned: revoked, lost, or the client joined again.
    Revoked,
}

/// What the driver has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Commit `position`, unless `epoch` has ended meanwhile.
    Commit {
        /// The assignment that it belongs to.
        epoch: u64,
        /// Next offset to read.
        position: i64,
    },
    /// Report that offsets went back: the log was truncated or recreated. The tracker has dropped
    /// what was in flight.
    LogTruncated {
        /// The position before.
        from: i64,
        /// The position now.
        to: i64,
    },
    /// Another client reset the committed position. The assignment has ended for the tracker; read
    /// from there under a new epoch.
    PositionReset {
        /// What this member had committed.
        from: i64,
        /// What the broker holds.
        to: i64,
    },
}

/// The state machine. [`Tracker::default`] has no assignment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tracker {
    assigned: Option<AssignedPartition>,
}

/// The partition under one assignment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct AssignedPartition {
    epoch: u64,
    /// Position after the last record of a batch that was started.
    next: i64,
    /// All records before it are stored.
    stored: i64,
    /// What the broker holds, as far as it has replied.
    committed: Option<i64>,
    /// The commit that is in flight.
    pending: Option<i64>,
    /// The commit that failed: the broker may hold it nevertheless.
    unconfirmed: Option<i64>,
    /// Batches in flight, in the order of the log.
    in_flight: VecDeque<BatchRange>,
}

/// The part of a batch that is of the partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct BatchRange {
    batch: BatchId,
    next: i64,
    stored: bool,
}

impl Tracker {
    /// Takes an input; returns the actions that the driver has to perform.
    pub fn step(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Assigned { epoch, position, committed } => {
                self.assigned = Some(AssignedPartition::new(epoch, position, committed));
                Vec::new()
            }
            // Batches in flight may still be stored, which is harmless; none of them is committed.
            Input::Revoked => {
                self.assigned = None;
                Vec::new()
            }
            Input::BatchStarted { epoch, .. }
            | Input::CommitAcknowledged { epoch, .. }
            | Input::CommitFailed { epoch }
            | Input::CommittedPosition { epoch, .. } => {
                let assigned = self.assigned.as_mut().filter(|assigned| assigned.epoch == epoch);
                let actions = assigned.map(|assigned| assigned.step(input)).unwrap_or_default();
                if actions.iter().any(|action| matches!(action, Action::PositionReset { .. })) {
                    // Nothing of this assignment may undo the reset.
                    self.assigned = None;
                }
                actions
            }
            Input::BatchStored { .. } | Input::Tick => {
                self.assigned.as_mut().map(|assigned| assigned.step(input)).unwrap_or_default()
            }
        }
    }

    /// Epoch of the current assignment.
    pub fn epoch(&self) -> Option<u64> {
        self.assigned.as_ref().map(|assigned| assigned.epoch)
    }

    /// Whether all batches are stored and committed.
    pub fn is_settled(&self) -> bool {
        self.is_settled_but(|_| false)
    }

    /// As [`Tracker::is_settled`], but for batches that are `waiting`, and stored ones behind them, which
    /// cannot be committed before.
    pub fn is_settled_but(&self, waiting: impl Fn(BatchId) -> bool) -> bool {
        self.assigned.as_ref().is_none_or(|assigned| {
            assigned.in_flight.iter().all(|range| range.stored || waiting(range.batch))
                && assigned.pending.is_none()
                && assigned.committed == Some(assigned.stored)
        })
    }
}

impl AssignedPartition {
    fn new(epoch: u64, position: i64, committed: Option<i64>) -> Self {
        Self {
            epoch,
            next: position,
            stored: position,
            committed,
            pending: None,
            unconfirmed: None,
            in_flight: VecDeque::new(),
        }
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::BatchStarted { batch, first, next, .. } => {
                return self.batch_started(batch, first, next);
            }
            Input::BatchStored { batch } => {
                for range in self.in_flight.iter_mut().filter(|range| range.batch == batch) {
                    range.stored = true;
                }
                // Never past the first batch that is not stored.
                while let Some(range) = self.in_flight.pop_front_if(|range| range.stored) {
                    self.stored = range.next;
                }
            }
            Input::CommitAcknowledged { position, .. } => {
                self.committed = Some(position);
                (self.pending, self.unconfirmed) = (None, None);
            }
            Input::CommitFailed { .. } => {
                self.unconfirmed = self.pending.take();
                // Not immediately: the next tick, or the next stored batch, commits again.
                return Vec::new();
            }
            Input::CommittedPosition { position, .. } => return self.committed_position(position),
            Input::Tick | Input::Assigned { .. } | Input::Revoked => {}
        }
        self.commit()
    }

    fn batch_started(&mut self, batch: BatchId, first: i64, next: i64) -> Vec<Action> {
        let mut actions = Vec::new();
        if first < self.next {
            // The topic was recreated or truncated: its offsets name other records now.
            actions.push(Action::LogTruncated { from: self.next, to: first });
            // The committed position may be beyond it; the next commit corrects it, even without a new
            // record.
            *self = Self { pending: self.pending, ..Self::new(self.epoch, first, None) };
        }
        self.in_flight.push_back(BatchRange { batch, next, stored: false });
        self.next = next;
        actions
    }

    fn committed_position(&mut self, position: i64) -> Vec<Action> {
        // While a commit is in flight, the reply may be from before or after it.
        if self.pending.is_some() {
            return Vec::new();
        }
        let before = self.committed.replace(position);
        let expected = [before, self.unconfirmed.take()].contains(&Some(position));
        match before {
            Some(from) if !expected => vec![Action::PositionReset { from, to: position }],
            Some(_) | None => Vec::new(),
        }
    }

    fn commit(&mut self) -> Vec<Action> {
        if self.pending.is_some() || self.committed == Some(self.stored) {
            return Vec::new();
        }
        self.pending = Some(self.stored);
        vec![Action::Commit { epoch: self.epoch, position: self.stored }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(position: i64, committed: Option<i64>) -> Tracker {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.step(Input::Assigned { epoch: 7, position, committed }), []);
        tracker
    }

    fn started(batch: BatchId, first: i64, next: i64) -> Input {
        Input::BatchStarted { batch, epoch: 7, first, next }
    }

    fn commit(position: i64) -> Action {
        Action::Commit { epoch: 7, position }
    }

    #[test]
    fn later_ack_never_passes_an_earlier_failure() {
        let mut tracker = assigned(0, Some(0));
        tracker.step(started(1, 0, 10));
        tracker.step(started(2, 10, 20));
        assert_eq!(tracker.step(Input::BatchStored { batch: 2 }), []);
        assert_eq!(tracker.step(Input::BatchStored { batch: 1 }), [commit(20)]);
    }

    #[test]
    fn one_commit_is_in_flight_and_the_next_covers_all_that_was_stored_meanwhile() {
        let mut tracker = assigned(0, Some(0));
        for batch in 1..4 {
            let first = i64::try_from(batch).unwrap() * 10 - 10;
            tracker.step(started(batch, first, first + 10));
        }
        assert_eq!(tracker.step(Input::BatchStored { batch: 1 }), [commit(10)]);
        assert_eq!(tracker.step(Input::BatchStored { batch: 2 }), []);
        assert_eq!(tracker.step(Input::BatchStored { batch: 3 }), []);
        let acknowledged = Input::CommitAcknowledged { epoch: 7, position: 10 };
        assert_eq!(tracker.step(acknowledged), [commit(30)]);
        assert!(!tracker.is_settled());
        assert!(!tracker.is_settled_but(|_| true), "a commit is in flight");
        assert_eq!(tracker.step(Input::CommitAcknowledged { epoch: 7, position: 30 }), []);
        assert!(tracker.is_settled());
    }

    #[test]
    fn the_position_that_the_start_policy_chose_is_committed() {
        for (committed, expected) in [
            (Some(5), vec![]),
            (Some(500), vec![commit(5)]),
            (Some(2), vec![commit(5)]),
            (None, vec![commit(5)]),
        ] {
            assert_eq!(assigned(5, committed).step(Input::Tick), expected, "{committed:?}");
        }
    }

    #[test]
    fn a_truncated_log_drops_what_was_in_flight() {
        let mut tracker = assigned(500, Some(500));
        tracker.step(started(1, 500, 510));
        let truncated = Action::LogTruncated { from: 510, to: 3 };
        assert_eq!(tracker.step(started(2, 3, 8)), [truncated]);
        // Offsets from before the truncation: none of them may be committed.
        assert_eq!(tracker.step(Input::BatchStored { batch: 1 }), [commit(3)]);
        tracker.step(Input::CommitAcknowledged { epoch: 7, position: 3 });
        assert_eq!(tracker.step(Input::BatchStored { batch: 2 }), [commit(8)]);
    }

    #[test]
    fn a_gap_is_not_a_truncation() {
        let mut tracker = assigned(0, Some(0));
        tracker.step(started(1, 0, 4));
        assert_eq!(tracker.step(started(2, 1000, 1001)), []);
        tracker.step(Input::BatchStored { batch: 1 });
        tracker.step(Input::CommitAcknowledged { epoch: 7, position: 4 });
        assert_eq!(tracker.step(Input::BatchStored { batch: 2 }), [commit(1001)]);
    }

    #[test]
    fn a_lost_reply_is_not_taken_for_a_reset_by_another_client() {
        let mut tracker = assigned(0, Some(0));
        tracker.step(started(1, 0, 10));
        assert_eq!(tracker.step(Input::BatchStored { batch: 1 }), [commit(10)]);
        assert_eq!(tracker.step(Input::CommitFailed { epoch: 7 }), []);
        assert_eq!(tracker.step(Input::CommittedPosition { epoch: 7, position: 10 }), []);
        assert!(tracker.is_settled());
        let reset = Action::PositionReset { from: 10, to: 2 };
        assert_eq!(tracker.step(Input::CommittedPosition { epoch: 7, position: 2 }), [reset]);
        assert_eq!(tracker.epoch(), None);
        assert_eq!(tracker.step(Input::Tick), []);
    }

    #[test]
    fn after_a_revocation_nothing_of_the_assignment_is_committed() {
        let mut tracker = assigned(0, Some(0));
        tracker.step(started(1, 0, 10));
        tracker.step(Input::Revoked);
        for input in [
            Input::BatchStored { batch: 1 },
            Input::Tick,
            started(2, 10, 20),
            Input::CommitFailed { epoch: 7 },
            Input::CommitAcknowledged { epoch: 7, position: 10 },
        ] {
            assert_eq!(tracker.step(input), [], "{input:?}");
        }
        tracker.step(Input::Assigned { epoch: 8, position: 0, committed: Some(0) });
        assert_eq!(tracker.step(started(3, 0, 10)), [], "of the old epoch");
        assert!(tracker.is_settled());
    }
}
