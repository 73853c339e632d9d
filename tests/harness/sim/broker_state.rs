//! The state of the simulated broker, table and dead-letter topic, and the checks of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use processors::flow::start_policy::{StartPosition, start_position};
use processors::run::source::Notice;

use super::SimCounts;
use crate::seeded_random::SeededRandom;

/// How large a simulation is.
#[derive(Debug, Clone, Copy)]
pub struct SimSize {
    /// Partitions at first.
    pub partitions: u64,
    /// Records of each at most.
    pub records: u64,
    /// Members at most.
    pub members: u64,
    /// Records of a batch at most.
    pub batch: u64,
    /// One fault in so many chances.
    pub calmness: u64,
    /// Faults in one run.
    pub faults: u64,
}

impl SimSize {
    /// Most simulations are small, some have 64 partitions and 8 members.
    pub fn of(dice: &mut SeededRandom) -> Self {
        let large = dice.once_in(16);
        let partitions = if large { dice.between(16, 65) } else { dice.between(1, 7) };
        Self {
            partitions,
            records: if large { dice.between(1, 12) } else { dice.between(1, 60) },
            members: if large { dice.between(3, 9) } else { dice.between(1, 4) },
            batch: dice.between(1, 24),
            calmness: dice.between(2, 12),
            faults: if large { dice.between(10, 60) } else { dice.between(3, 25) },
        }
    }
}

/// A member, by the order in which they came.
pub(super) type MemberId = u32;

/// One partition.
#[derive(Debug, Default)]
pub(super) struct SimPartition {
    /// Offsets that hold a record, in order, and whether it is good.
    pub records: BTreeMap<i64, bool>,
    pub low: i64,
    pub high: i64,
    pub committed: Option<i64>,
    pub owner: Option<MemberId>,
    /// The member that gets it once the owner has released it.
    pub next: Option<MemberId>,
}

/// The broker's state of a member, and the notices for it.
#[derive(Debug, Default)]
pub(super) struct SimMember {
    /// It exists as a process.
    pub alive: bool,
    /// It leaves the group: partitions are revoked at once.
    pub closing: bool,
    pub epoch: u64,
    /// Of each partition that it believes to own.
    pub epochs: BTreeMap<i32, u64>,
    pub revoked: BTreeSet<i32>,
    /// Where it reads next.
    pub read: BTreeMap<i32, i64>,
    /// Partitions that are not fetched.
    pub paused: BTreeSet<i32>,
    pub notices: Vec<Notice>,
    /// A commit is in flight: an assignment ends only after it.
    pub committing: bool,
    /// Revocations that wait for it.
    pub revocations: Vec<i32>,
}

/// All of the state.
#[derive(Debug)]
pub(super) struct BrokerState {
    pub partitions: Vec<SimPartition>,
    pub members: BTreeMap<MemberId, SimMember>,
    pub durable: BTreeSet<(i32, i64)>,
    pub dead_letters: BTreeSet<(i32, i64)>,
    pub dice: SeededRandom,
    /// Nothing fails any more.
    pub calm: bool,
    pub calmness: u64,
    pub violations: Vec<String>,
    pub counts: SimCounts,
}

impl BrokerState {
    pub(super) fn new(size: &SimSize, dice: SeededRandom) -> Self {
        let mut broker = Self {
            partitions: Vec::new(),
            members: BTreeMap::new(),
            durable: BTreeSet::new(),
            dead_letters: BTreeSet::new(),
            dice,
            calm: false,
            calmness: size.calmness,
            violations: Vec::new(),
            counts: SimCounts::default(),
        };
        for _ in 0..size.partitions {
            broker.add_partition(size.records);
        }
        broker
    }

    /// One more partition, with some records.
    pub(super) fn add_partition(&mut self, records: u64) {
        self.partitions.push(SimPartition::default());
        let partition = self.partitions.len() - 1;
        let count = self.dice.between(0, records + 1);
        self.append(partition, count);
    }

    /// Writes records; some offsets hold none, some records are bad.
    pub(super) fn append(&mut self, partition: usize, count: u64) {
        for _ in 0..count {
            let (gap, good) = (self.dice.once_in(9), !self.dice.once_in(40));
            let own = &mut self.partitions[partition];
            own.high += if gap { 3 } else { 0 };
            own.records.insert(own.high, good);
            own.high += 1;
            self.counts.records += 1;
        }
    }

    /// Whether a fault happens now.
    pub(super) fn fails(&mut self) -> bool {
        !self.calm && self.dice.once_in(self.calmness)
    }

    /// How long an operation takes.
    pub(super) fn delay(&mut self, most_ms: u64) -> Duration {
        let most_ms = if self.calm { most_ms.min(50) } else { most_ms };
        Duration::from_millis(self.dice.between(0, most_ms + 1))
    }

    /// Assigns a partition to a member, from the position of the start policy.
    pub(super) fn assign(&mut self, number: i32, id: MemberId) {
        let partition = &mut self.partitions[index(number)];
        partition.next = None;
        if !self.members.get(&id).is_some_and(|member| member.alive && !member.closing) {
            partition.owner = None;
            return;
        }
        partition.owner = Some(id);
        let start = start_position(partition.committed, partition.low, partition.high);
        let committed = partition.committed;
        let member = self.members.get_mut(&id).expect("it is alive");
        member.begin(number, start, committed);
    }

    /// The owner has released it, or has ended.
    pub(super) fn freed(&mut self, number: i32, id: MemberId) {
        let partition = &mut self.partitions[index(number)];
        if partition.owner == Some(id) {
            partition.owner = None;
            if let Some(next) = partition.next {
                self.assign(number, next);
            }
        }
    }

    /// A commit arrives. Only the owner's is taken.
    pub(super) fn commit(&mut self, id: MemberId, number: i32, position: i64) -> bool {
        let partition = &mut self.partitions[index(number)];
        if partition.owner != Some(id) {
            return false;
        }
        partition.committed = Some(position);
        self.counts.commits += 1;
        let past = partition.records.range(..position);
        let missing: Vec<i64> = past
            .filter(|&(&offset, &good)| {
                let location = (number, offset);
                let held = if good { &self.durable } else { &self.dead_letters };
                offset >= partition.low && !held.contains(&location)
            })
            .map(|(offset, _)| *offset)
            .collect();
        if !missing.is_empty() {
            self.violations.push(format!(
                "member {id} committed {position} of partition {number}; not durable: {missing:?}"
            ));
        }
        true
    }

    /// Whether all that is in the log is committed.
    pub(super) fn is_done(&self) -> bool {
        self.partitions.iter().all(|partition| {
            let last =
                partition.records.last_key_value().map_or(partition.low, |(last, _)| last + 1);
            partition.committed.unwrap_or(partition.low) >= last.max(partition.low)
        })
    }

    /// The partitions that are not committed to their end.
    pub(super) fn uncommitted(&self) -> String {
        let behind = self.partitions.iter().enumerate().filter_map(|(number, partition)| {
            let last = partition.records.last_key_value().map_or(0, |(last, _)| last + 1);
            (partition.committed.unwrap_or(partition.low) < last).then(|| {
                let owner = partition.owner.and_then(|id| self.members.get(&id));
                let at = partition.committed;
                format!(
                    "partition {number} at {at:?} of {last}, next {:?}, {owner:?}",
                    partition.next
                )
            })
        });
        behind.collect::<Vec<_>>().join("; ")
    }

    /// Every record that is still in the log must be a row or a dead letter.
    pub(super) fn check_balance(&mut self) {
        for (number, partition) in (0..).zip(&self.partitions) {
            for (&offset, &good) in partition.records.range(partition.low..) {
                let held = if good { &self.durable } else { &self.dead_letters };
                if !held.contains(&(number, offset)) {
                    self.violations.push(format!("lost: {number}:{offset}, good {good}"));
                }
            }
        }
    }

    pub(super) fn member(&mut self, id: MemberId) -> &mut SimMember {
        self.members.entry(id).or_default()
    }
}

impl SimMember {
    /// Reads a partition from a position on, under a new epoch.
    pub(super) fn begin(&mut self, partition: i32, start: StartPosition, committed: Option<i64>) {
        self.epoch += 1;
        let epoch = self.epoch;
        // A partition that is assigned is fetched.
        self.paused.remove(&partition);
        // A revocation of which the member has no notice yet is over too.
        self.revoked.remove(&partition);
        self.revocations.retain(|revoked| *revoked != partition);
        self.epochs.insert(partition, epoch);
        self.read.insert(partition, start.position);
        self.notices.push(Notice::Assigned { partition, epoch, start, committed });
    }

    /// As [`SimMember::begin`], where the position was reset.
    pub(super) fn reset(&mut self, partition: i32, position: i64, low: i64, high: i64) {
        let start = start_position(Some(position), low, high);
        self.begin(partition, start.after_reset(), Some(position));
    }

    /// An assignment ends for the member, at once or after the reply to its commit.
    pub(super) fn end(&mut self, partition: i32) -> bool {
        if self.committing {
            self.revocations.push(partition);
            return false;
        }
        self.revoked.remove(&partition);
        self.read.remove(&partition);
        if self.epochs.remove(&partition).is_some() {
            self.notices.push(Notice::Revoked { partition });
        }
        true
    }
}

/// A partition's index in the list.
pub(super) fn index(partition: i32) -> usize {
    usize::try_from(partition).expect("partitions count from 0")
}
