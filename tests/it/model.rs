//! Every interleaving of a tiny world: a log of four records with a gap, batches of one or two,
//! two of them under way, crashes, revocations, lost answers and an operator's reset.
//!
//! After every step the committed position may lie only past records that are durable; from every
//! state a run without faults must come to the end. It calls the same `step` as the driver, and is
//! compiled a second time by `seeded.rs` against trackers that are broken on purpose.

use std::collections::{HashSet, VecDeque};

use super::tracker::{Action, BatchId, Input, Tracker};

/// Offsets that hold a record; 2 holds none, as after compaction or a transaction's marker.
const OFFSETS: [i64; 4] = [0, 1, 3, 4];
const END: i64 = 5;
const ALL: u8 = 0b1111;
/// Crashes, revocations, lost answers and resets in one history, all together.
const FAULTS: u8 = 3;

/// A batch under way: which records it holds, and whether they are in the table.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Flight {
    batch: BatchId,
    records: u8,
    landed: bool,
}

/// One process.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Member {
    tracker: Tracker,
    epoch: Option<u64>,
    read: i64,
    flights: Vec<Flight>,
    /// Issued and not answered, and whether the broker has applied it.
    commit: Option<(u64, i64, bool)>,
}

#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct World {
    committed: i64,
    table: u8,
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
    LoseAnswer,
    Beat,
    Look,
    Revoke,
    Crash,
    Reset,
}

impl World {
    fn records_from(position: i64) -> impl Iterator<Item = usize> {
        (0..OFFSETS.len()).filter(move |&index| OFFSETS[index] >= position)
    }

    /// What can happen next; `faults` too, as far as there are any left.
    fn steps(&self, faults: bool) -> Vec<Step> {
        let member = &self.member;
        let mut steps = Vec::new();
        if member.epoch.is_none() {
            steps.push(Step::Assign);
        } else {
            let left = Self::records_from(member.read).count();
            if member.flights.len() < 2 {
                steps.extend((1..=left.min(2)).map(Step::Send));
            }
            for (index, flight) in member.flights.iter().enumerate() {
                steps.push(if flight.landed { Step::Answer(index) } else { Step::Land(index) });
            }
            match member.commit {
                Some((_, _, false)) => steps.push(Step::Apply),
                Some((_, _, true)) => steps.push(Step::Acknowledge),
                None => steps.extend([Step::Beat, Step::Look]),
            }
        }
        if faults {
            steps.extend((0..self.strays.len()).map(Step::StrayLands));
        }
        if !faults || self.crashes + self.revokes + self.lost + self.resets == FAULTS {
            return steps;
        }
        if member.epoch.is_some() && self.crashes < 2 {
            steps.push(Step::Crash);
        }
        // The gate: an assignment ends only after a commit of it was answered.
        if member.epoch.is_some() && member.commit.is_none() && self.revokes < 1 {
            steps.push(Step::Revoke);
        }
        if member.commit.is_some() && self.lost < 1 {
            steps.push(Step::LoseAnswer);
        }
        if self.resets < 1 {
            steps.push(Step::Reset);
        }
        steps
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Assign => {
                // Told apart from every earlier one by what ended those.
                let ends = self.crashes + self.revokes + self.resets;
                let (epoch, position) = (1 + u64::from(ends), self.committed);
                self.member.epoch = Some(epoch);
                self.member.read = position;
                self.tell(Input::Assigned { epoch, position, committed: Some(position) });
            }
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
                if let Some((_, position, applied)) = &mut self.member.commit {
                    *applied = true;
                    self.committed = *position;
                }
            }
            Step::Acknowledge => {
                let (epoch, position, _) = self.member.commit.take().expect("a commit");
                self.tell(Input::Acknowledged { epoch, position });
            }
            Step::LoseAnswer => {
                self.lost += 1;
                let (epoch, ..) = self.member.commit.take().expect("a commit");
                self.tell(Input::Refused { epoch });
            }
            Step::Beat => self.tell(Input::Beat),
            Step::Look => {
                let (epoch, position) = (self.member.epoch.expect("an epoch"), self.committed);
                self.tell(Input::Found { epoch, position });
            }
            Step::Revoke => {
                self.revokes += 1;
                self.tell(Input::Ended);
                self.end();
            }
            Step::Crash => {
                self.crashes += 1;
                let member = std::mem::take(&mut self.member);
                self.strays.extend(member.flights.iter().map(|flight| flight.records));
            }
            Step::Reset => {
                self.resets += 1;
                self.committed = 0;
            }
        }
        // What a stray would change nothing with is none, and their order does not matter.
        let table = self.table;
        self.strays.retain(|records| records & !table != 0);
        self.strays.sort_unstable();
        self.strays.dedup();
        assert!(
            self.sound(),
            "{step:?}: {} is committed, the table holds {:b}",
            self.committed,
            self.table
        );
    }

    fn send(&mut self, count: usize) {
        // The smaller of two ids that is free, so that states which differ in nothing else are one.
        let taken = self.member.flights.first().is_some_and(|flight| flight.batch == 1);
        let batch: BatchId = if taken { 2 } else { 1 };
        let epoch = self.member.epoch.expect("an epoch");
        let taken: Vec<usize> = Self::records_from(self.member.read).take(count).collect();
        let (first, next) = (OFFSETS[taken[0]], OFFSETS[taken[count - 1]] + 1);
        self.member.read = next;
        let records = taken.iter().fold(0, |records, index| records | 1 << index);
        self.member.flights.push(Flight { batch, records, landed: false });
        self.tell(Input::Sent { batch, epoch, first, next });
    }

    /// The assignment is over. What is under way is still told to the ended tracker; it may do
    /// nothing about it.
    fn end(&mut self) {
        self.member.epoch = None;
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
                    self.member.commit = Some((epoch, position, false));
                }
                Action::Moved { theirs, .. } => {
                    assert!(self.resets > 0, "nobody moved it");
                    assert_eq!(theirs, self.committed);
                    self.end();
                }
                Action::JumpedBack { .. } => panic!("reading never jumped"),
            }
        }
    }

    /// Invariant 1.
    fn sound(&self) -> bool {
        let past = |index: &usize| OFFSETS[*index] < self.committed;
        (0..OFFSETS.len()).filter(past).all(|index| self.table & 1 << index != 0)
    }

    /// Whether a run without faults comes to the end from here, and settles.
    fn comes_to_the_end(&self) -> bool {
        let mut world = self.clone();
        for _ in 0..60 {
            let done = world.table == ALL && world.committed == END;
            if done && world.member.tracker.is_settled() && world.member.epoch.is_some() {
                return true;
            }
            // The first step makes progress where there is any; beating and looking come last.
            let steps = world.steps(false);
            let urgent = steps.iter().find(|step| !matches!(step, Step::Beat | Step::Look));
            match urgent {
                Some(step) => world.take(*step),
                None => {
                    world.take(Step::Beat);
                    if world.member.commit.is_none() {
                        world.take(Step::Look);
                    }
                }
            }
        }
        false
    }
}

/// Walks all states; returns how many there are.
pub fn walk() -> usize {
    let mut seen = HashSet::new();
    let mut open = VecDeque::from([World::default()]);
    seen.insert(World::default());
    while let Some(world) = open.pop_front() {
        assert!(world.comes_to_the_end(), "stuck with {} committed", world.committed);
        for step in world.steps(true) {
            let mut next = world.clone();
            next.take(step);
            if seen.insert(next.clone()) {
                open.push_back(next);
            }
        }
    }
    seen.len()
}

#[test]
fn every_interleaving_keeps_the_committed_position_behind_what_is_durable() {
    let states = walk();
    println!("{states} states");
    assert!(states > 10_000, "{states} states are too few to prove anything");
}
