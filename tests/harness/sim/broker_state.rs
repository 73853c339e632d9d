//! The state of the simulated broker, table and dead-letter topic, and its checks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use processors::run::source::Notice;
use processors::shards::shard_layout::ShardLayout;
use records::flow::start_policy::{StartPosition, start_position};

use super::SimCounts;
use super::batch_shards::BatchShards;
use crate::seeded_random::SeededRandom;

/// The size of a simulation.
#[derive(Debug, Clone, Copy)]
pub struct SimSize {
    /// Partitions at the start.
    pub partitions: u64,
    /// The most records of a partition.
    pub records: u64,
    /// The most members.
    pub members: u64,
    /// The most records of a batch.
    pub batch: u64,
    /// One fault in this number of chances.
    pub calmness: u64,
    /// Faults in one run.
    pub faults: u64,
    /// Shards of the table.
    pub shards: u64,
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
            shards: dice.between(1, 3),
        }
    }

    /// Which shard owns a row; their weights differ.
    pub(super) fn layout(&self) -> ShardLayout {
        ShardLayout::new(
            [1, 2, 1].into_iter().zip(0..self.shards).map(|(weight, _)| weight).collect(),
        )
    }
}

/// A member's number, in the order of start.
pub(super) type MemberId = u32;

/// One partition.
#[derive(Debug, Default)]
pub(super) struct SimPartition {
    /// The offsets with a record, in order, and whether the record is valid.
    pub records: BTreeMap<i64, bool>,
    pub low: i64,
    pub high: i64,
    pub committed: Option<i64>,
    pub owner: Option<MemberId>,
    /// The member that gets the partition after the owner has released it.
    pub next: Option<MemberId>,
}

/// The broker's state of a member, and the notices for it.
#[derive(Debug, Default)]
pub(super) struct SimMember {
    /// Whether its process exists.
    pub alive: bool,
    /// Whether it leaves the group: its partitions are revoked at once.
    pub closing: bool,
    pub epoch: u64,
    /// The epoch of each partition that it believes it owns.
    pub epochs: BTreeMap<i32, u64>,
    pub revoked: BTreeSet<i32>,
    /// The next position to read.
    pub read: BTreeMap<i32, i64>,
    /// Paused partitions.
    pub paused: BTreeSet<i32>,
    pub notices: Vec<Notice>,
    /// Whether a commit is in flight: an assignment ends only after it.
    pub committing: bool,
    /// Revocations that wait for the commit.
    pub revocations: Vec<i32>,
}

/// The whole state.
#[derive(Debug)]
pub(super) struct BrokerState {
    pub partitions: Vec<SimPartition>,
    pub members: BTreeMap<MemberId, SimMember>,
    pub durable: BTreeSet<(i32, i64)>,
    /// Outages of each shard that have not ended.
    pub down: Vec<u32>,
    /// Which shards have which batches.
    pub batches: BatchShards,
    pub dead_letters: BTreeSet<(i32, i64)>,
    pub dice: SeededRandom,
    /// Whether the faults are over.
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
            down: size.layout().weights().iter().map(|_| 0).collect(),
            batches: BatchShards::default(),
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

    /// Adds a partition with some records.
    pub(super) fn add_partition(&mut self, records: u64) {
        self.partitions.push(SimPartition::default());
        let partition = self.partitions.len() - 1;
        let count = self.dice.between(0, records + 1);
        self.append(partition, count);
    }

    /// Writes records; some offsets have none, some records are bad.
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

    /// The duration of an operation.
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

    /// Handles the release of a partition by its owner, or the end of the owner.
    pub(super) fn freed(&mut self, number: i32, id: MemberId) {
        let partition = &mut self.partitions[index(number)];
        if partition.owner == Some(id) {
            partition.owner = None;
            if let Some(next) = partition.next {
                self.assign(number, next);
            }
        }
    }

    /// Handles a commit, and applies that of the owner only.
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

    /// Whether the whole log is committed.
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

    /// Checks that each record in the log has a row or a dead letter.
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
        // An assigned partition is not paused.
        self.paused.remove(&partition);
        // A revocation that the member has not noticed is over, too.
        self.revoked.remove(&partition);
        self.revocations.retain(|revoked| *revoked != partition);
        self.epochs.insert(partition, epoch);
        self.read.insert(partition, start.position);
        self.notices.push(Notice::Assigned { partition, epoch, start, committed });
    }

    /// Like [`SimMember::begin`], after a reset of the position.
    pub(super) fn reset(&mut self, partition: i32, position: i64, low: i64, high: i64) {
        let start = start_position(Some(position), low, high);
        self.begin(partition, start.after_reset(), Some(position));
    }

    /// Ends an assignment of the member, at once or after the reply to its commit.
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
