//! Every interleaving of a small model. Its axes: a log of four records with a gap, read in batches of
//! one or two, two of them in flight, stored part by part on two shards and reported in any order; a shard
//! whose reply is lost; a commit that is sent, applied, acknowledged, acknowledged late, or whose reply is lost; a query of the committed position, also
//! while a commit is in flight; crashes and revocations, after which batches in flight may still be
//! stored; an operator's reset backward, into the middle, or forward; and a recreated topic.
//!
//! After every step, the records before the committed position must be durable; a reset is reported
//! when it can be distinguished; a settled tracker has nothing in flight; from every state a run
//! without faults reaches the end. The model calls the same `step` as the driver and the same `BatchParts`
//! as the batch writer, and `seeded.rs` compiles it again with both of them broken on purpose.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::batch_parts::BatchParts;
use crate::tracker::{Action, BatchId, Input, Tracker};

/// Offsets that hold a record; 2 holds none, as after compaction or a transaction's marker.
const OFFSETS: [i64; 4] = [0, 1, 3, 4];
/// The offsets with a record of the recreated topic.
const OFFSETS_RECREATED: [i64; 2] = [0, 2];
/// The positions to which an operator may reset: back, into the middle, past the end.
const RESETS: [i64; 3] = [0, 2, 5];
/// Shards; a record of index n is on shard n modulo this number.
const SHARDS: usize = 2;
/// The total of crashes, revocations, lost replies, resets and recreated topics in one history.
const FAULTS: u8 = 3;

/// A batch in flight: its records, and the parts that no shard has acknowledged.
#[derive(Clone, PartialEq, Eq, Hash)]
struct BatchInFlight {
    batch: BatchId,
    /// None after the topic was recreated.
    records: u8,
    parts: BatchParts,
}

/// Sent and without a reply.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Commit {
    epoch: u64,
    position: i64,
    /// The broker has applied it.
    applied: bool,
    /// Of offsets of the topic before it was recreated.
    outdated: bool,
}

/// One process.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Member {
    tracker: Tracker,
    epoch: Option<u64>,
    read: i64,
    /// The next offset lies before the last one.
    truncated: bool,
    in_flight: Vec<BatchInFlight>,
    commit: Option<Commit>,
    /// An acknowledgement after the end of its assignment. It may be of a commit that was not sent for
    /// that reason.
    late_reply: Option<(u64, i64)>,
    /// The broker's position by its last reply.
    believed: Option<i64>,
    /// Another possible position, since a reply was lost.
    unconfirmed: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct ModelState {
    recreated: bool,
    committed: Option<i64>,
    /// Whether the committed position is one of the deleted topic.
    outdated: bool,
    /// An operator's position that was neither overwritten nor read from.
    reset: Option<i64>,
    table: u8,
    /// Records that the operator chose to skip.
    skipped: u8,
    member: Member,
    /// Parts of batches of processes and assignments that have ended: they may still be stored.
    orphans: Vec<u8>,
    crashes: u8,
    revokes: u8,
    lost_replies: u8,
    resets: u8,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Assign,
    StartBatch(usize),
    /// A shard stores the part of a batch and acknowledges it.
    StorePart(usize, usize),
    /// A shard stores the part of a batch; its reply is lost.
    LosePart(usize, usize),
    ReportStored(usize),
    StoreOrphan(usize),
    ApplyCommit,
    Acknowledge,
    AcknowledgeLate,
    LoseReply,
    Tick,
    QueryCommitted,
    Revoke,
    Crash,
    Reset(i64),
    RecreateTopic,
}

/// The records of a shard.
fn records_of(shard: usize) -> u8 {
    (0..u8::BITS)
        .filter(|index| *index as usize % SHARDS == shard)
        .fold(0, |all, own| all | 1 << own)
}

impl BatchInFlight {
    /// The records of each part that is sent and not acknowledged.
    fn sent(&self) -> impl Iterator<Item = u8> + '_ {
        self.parts.shards().map(|shard| self.records & records_of(shard))
    }
}

impl ModelState {
    fn new() -> Self {
        Self {
            recreated: false,
            committed: Some(0),
            outdated: false,
            reset: None,
            table: 0,
            skipped: 0,
            member: Member::default(),
            orphans: Vec::new(),
            crashes: 0,
            revokes: 0,
            lost_replies: 0,
            resets: 0,
        }
    }

    fn offsets(&self) -> &'static [i64] {
        if self.recreated { &OFFSETS_RECREATED } else { &OFFSETS }
    }

    fn end(&self) -> i64 {
        self.offsets().last().expect("a log has records") + 1
    }

    /// Records whose offsets satisfy `filter`.
    fn records(&self, filter: impl Fn(i64) -> bool) -> u8 {
        let all = self.offsets().iter().enumerate();
        all.filter(|(_, offset)| filter(**offset))
            .fold(0, |records, (index, _)| records | 1 << index)
    }

    /// The possible next steps; with `faults`, also the remaining faults.
    fn steps(&self, faults: bool) -> Vec<Step> {
        let member = &self.member;
        let mut steps = Vec::new();
        if member.epoch.is_none() {
            steps.push(Step::Assign);
        } else {
            let left = self.offsets().iter().filter(|offset| **offset >= member.read).count();
            if member.in_flight.len() < 2 {
                steps.extend((1..=left.min(2)).map(Step::StartBatch));
            }
            for (index, flight) in member.in_flight.iter().enumerate() {
                if flight.parts.is_durable() {
                    steps.push(Step::ReportStored(index));
                } else {
                    let store = |shard| Step::StorePart(index, shard);
                    steps.extend(flight.parts.shards().map(store));
                }
            }
        }
        match &member.commit {
            // One request at a time.
            _ if member.late_reply.is_some() => steps.push(Step::AcknowledgeLate),
            Some(commit) if commit.applied => steps.push(Step::Acknowledge),
            Some(_) => steps.push(Step::ApplyCommit),
            None => {}
        }
        if member.epoch.is_some() && member.commit.is_none() {
            steps.push(Step::Tick);
        }
        if member.epoch.is_some() && member.late_reply.is_none() && self.committed.is_some() {
            steps.push(Step::QueryCommitted);
        }
        if faults {
            steps.extend(self.faults());
        }
        steps
    }

    fn faults(&self) -> Vec<Step> {
        let member = &self.member;
        let mut steps: Vec<_> = (0..self.orphans.len()).map(Step::StoreOrphan).collect();
        let done = self.crashes
            + self.revokes
            + self.lost_replies
            + self.resets
            + u8::from(self.recreated);
        if done == FAULTS {
            return steps;
        }
        if member.commit.is_some() && member.late_reply.is_none() && self.lost_replies < 1 {
            steps.push(Step::LoseReply);
        }
        if self.lost_replies < 1 {
            for (index, flight) in member.in_flight.iter().enumerate() {
                steps.extend(flight.parts.shards().map(|shard| Step::LosePart(index, shard)));
            }
        }
        // A member that reads from a position of the deleted topic cannot know it: Kafka deletes such
        // positions, except one that arrives between the new topic and the truncation.
        if self.outdated {
            return steps;
        }
        if member.epoch.is_some() {
            if self.crashes < 2 {
                steps.push(Step::Crash);
            }
            if self.revokes < 1 {
                steps.push(Step::Revoke);
            }
            if !self.recreated {
                steps.push(Step::RecreateTopic);
            }
        }
        if self.resets < 1 {
            let moves = RESETS.map(|position| position.min(self.end()));
            steps.extend(
                moves.into_iter().filter(|to| self.committed != Some(*to)).map(Step::Reset),
            );
        }
        steps
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Assign => self.assign(),
            Step::StartBatch(count) => self.start_batch(count),
            Step::StorePart(index, shard) => {
                let flight = &mut self.member.in_flight[index];
                flight.parts.acknowledge(shard);
                self.table |= flight.records & records_of(shard);
            }
            Step::LosePart(index, shard) => {
                self.lost_replies += 1;
                self.table |= self.member.in_flight[index].records & records_of(shard);
            }
            Step::ReportStored(index) => {
                let batch = self.member.in_flight.remove(index).batch;
                self.step_tracker(Input::BatchStored { batch });
            }
            Step::StoreOrphan(index) => self.table |= self.orphans.remove(index),
            Step::ApplyCommit => {
                let commit = self.member.commit.as_mut().expect("a commit");
                commit.applied = true;
                (self.committed, self.reset) = (Some(commit.position), None);
                self.outdated = commit.outdated;
            }
            Step::Acknowledge => {
                let Commit { epoch, position, .. } = self.member.commit.take().expect("a commit");
                (self.member.believed, self.member.unconfirmed) = (Some(position), None);
                self.step_tracker(Input::CommitAcknowledged { epoch, position });
            }
            Step::AcknowledgeLate => {
                let (epoch, position) = self.member.late_reply.take().expect("a late reply");
                self.step_tracker(Input::CommitAcknowledged { epoch, position });
            }
            Step::LoseReply => {
                self.lost_replies += 1;
                let Commit { epoch, position, .. } = self.member.commit.take().expect("a commit");
                self.member.unconfirmed = Some(position);
                self.step_tracker(Input::CommitFailed { epoch });
            }
            Step::Tick => self.step_tracker(Input::Tick),
            Step::QueryCommitted => self.query_committed(),
            Step::Revoke => {
                self.revokes += 1;
                self.step_tracker(Input::Revoked);
                self.end_assignment();
            }
            Step::Crash => {
                self.crashes += 1;
                let member = std::mem::take(&mut self.member);
                self.orphans.extend(member.in_flight.iter().flat_map(BatchInFlight::sent));
            }
            Step::Reset(position) => {
                self.resets += 1;
                (self.committed, self.reset) = (Some(position), Some(position));
                self.skipped |= self.records(|offset| offset < position) & !self.table;
            }
            Step::RecreateTopic => self.recreate_topic(),
        }
        // Drops orphans without an effect; the order of the others does not matter.
        let table = self.table;
        self.orphans.retain(|records| records & !table != 0);
        self.orphans.sort_unstable();
        self.orphans.dedup();
        self.check(step);
    }

    /// By the start policy.
    fn assign(&mut self) {
        // Differs from every earlier one, by the number of events that ended those.
        let epoch = 1 + u64::from(self.crashes + self.revokes + self.resets);
        let committed = self.committed;
        let position = committed.filter(|position| *position <= self.end()).unwrap_or(0);
        self.reset = None;
        let member = &mut self.member;
        (member.epoch, member.read, member.truncated) = (Some(epoch), position, false);
        (member.believed, member.unconfirmed) = (committed, None);
        self.step_tracker(Input::Assigned { epoch, position, committed });
    }

    fn start_batch(&mut self, count: usize) {
        // The smallest free id, so that states that differ in ids only are equal.
        let taken = self.member.in_flight.iter().any(|flight| flight.batch == 1);
        let batch: BatchId = if taken { 2 } else { 1 };
        let epoch = self.member.epoch.expect("an epoch");
        let from = self.member.read;
        let taken: Vec<i64> =
            self.offsets().iter().filter(|offset| **offset >= from).take(count).copied().collect();
        let (first, next) = (taken[0], taken[count - 1] + 1);
        self.member.read = next;
        let records = self.records(|offset| (first..next).contains(&offset));
        self.step_tracker(Input::BatchStarted { batch, epoch, first, next });
        assert!(!self.member.truncated, "a truncation was not noticed");
        let shards = (0..SHARDS).filter(|shard| records & records_of(*shard) != 0);
        let parts = BatchParts::new(shards);
        self.member.in_flight.push(BatchInFlight { batch, records, parts });
    }

    fn query_committed(&mut self) {
        let (epoch, position) = (self.member.epoch.expect("an epoch"), self.committed);
        let position = position.expect("something is committed");
        let Member { commit, believed, unconfirmed, .. } = &self.member;
        let known = [believed, unconfirmed].contains(&&Some(position));
        let reset = commit.is_none() && believed.is_some() && self.reset.is_some() && !known;
        if commit.is_none() {
            (self.member.believed, self.member.unconfirmed) = (Some(position), None);
        }
        self.step_tracker(Input::CommittedPosition { epoch, position });
        assert_eq!(reset, self.member.epoch.is_none(), "whether a reset is reported");
    }

    /// Deletes the topic with its positions and writes other records.
    fn recreate_topic(&mut self) {
        self.recreated = true;
        (self.committed, self.reset) = (None, None);
        (self.table, self.skipped) = (0, 0);
        self.orphans.clear();
        let member = &mut self.member;
        member.in_flight.iter_mut().for_each(|flight| flight.records = 0);
        member.commit.iter_mut().for_each(|commit| commit.outdated = true);
        (member.truncated, member.read) = (member.read > 0, 0);
    }

    /// The assignment has ended. Batches in flight are still reported to the tracker; it must ignore
    /// them.
    fn end_assignment(&mut self) {
        let member = &mut self.member;
        (member.epoch, member.truncated) = (None, false);
        if let Some(commit) = member.commit.take() {
            member.late_reply.get_or_insert((commit.epoch, commit.position));
        }
        for flight in std::mem::take(&mut self.member.in_flight) {
            self.step_tracker(Input::BatchStored { batch: flight.batch });
            self.orphans.extend(flight.sent());
        }
        self.step_tracker(Input::Tick);
    }

    fn step_tracker(&mut self, input: Input) {
        for action in self.member.tracker.step(input) {
            match action {
                Action::Commit { epoch, position } => {
                    assert_eq!(Some(epoch), self.member.epoch, "a commit after the end");
                    assert!(self.member.commit.is_none(), "two commits at once");
                    let outdated = self.member.truncated;
                    self.member.commit = Some(Commit { epoch, position, applied: false, outdated });
                }
                Action::PositionReset { to, .. } => {
                    assert!(
                        self.member.commit.is_none(),
                        "a reset is reported while a commit is in flight"
                    );
                    assert!(self.reset.is_some(), "a reset is reported without one");
                    assert_eq!(Some(to), self.committed);
                    self.end_assignment();
                }
                Action::LogTruncated { .. } => {
                    assert!(self.member.truncated, "a truncation is reported without one");
                    self.member.truncated = false;
                    (self.member.believed, self.member.unconfirmed) = (None, None);
                }
            }
        }
    }

    fn check(&self, step: Step) {
        let passed = self.records(|offset| self.committed.is_some_and(|end| offset < end));
        let durable = self.table | self.skipped;
        assert!(
            self.outdated || passed & !durable == 0,
            "{step:?}: {:?} is committed, the table holds {durable:b}",
            self.committed
        );
        let Member { tracker, epoch, in_flight, commit, .. } = &self.member;
        if epoch.is_some() && tracker.is_settled() {
            let busy = in_flight.iter().any(|flight| flight.records != 0) || commit.is_some();
            assert!(!busy, "{step:?}: settled, and something is in flight");
        }
    }

    fn is_done(&self) -> bool {
        let all = self.records(|_| true);
        let settled = self.member.epoch.is_some() && self.member.tracker.is_settled();
        settled && (self.table | self.skipped) == all && self.committed == Some(self.end())
    }

    /// The next step of a run without faults: first steps that make progress, then ticks and queries in
    /// turn.
    fn calm_step(&self, queries: bool) -> Step {
        let steps = self.steps(false);
        let idle = |step: &&Step| matches!(step, Step::Tick | Step::QueryCommitted);
        let urgent = steps.iter().find(|step| !idle(step));
        let query = steps.iter().find(|step| queries && matches!(step, Step::QueryCommitted));
        *urgent.or(query).unwrap_or(&Step::Tick)
    }

    /// Whether a run without faults reaches the end from here, and settles. `known` are states from
    /// which it does; the states on the way are added to them.
    fn reaches_the_end(&self, known: &mut HashSet<u64>) -> bool {
        let (mut state, mut passed) = (self.clone(), Vec::new());
        for number in 0..80 {
            let queries = number % 2 == 1;
            passed.push(key(&state, queries));
            if state.is_done() || known.contains(&passed[passed.len() - 1]) {
                known.extend(passed);
                return true;
            }
            state.take(state.calm_step(queries));
        }
        false
    }
}

/// A state of a run without faults, in few bytes.
fn key(state: &ModelState, queries: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    (state, queries).hash(&mut hasher);
    hasher.finish()
}

/// Walks all states; returns how many there are.
pub fn walk() -> usize {
    let (mut seen, mut known) = (HashSet::new(), HashSet::new());
    let mut open = VecDeque::from([ModelState::new()]);
    seen.insert(ModelState::new());
    while let Some(state) = open.pop_front() {
        assert!(state.reaches_the_end(&mut known), "stuck with {:?} committed", state.committed);
        for step in state.steps(true) {
            let mut next = state.clone();
            next.take(step);
            if !seen.contains(&next) {
                seen.insert(next.clone());
                open.push_back(next);
            }
        }
    }
    seen.len()
}

#[test]
fn every_interleaving_commits_only_past_durable_offsets() {
    let states = walk();
    println!(
        "{states} states: {} records with a gap on {SHARDS} shards, batches of 1 to 2, 2 in flight, a \
         commit and its reply on time, late or lost, a query at any moment; up to {FAULTS} of 2 crashes, a \
         revocation, a lost reply, a reset to {RESETS:?}, a recreated topic",
        OFFSETS.len()
    );
    assert!(states > 10_000, "{states} states are too few to prove anything");
}
