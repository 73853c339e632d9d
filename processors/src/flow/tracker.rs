//! One partition under one assignment: what is under way, what is durable, what may be committed.
//!
//! A pure machine: `step(Input) -> Vec<Action>`, no I/O, no clock, `std` only. Model, simulation
//! and driver call this same `step`. Batches may become durable in any order; the position that
//! may be committed is where the first of them that is not durable begins.

use std::collections::VecDeque;

/// Which batch; unique in the life of the process.
pub type BatchId = u64;

/// What happened to the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// It is ours from now on.
    Assigned {
        /// Of this assignment; never used before.
        epoch: u64,
        /// First offset to read, by the start policy.
        position: i64,
        /// What the broker holds; where it differs, it is corrected.
        committed: Option<i64>,
    },
    /// Records of `first..next` are on their way in a batch. Offsets in between may hold none.
    Sent {
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
    Durable {
        /// The batch.
        batch: BatchId,
    },
    /// The broker acknowledged a commit.
    Acknowledged {
        /// Epoch of the commit.
        epoch: u64,
        /// What was committed.
        position: i64,
    },
    /// A commit failed, or its answer was lost: it may stand or not.
    Refused {
        /// Epoch of the commit.
        epoch: u64,
    },
    /// Time has passed: what was refused may be asked again.
    Beat,
    /// The broker was asked which position it holds.
    Found {
        /// Epoch in which it was asked.
        epoch: u64,
        /// What it holds.
        position: i64,
    },
    /// It is not ours any more: revoked, lost, or the client joined anew.
    Ended,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ask the broker to commit `position`, unless `epoch` has ended meanwhile.
    Commit {
        /// The assignment that it belongs to.
        epoch: u64,
        /// Next offset to read.
        position: i64,
    },
    /// Tell the operator: reading jumped back. What was under way is forgotten.
    JumpedBack {
        /// Where reading was.
        from: i64,
        /// Where it is.
        to: i64,
    },
    /// Somebody else moved the committed position: an operator's reset. The assignment has ended
    /// for the tracker; read on from there under a new epoch.
    Moved {
        /// What we had committed.
        ours: i64,
        /// What the broker holds.
        theirs: i64,
    },
}

/// The machine. Made with [`Tracker::default`], it owns nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tracker {
    life: Option<Life>,
}

/// One assignment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Life {
    epoch: u64,
    /// Position after the last record that was sent.
    next: i64,
    /// All before it is durable.
    durable: i64,
    /// What the broker holds, as far as we know.
    committed: Option<i64>,
    /// Asked of the broker and not answered.
    asked: Option<i64>,
    /// Asked of the broker and refused: it may hold it all the same.
    doubted: Option<i64>,
    /// Under way, in the order of the log.
    under_way: VecDeque<Piece>,
}

/// A batch's share of the partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Piece {
    batch: BatchId,
    next: i64,
    durable: bool,
}

impl Tracker {
    /// Takes what happened, says what to do.
    pub fn step(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Assigned { epoch, position, committed } => {
                self.life = Some(Life::new(epoch, position, committed));
                Vec::new()
            }
            // Whatever is still under way may land, which is harmless; nothing of it is committed.
            Input::Ended => {
                self.life = None;
                Vec::new()
            }
            Input::Sent { epoch, .. }
            | Input::Acknowledged { epoch, .. }
            | Input::Refused { epoch }
            | Input::Found { epoch, .. } => {
                let life = self.life.as_mut().filter(|life| life.epoch == epoch);
                let actions = life.map(|life| life.step(input)).unwrap_or_default();
                if actions.iter().any(|action| matches!(action, Action::Moved { .. })) {
                    // Nothing more of this life may undo what the operator did.
                    self.life = None;
                }
                actions
            }
            Input::Durable { .. } | Input::Beat => {
                self.life.as_mut().map(|life| life.step(input)).unwrap_or_default()
            }
        }
    }

    /// Epoch of the assignment that lasts.
    pub fn epoch(&self) -> Option<u64> {
        self.life.as_ref().map(|life| life.epoch)
    }

    /// Whether everything sent is durable and committed.
    pub fn is_settled(&self) -> bool {
        self.life.as_ref().is_none_or(|life| {
            life.under_way.is_empty()
                && life.asked.is_none()
                && life.committed == Some(life.durable)
        })
    }
}

impl Life {
    fn new(epoch: u64, position: i64, committed: Option<i64>) -> Self {
        Self {
            epoch,
            next: position,
            durable: position,
            committed,
            asked: None,
            doubted: None,
            under_way: VecDeque::new(),
        }
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Sent { batch, first, next, .. } => return self.sent(batch, first, next),
            Input::Durable { batch } => {
                for piece in self.under_way.iter_mut().filter(|piece| piece.batch == batch) {
                    piece.durable = true;
                }
                // Never past the first that is not durable, whatever came after it.
                while let Some(piece) = self.under_way.pop_front_if(|piece| piece.durable) {
                    self.durable = piece.next;
                }
            }
            Input::Acknowledged { position, .. } => {
                self.committed = Some(position);
                (self.asked, self.doubted) = (None, None);
            }
            Input::Refused { .. } => {
                self.doubted = self.asked.take();
                // Not at once: the next beat, or the next batch, asks again.
                return Vec::new();
            }
            Input::Found { position, .. } => return self.found(position),
            Input::Beat | Input::Assigned { .. } | Input::Ended => {}
        }
        self.commit()
    }

    fn sent(&mut self, batch: BatchId, first: i64, next: i64) -> Vec<Action> {
        let mut actions = Vec::new();
        if first < self.next {
            // The topic was made anew or truncated under us. Offsets do not mean what they meant.
            actions.push(Action::JumpedBack { from: self.next, to: first });
            // What the broker holds may lie beyond; the next commit, even of nothing new, corrects it.
            *self = Self { asked: self.asked, ..Self::new(self.epoch, first, None) };
        }
        self.under_way.push_back(Piece { batch, next, durable: false });
        self.next = next;
        actions
    }

    fn found(&mut self, position: i64) -> Vec<Action> {
        // While a commit is under way nobody can say which of the two is meant.
        if self.asked.is_some() {
            return Vec::new();
        }
        let ours = self.committed.replace(position);
        let expected = [ours, self.doubted.take()].contains(&Some(position));
        match ours {
            Some(ours) if !expected => vec![Action::Moved { ours, theirs: position }],
            Some(_) | None => Vec::new(),
        }
    }

    fn commit(&mut self) -> Vec<Action> {
        if self.asked.is_some() || self.committed == Some(self.durable) {
            return Vec::new();
        }
        self.asked = Some(self.durable);
        vec![Action::Commit { epoch: self.epoch, position: self.durable }]
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

    fn sent(batch: BatchId, first: i64, next: i64) -> Input {
        Input::Sent { batch, epoch: 7, first, next }
    }

    fn commit(position: i64) -> Action {
        Action::Commit { epoch: 7, position }
    }

    #[test]
    fn later_ack_never_passes_an_earlier_failure() {
        let mut tracker = assigned(0, Some(0));
        tracker.step(sent(1, 0, 10));
        tracker.step(sent(2, 10, 20));
        assert_eq!(tracker.step(Input::Durable { batch: 2 }), []);
        assert_eq!(tracker.step(Input::Durable { batch: 1 }), [commit(20)]);
    }

    #[test]
    fn one_commit_is_under_way_and_the_next_says_all_that_came_meanwhile() {
        let mut tracker = assigned(0, Some(0));
        for batch in 1..4 {
            let first = i64::try_from(batch).unwrap() * 10 - 10;
            tracker.step(sent(batch, first, first + 10));
        }
        assert_eq!(tracker.step(Input::Durable { batch: 1 }), [commit(10)]);
        assert_eq!(tracker.step(Input::Durable { batch: 2 }), []);
        assert_eq!(tracker.step(Input::Durable { batch: 3 }), []);
        let acknowledged = Input::Acknowledged { epoch: 7, position: 10 };
        assert_eq!(tracker.step(acknowledged), [commit(30)]);
        assert!(!tracker.is_settled());
        assert_eq!(tracker.step(Input::Acknowledged { epoch: 7, position: 30 }), []);
        assert!(tracker.is_settled());
    }

    #[test]
    fn what_the_start_policy_chose_is_told_to_the_broker() {
        for (committed, expected) in [
            (Some(5), vec![]),
            (Some(500), vec![commit(5)]),
            (Some(2), vec![commit(5)]),
            (None, vec![commit(5)]),
        ] {
            assert_eq!(assigned(5, committed).step(Input::Beat), expected, "{committed:?}");
        }
    }

    #[test]
    fn reading_that_jumps_back_forgets_what_was_under_way() {
        let mut tracker = assigned(500, Some(500));
        tracker.step(sent(1, 500, 510));
        let jumped = Action::JumpedBack { from: 510, to: 3 };
        assert_eq!(tracker.step(sent(2, 3, 8)), [jumped]);
        // Offsets of before the jump: nothing of them may be committed.
        assert_eq!(tracker.step(Input::Durable { batch: 1 }), [commit(3)]);
        tracker.step(Input::Acknowledged { epoch: 7, position: 3 });
        assert_eq!(tracker.step(Input::Durable { batch: 2 }), [commit(8)]);
    }

    #[test]
    fn a_gap_is_no_jump() {
        let mut tracker = assigned(0, Some(0));
        tracker.step(sent(1, 0, 4));
        assert_eq!(tracker.step(sent(2, 1000, 1001)), []);
        tracker.step(Input::Durable { batch: 1 });
        tracker.step(Input::Acknowledged { epoch: 7, position: 4 });
        assert_eq!(tracker.step(Input::Durable { batch: 2 }), [commit(1001)]);
    }

    #[test]
    fn a_lost_answer_is_no_reset_and_a_reset_is_one() {
        let mut tracker = assigned(0, Some(0));
        tracker.step(sent(1, 0, 10));
        assert_eq!(tracker.step(Input::Durable { batch: 1 }), [commit(10)]);
        assert_eq!(tracker.step(Input::Refused { epoch: 7 }), []);
        assert_eq!(tracker.step(Input::Found { epoch: 7, position: 10 }), []);
        assert!(tracker.is_settled());
        let moved = Action::Moved { ours: 10, theirs: 2 };
        assert_eq!(tracker.step(Input::Found { epoch: 7, position: 2 }), [moved]);
        assert_eq!(tracker.epoch(), None);
        assert_eq!(tracker.step(Input::Beat), []);
    }

    #[test]
    fn after_an_assignment_has_ended_nothing_of_it_is_committed() {
        let mut tracker = assigned(0, Some(0));
        tracker.step(sent(1, 0, 10));
        tracker.step(Input::Ended);
        for input in [
            Input::Durable { batch: 1 },
            Input::Beat,
            sent(2, 10, 20),
            Input::Refused { epoch: 7 },
            Input::Acknowledged { epoch: 7, position: 10 },
        ] {
            assert_eq!(tracker.step(input), [], "{input:?}");
        }
        tracker.step(Input::Assigned { epoch: 8, position: 0, committed: Some(0) });
        assert_eq!(tracker.step(sent(3, 0, 10)), [], "of the old epoch");
        assert!(tracker.is_settled());
    }
}
