//! Every interleaving of a tiny world. Its axes: a log of four records with a gap, read in batches of
//! one or two, two of them under way, which land and are told in any order; a commit that is issued,
//! applied, acknowledged, told late, or whose answer is lost; a look at what the broker holds, also
//! while a commit is under way; crashes and revocations, after which what was under way may still
//! land; an operator's reset backward, into the middle, or forward; and the topic made anew.
//!
//! After every step the committed position may lie only past records that are durable; a reset is
//! told when it can be told; a tracker that says it has settled has nothing under way; from every
//! state a run without faults comes to the end. It calls the same `step` as the driver, and is
//! compiled a second time by `seeded.rs` against trackers that are broken on purpose.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::tracker::{Action, BatchId, Input, Tracker};

/// Offsets that hold a record; 2 holds none, as after compaction or a transaction's marker.
const OFFSETS: [i64; 4] = [0, 1, 3, 4];
/// The same of the topic that was made anew.
const OFFSETS_ANEW: [i64; 2] = [0, 2];
/// Where an operator may move the position to: back, into the middle, past the end.
const RESETS: [i64; 3] = [0, 2, 5];
/// Crashes, revocations, lost answers, resets and new topics in one history, all together.
const FAULTS: u8 = 3;

/// A batch under way: which records it holds, and whether they are in the table.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Flight {
    batch: BatchId,
    /// None, when the topic was made anew since.
    records: u8,
    landed: bool,
}

/// Issued and not answered.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Commit {
    epoch: u64,
    position: i64,
    /// The broker has it.
    applied: bool,
    /// Of offsets that mean something else by now.
    outdated: bool,
}

/// One process.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Member {
    tracker: Tracker,
    epoch: Option<u64>,
    read: i64,
    /// What is read next lies before what was read last.
    jumps: bool,
    flights: Vec<Flight>,
    commit: Option<Commit>,
    /// An acknowledgement that is told after its assignment has ended. It may be of a commit that
    /// was held back for that very reason.
    late: Option<(u64, i64)>,
    /// What the broker holds as far as the member was told.
    believed: Option<i64>,
    /// And what else it may hold, since an answer was lost.
    doubted: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    anew: bool,
    committed: Option<i64>,
    /// What is committed is of the topic that was.
    outdated: bool,
    /// An operator's position that nobody has overwritten or begun from.
    reset: Option<i64>,
    table: u8,
    /// Records that the operator chose to skip.
    skipped: u8,
    member: Member,
    /// Batches of processes and assignments that are no more: they may still land.
    strays: Vec<u8>,
    crashes: u8,
    revokes: u8,
    lost: u8,
    resets: u8,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Assign,
    Send(usize),
    Land(usize),
    Answer(usize),
    StrayLands(usize),
    Apply,
    Acknowledge,
    AcknowledgeLate,
    LoseAnswer,
    Beat,
    Look,
    Revoke,
    Crash,
    Reset(i64),
    MakeAnew,
}

impl World {
    fn new() -> Self {
        Self {
            anew: false,
            committed: Some(0),
            outdated: false,
            reset: None,
            table: 0,
            skipped: 0,
            member: Member::default(),
            strays: Vec::new(),
            crashes: 0,
            revokes: 0,
            lost: 0,
            resets: 0,
        }
    }

    fn offsets(&self) -> &'static [i64] {
        if self.anew { &OFFSETS_ANEW } else { &OFFSETS }
    }

    fn end(&self) -> i64 {
        self.offsets().last().expect("a log has records") + 1
    }

    /// Records whose offsets are so.
    fn records(&self, so: impl Fn(i64) -> bool) -> u8 {
        let all = self.offsets().iter().enumerate();
        all.filter(|(_, offset)| so(**offset)).fold(0, |records, (index, _)| records | 1 << index)
    }

    /// What can happen next; `faults` too, as far as there are any left.
    fn steps(&self, faults: bool) -> Vec<Step> {
        let member = &self.member;
        let mut steps = Vec::new();
        if member.epoch.is_none() {
            steps.push(Step::Assign);
        } else {
            let left = self.offsets().iter().filter(|offset| **offset >= member.read).count();
            if member.flights.len() < 2 {
                steps.extend((1..=left.min(2)).map(Step::Send));
            }
            for (index, flight) in member.flights.iter().enumerate() {
                steps.push(if flight.landed { Step::Answer(index) } else { Step::Land(index) });
            }
        }
        match &member.commit {
            // One question at a time.
            _ if member.late.is_some() => steps.push(Step::AcknowledgeLate),
            Some(commit) if commit.applied => steps.push(Step::Acknowledge),
            Some(_) => steps.push(Step::Apply),
            None => {}
        }
        if member.epoch.is_some() && member.commit.is_none() {
            steps.push(Step::Beat);
        }
        if member.epoch.is_some() && member.late.is_none() && self.committed.is_some() {
            steps.push(Step::Look);
        }
        if faults {
            steps.extend(self.faults());
        }
        steps
    }

    fn faults(&self) -> Vec<Step> {
        let member = &self.member;
        let mut steps: Vec<_> = (0..self.strays.len()).map(Step::StrayLands).collect();
        let done = self.crashes + self.revokes + self.lost + self.resets + u8::from(self.anew);
        if done == FAULTS {
            return steps;
        }
        if member.commit.is_some() && member.late.is_none() && self.lost < 1 {
            steps.push(Step::LoseAnswer);
        }
        // Whoever begins from a position of the topic that was cannot know it: Kafka forgets such
        // positions, save one that arrives between the new topic and the jump.
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
            if !self.anew {
                steps.push(Step::MakeAnew);
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
            Step::Send(count) => self.send(count),
            Step::Land(index) => {
                let flight = &mut self.member.flights[index];
                flight.landed = true;
                self.table |= flight.records;
            }
            Step::Answer(index) => {
                let batch = self.member.flights.remove(index).batch;
                self.tell(Input::Durable { batch });
            }
            Step::StrayLands(index) => self.table |= self.strays.remove(index),
            Step::Apply => {
                let commit = self.member.commit.as_mut().expect("a commit");
                commit.applied = true;
                (self.committed, self.reset) = (Some(commit.position), None);
                self.outdated = commit.outdated;
            }
            Step::Acknowledge => {
                let Commit { epoch, position, .. } = self.member.commit.take().expect("a commit");
                (self.member.believed, self.member.doubted) = (Some(position), None);
                self.tell(Input::Acknowledged { epoch, position });
            }
            Step::AcknowledgeLate => {
                let (epoch, position) = self.member.late.take().expect("an answer");
                self.tell(Input::Acknowledged { epoch, position });
            }
            Step::LoseAnswer => {
                self.lost += 1;
                let Commit { epoch, position, .. } = self.member.commit.take().expect("a commit");
                self.member.doubted = Some(position);
                self.tell(Input::Refused { epoch });
            }
            Step::Beat => self.tell(Input::Beat),
            Step::Look => self.look(),
            Step::Revoke => {
                self.revokes += 1;
                self.tell(Input::Ended);
                self.ended();
            }
            Step::Crash => {
                self.crashes += 1;
                let member = std::mem::take(&mut self.member);
                self.strays.extend(member.flights.iter().map(|flight| flight.records));
            }
            Step::Reset(position) => {
                self.resets += 1;
                (self.committed, self.reset) = (Some(position), Some(position));
                self.skipped |= self.records(|offset| offset < position) & !self.table;
            }
            Step::MakeAnew => self.make_anew(),
        }
        // What a stray would change nothing with is none, and their order does not matter.
        let table = self.table;
        self.strays.retain(|records| records & !table != 0);
        self.strays.sort_unstable();
        self.strays.dedup();
        self.check(step);
    }

    /// By the start policy.
    fn assign(&mut self) {
        // Told apart from every earlier one by what ended those.
        let epoch = 1 + u64::from(self.crashes + self.revokes + self.resets);
        let committed = self.committed;
        let position = committed.filter(|position| *position <= self.end()).unwrap_or(0);
        self.reset = None;
        let member = &mut self.member;
        (member.epoch, member.read, member.jumps) = (Some(epoch), position, false);
        (member.believed, member.doubted) = (committed, None);
        self.tell(Input::Assigned { epoch, position, committed });
    }

    fn send(&mut self, count: usize) {
        // The smaller of two ids that is free, so that states which differ in nothing else are one.
        let taken = self.member.flights.iter().any(|flight| flight.batch == 1);
        let batch: BatchId = if taken { 2 } else { 1 };
        let epoch = self.member.epoch.expect("an epoch");
        let from = self.member.read;
        let taken: Vec<i64> =
            self.offsets().iter().filter(|offset| **offset >= from).take(count).copied().collect();
        let (first, next) = (taken[0], taken[count - 1] + 1);
        self.member.read = next;
        let records = self.records(|offset| (first..next).contains(&offset));
        self.tell(Input::Sent { batch, epoch, first, next });
        assert!(!self.member.jumps, "a jump went unnoticed");
        self.member.flights.push(Flight { batch, records, landed: false });
    }

    fn look(&mut self) {
        let (epoch, position) = (self.member.epoch.expect("an epoch"), self.committed);
        let position = position.expect("something is committed");
        let Member { commit, believed, doubted, .. } = &self.member;
        let known = [believed, doubted].contains(&&Some(position));
        let moved = commit.is_none() && believed.is_some() && self.reset.is_some() && !known;
        if commit.is_none() {
            (self.member.believed, self.member.doubted) = (Some(position), None);
        }
        self.tell(Input::Found { epoch, position });
        assert_eq!(moved, self.member.epoch.is_none(), "whether a reset is told");
    }

    /// Deleted with what was committed of it, and other records written.
    fn make_anew(&mut self) {
        self.anew = true;
        (self.committed, self.reset) = (None, None);
        (self.table, self.skipped) = (0, 0);
        self.strays.clear();
        let member = &mut self.member;
        member.flights.iter_mut().for_each(|flight| flight.records = 0);
        member.commit.iter_mut().for_each(|commit| commit.outdated = true);
        (member.jumps, member.read) = (member.read > 0, 0);
    }

    /// The assignment is over. What is under way is still told to the ended tracker; it may do
    /// nothing about it.
    fn ended(&mut self) {
        let member = &mut self.member;
        (member.epoch, member.jumps) = (None, false);
        if let Some(commit) = member.commit.take() {
            member.late.get_or_insert((commit.epoch, commit.position));
        }
        for flight in std::mem::take(&mut self.member.flights) {
            self.tell(Input::Durable { batch: flight.batch });
            self.strays.push(flight.records);
        }
        self.tell(Input::Beat);
    }

    fn tell(&mut self, input: Input) {
        for action in self.member.tracker.step(input) {
            match action {
                Action::Commit { epoch, position } => {
                    assert_eq!(Some(epoch), self.member.epoch, "a commit after the end");
                    assert!(self.member.commit.is_none(), "two commits at once");
                    let outdated = self.member.jumps;
                    self.member.commit = Some(Commit { epoch, position, applied: false, outdated });
                }
                Action::Moved { theirs, .. } => {
                    assert!(self.member.commit.is_none(), "nobody can say whose position it is");
                    assert!(self.reset.is_some(), "nobody moved it");
                    assert_eq!(Some(theirs), self.committed);
                    self.ended();
                }
                Action::JumpedBack { .. } => {
                    assert!(self.member.jumps, "reading did not jump");
                    self.member.jumps = false;
                    (self.member.believed, self.member.doubted) = (None, None);
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
        let Member { tracker, epoch, flights, commit, .. } = &self.member;
        if epoch.is_some() && tracker.is_settled() {
            let under_way = flights.iter().any(|flight| flight.records != 0) || commit.is_some();
            assert!(!under_way, "{step:?}: settled, and something is under way");
        }
    }

    fn is_done(&self) -> bool {
        let all = self.records(|_| true);
        let settled = self.member.epoch.is_some() && self.member.tracker.is_settled();
        settled && (self.table | self.skipped) == all && self.committed == Some(self.end())
    }

    /// The next step of a run without faults: what makes progress first, then beats and looks in
    /// turn.
    fn calm_step(&self, looks: bool) -> Step {
        let steps = self.steps(false);
        let idle = |step: &&Step| matches!(step, Step::Beat | Step::Look);
        let urgent = steps.iter().find(|step| !idle(step));
        let look = steps.iter().find(|step| looks && matches!(step, Step::Look));
        *urgent.or(look).unwrap_or(&Step::Beat)
    }

    /// Whether a run without faults comes to the end from here, and settles. `known` are states
    /// from which it does; what it passes is added to them.
    fn comes_to_the_end(&self, known: &mut HashSet<u64>) -> bool {
        let (mut world, mut passed) = (self.clone(), Vec::new());
        for number in 0..80 {
            let looks = number % 2 == 1;
            passed.push(key(&world, looks));
            if world.is_done() || known.contains(&passed[passed.len() - 1]) {
                known.extend(passed);
                return true;
            }
            world.take(world.calm_step(looks));
        }
        false
    }
}

/// A state of a run without faults, in few bytes.
fn key(world: &World, looks: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    (world, looks).hash(&mut hasher);
    hasher.finish()
}

/// Walks all states; returns how many there are.
pub fn walk() -> usize {
    let (mut seen, mut known) = (HashSet::new(), HashSet::new());
    let mut open = VecDeque::from([World::new()]);
    seen.insert(World::new());
    while let Some(world) = open.pop_front() {
        assert!(world.comes_to_the_end(&mut known), "stuck with {:?} committed", world.committed);
        for step in world.steps(true) {
            let mut next = world.clone();
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
fn every_interleaving_keeps_the_committed_position_behind_what_is_durable() {
    let states = walk();
    println!(
        "{states} states: {} records with a gap, batches of 1 to 2, 2 under way, a commit and its \
         answer on time, late or lost, a look at any moment; up to {FAULTS} of 2 crashes, a \
         revocation, a lost answer, a reset to {RESETS:?}, a topic made anew",
        OFFSETS.len()
    );
    assert!(states > 10_000, "{states} states are too few to prove anything");
}
