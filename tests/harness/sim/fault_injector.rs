//! The faults of a simulation: members join, leave and crash, partitions move, positions are reset.

use std::time::Duration;

use super::broker_state::{MemberId, SimSize, index};
use super::member::{SimProcess, start};
use super::sim_sink::SinkBug;
use super::{Shared, lock};
use crate::seeded_random::SeededRandom;

/// The time for which a crashed member keeps its partitions.
const SESSION_MS: u64 = 6000;
/// The longest time for which a shard is down.
const OUTAGE_MS: u64 = 20_000;

/// Injects faults, drawn from the seed.
pub(super) struct FaultInjector {
    broker: Shared,
    dice: SeededRandom,
    size: SimSize,
    processes: Vec<SimProcess>,
    started: MemberId,
    bug: Option<SinkBug>,
}

impl FaultInjector {
    pub(super) fn new(
        broker: Shared,
        dice: SeededRandom,
        size: SimSize,
        bug: Option<SinkBug>,
    ) -> Self {
        Self { broker, dice, size, processes: Vec::new(), started: 0, bug }
    }

    /// Injects the faults, one after the other.
    pub(super) async fn run(&mut self) {
        self.join();
        self.rebalance();
        for _ in 0..self.size.faults {
            let pause = self.dice.between(1, 4000);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            match self.dice.between(0, 21) {
                0..=3 => self.join(),
                4..=5 => self.leave().await,
                6..=8 => self.crash(),
                9..=12 => self.rebalance(),
                13..=14 => self.fence(),
                15..=16 => self.append(),
                17 => self.reset(),
                18 => self.expire(),
                19..=20 => self.shard_outage(),
                _ => lock(&self.broker).add_partition(self.size.records),
            }
            if self.dice.once_in(2) {
                self.rebalance();
            }
        }
    }

    /// After the faults: assigns each partition without an owner.
    pub(super) fn settle(&mut self) {
        self.reap();
        if self.processes.is_empty() {
            self.join();
        }
        let owner = self.processes[0].id;
        let mut broker = lock(&self.broker);
        for number in 0..broker.partitions.len() {
            if broker.partitions[number].owner.is_none() {
                broker.assign(number_of(number), owner);
            }
        }
    }

    pub(super) async fn stop_all(&mut self) {
        self.reap();
        for process in std::mem::take(&mut self.processes) {
            lock(&self.broker).member(process.id).closing = true;
            process.stop.cancel();
            match process.task.await {
                Ok(Ok(())) => {}
                other => {
                    let text = format!("member {} ended with {other:?}", process.id);
                    lock(&self.broker).violations.push(text);
                }
            }
        }
    }

    fn join(&mut self) {
        if (self.processes.len() as u64) < self.size.members {
            self.started += 1;
            self.processes.push(start(&self.broker, self.started, &self.size, self.bug));
        }
    }

    /// Stops a member with a signal.
    async fn leave(&mut self) {
        let Some(process) = self.pick() else { return };
        lock(&self.broker).member(process.id).closing = true;
        process.stop.cancel();
        // It may end by its drain timeout.
        if let Ok(Err(error)) = process.task.await
            && error.code != "drain_timeout"
        {
            lock(&self.broker).violations.push(format!("a member left with {error}"));
        }
        self.end_session(process.id, Duration::ZERO);
    }

    /// Crashes a member; its sent requests may still arrive.
    fn crash(&mut self) {
        let Some(process) = self.pick() else { return };
        process.task.abort();
        {
            let mut broker = lock(&self.broker);
            broker.counts.crashes += 1;
            broker.counts.partial_batches += broker.batches.ended(process.id);
        }
        let timeout = Duration::from_millis(self.dice.between(0, SESSION_MS));
        self.end_session(process.id, timeout);
    }

    /// Removes an ended member from the group after a delay.
    fn end_session(&mut self, id: MemberId, timeout: Duration) {
        let shared = std::sync::Arc::clone(&self.broker);
        tokio::spawn(async move {
            tokio::time::sleep(timeout).await;
            let mut broker = lock(&shared);
            broker.member(id).alive = false;
            for number in 0..broker.partitions.len() {
                broker.freed(number_of(number), id);
            }
        });
    }

    /// Reassigns partitions: an owner releases its own first, as in a cooperative rebalance.
    fn rebalance(&mut self) {
        self.reap();
        let ids: Vec<MemberId> = self.processes.iter().map(|process| process.id).collect();
        if ids.is_empty() {
            return;
        }
        let mut broker = lock(&self.broker);
        let mut revoked = std::collections::BTreeMap::<MemberId, Vec<i32>>::new();
        for number in 0..broker.partitions.len() {
            let to = self.dice.one(&ids);
            let partition = number_of(number);
            let own = &mut broker.partitions[number];
            match own.owner {
                None => broker.assign(partition, to),
                Some(owner) if owner == to => {}
                // One rebalance at a time.
                Some(_) if own.next.is_some() => {}
                Some(owner) => {
                    own.next = Some(to);
                    revoked.entry(owner).or_default().push(partition);
                }
            }
        }
        for (owner, partitions) in revoked {
            broker.counts.revocations += partitions.len() as u64;
            let member = broker.member(owner);
            member.revoked.extend(&partitions);
            member
                .notices
                .push(processors::run::source::Notice::RevocationRequested { partitions });
        }
    }

    /// Takes all partitions from a member, as after a session timeout; the member notices later.
    fn fence(&mut self) {
        let Some(process) = self.processes.get(self.dice.index(self.processes.len().max(1))) else {
            return;
        };
        let id = process.id;
        let mut broker = lock(&self.broker);
        let owned: Vec<i32> = (0..broker.partitions.len())
            .filter(|number| broker.partitions[*number].owner == Some(id))
            .map(number_of)
            .collect();
        for &partition in &owned {
            broker.partitions[index(partition)].owner = None;
            broker.partitions[index(partition)].next = None;
        }
        broker.counts.revocations += owned.len() as u64;
        let noticed = Duration::from_millis(self.dice.between(0, SESSION_MS));
        let shared = std::sync::Arc::clone(&self.broker);
        tokio::spawn(async move {
            tokio::time::sleep(noticed).await;
            let mut broker = lock(&shared);
            for partition in owned {
                // The member may own it again by now, with a new epoch.
                if broker.partitions[index(partition)].owner != Some(id) {
                    broker.member(id).end(partition);
                }
            }
        });
    }

    fn append(&mut self) {
        let mut broker = lock(&self.broker);
        let partition = self.dice.index(broker.partitions.len());
        let count = self.dice.between(1, self.size.records + 1);
        broker.append(partition, count);
    }

    /// Resets a position, as an operator does, with or without a live group.
    fn reset(&mut self) {
        let mut broker = lock(&self.broker);
        let partition = self.dice.index(broker.partitions.len());
        let own = &mut broker.partitions[partition];
        if let Some(position) = own.committed {
            let back = self.dice.between(0, 20).cast_signed();
            own.committed = Some((position - back).max(0));
            broker.counts.resets += 1;
        }
    }

    /// Deletes the start of a partition, as retention does.
    fn expire(&mut self) {
        let mut broker = lock(&self.broker);
        let partition = self.dice.index(broker.partitions.len());
        let own = &mut broker.partitions[partition];
        let low = own.low + self.dice.between(0, 6).cast_signed();
        own.low = low.min(own.high);
        let low = own.low;
        own.records.retain(|offset, _| *offset >= low);
        broker.counts.expirations += 1;
    }

    /// A shard refuses all inserts for a while.
    fn shard_outage(&mut self) {
        let mut broker = lock(&self.broker);
        let shard = self.dice.index(broker.down.len());
        broker.down[shard] += 1;
        broker.counts.outages += 1;
        let time = Duration::from_millis(self.dice.between(0, OUTAGE_MS));
        let shared = std::sync::Arc::clone(&self.broker);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            lock(&shared).down[shard] -= 1;
        });
    }

    fn pick(&mut self) -> Option<SimProcess> {
        self.reap();
        if self.processes.is_empty() {
            return None;
        }
        let index = self.dice.index(self.processes.len());
        Some(self.processes.remove(index))
    }

    /// Reports each process that has ended by itself as a violation.
    fn reap(&mut self) {
        let broker = &self.broker;
        self.processes.retain(|process| {
            let ended = process.task.is_finished();
            if ended {
                lock(broker).violations.push(format!("member {} ended by itself", process.id));
            }
            !ended
        });
    }
}

/// The number of the partition at an index.
fn number_of(index: usize) -> i32 {
    i32::try_from(index).expect("a simulation has few partitions")
}
