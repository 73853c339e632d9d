//! What happens to a world: members come, go and die, partitions wander, positions are moved.

use std::time::Duration;

use super::broker::{Id, Shape, index};
use super::member::{Process, start};
use super::{Shared, lock};
use crate::seeded_random::SeededRandom;

/// How long a killed member is missed before its partitions go to others.
const SESSION_MS: u64 = 6000;

/// The storm.
pub(super) struct Storm {
    broker: Shared,
    dice: SeededRandom,
    shape: Shape,
    processes: Vec<Process>,
    started: Id,
}

impl Storm {
    pub(super) fn new(broker: Shared, dice: SeededRandom, shape: Shape) -> Self {
        Self { broker, dice, shape, processes: Vec::new(), started: 0 }
    }

    /// Lets things happen for a while.
    pub(super) async fn rage(&mut self) {
        self.join();
        self.rebalance();
        for _ in 0..self.shape.faults {
            let pause = self.dice.between(1, 4000);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            match self.dice.between(0, 19) {
                0..=3 => self.join(),
                4..=5 => self.leave().await,
                6..=8 => self.crash(),
                9..=12 => self.rebalance(),
                13..=14 => self.lose(),
                15..=16 => self.write(),
                17 => self.moved(),
                18 => self.expire(),
                _ => lock(&self.broker).add_partition(self.shape.records),
            }
            if self.dice.once_in(2) {
                self.rebalance();
            }
        }
    }

    /// The storm is over: what has no owner gets one.
    pub(super) fn settle(&mut self) {
        self.reap();
        if self.processes.is_empty() {
            self.join();
        }
        let heir = self.processes[0].id;
        let mut world = lock(&self.broker);
        for number in 0..world.partitions.len() {
            if world.partitions[number].owner.is_none() {
                world.assign(i32::try_from(number).unwrap_or(0), heir);
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
        if (self.processes.len() as u64) < self.shape.members {
            self.started += 1;
            self.processes.push(start(&self.broker, self.started, self.shape.batch));
        }
    }

    /// A member stops as one should.
    async fn leave(&mut self) {
        let Some(process) = self.pick() else { return };
        lock(&self.broker).member(process.id).closing = true;
        process.stop.cancel();
        // It may take its time, or be cut short at the end of it.
        if let Ok(Err(error)) = process.task.await
            && error.code != "drain_timeout"
        {
            lock(&self.broker).violations.push(format!("leaving: {error}"));
        }
        self.gone(process.id, Duration::ZERO);
    }

    /// A member is killed; what it had sent may still arrive.
    fn crash(&mut self) {
        let Some(process) = self.pick() else { return };
        process.task.abort();
        lock(&self.broker).counts.crashes += 1;
        let missed = Duration::from_millis(self.dice.between(0, SESSION_MS));
        self.gone(process.id, missed);
    }

    /// After a while the group notices that a member is gone.
    fn gone(&mut self, id: Id, missed: Duration) {
        let broker = std::sync::Arc::clone(&self.broker);
        tokio::spawn(async move {
            tokio::time::sleep(missed).await;
            let mut world = lock(&broker);
            world.member(id).alive = false;
            for number in 0..world.partitions.len() {
                world.freed(i32::try_from(number).unwrap_or(0), id);
            }
        });
    }

    /// Partitions are given out anew: an owner is asked first, as cooperation wants it.
    fn rebalance(&mut self) {
        self.reap();
        let ids: Vec<Id> = self.processes.iter().map(|process| process.id).collect();
        if ids.is_empty() {
            return;
        }
        let mut world = lock(&self.broker);
        let mut asked = std::collections::BTreeMap::<Id, Vec<i32>>::new();
        for number in 0..world.partitions.len() {
            let to = self.dice.one(&ids);
            let partition = i32::try_from(number).unwrap_or(0);
            let own = &mut world.partitions[number];
            match own.owner {
                None => world.assign(partition, to),
                Some(owner) if owner == to => {}
                // One rebalance after the other.
                Some(_) if own.next.is_some() => {}
                Some(owner) => {
                    own.next = Some(to);
                    asked.entry(owner).or_default().push(partition);
                }
            }
        }
        for (owner, partitions) in asked {
            world.counts.ended += partitions.len() as u64;
            let member = world.member(owner);
            member.leaving.extend(&partitions);
            member.notices.push(processors::run::source::Notice::Asked { partitions });
        }
    }

    /// A member is taken for dead and loses everything; it hears of that later.
    fn lose(&mut self) {
        let Some(process) = self.processes.get(self.dice.index(self.processes.len().max(1))) else {
            return;
        };
        let id = process.id;
        let mut world = lock(&self.broker);
        let owned: Vec<i32> = (0..world.partitions.len())
            .filter(|number| world.partitions[*number].owner == Some(id))
            .filter_map(|number| i32::try_from(number).ok())
            .collect();
        for &partition in &owned {
            world.partitions[index(partition)].owner = None;
            world.partitions[index(partition)].next = None;
        }
        world.counts.ended += owned.len() as u64;
        let hears = Duration::from_millis(self.dice.between(0, SESSION_MS));
        let broker = std::sync::Arc::clone(&self.broker);
        tokio::spawn(async move {
            tokio::time::sleep(hears).await;
            let mut world = lock(&broker);
            for partition in owned {
                // It may be its own again by now: then it has an epoch of its own already.
                if world.partitions[index(partition)].owner != Some(id) {
                    world.member(id).end(partition);
                }
            }
        });
    }

    fn write(&mut self) {
        let mut world = lock(&self.broker);
        let partition = self.dice.index(world.partitions.len());
        let count = self.dice.between(1, self.shape.records + 1);
        world.append(partition, count);
    }

    /// An operator puts a position back, under a live group or not.
    fn moved(&mut self) {
        let mut world = lock(&self.broker);
        let partition = self.dice.index(world.partitions.len());
        let own = &mut world.partitions[partition];
        if let Some(position) = own.committed {
            let back = i64::try_from(self.dice.between(0, 20)).unwrap_or(0);
            own.committed = Some((position - back).max(0));
            world.counts.moves += 1;
        }
    }

    /// Retention takes the beginning of a partition.
    fn expire(&mut self) {
        let mut world = lock(&self.broker);
        let partition = self.dice.index(world.partitions.len());
        let own = &mut world.partitions[partition];
        let low = own.low + i64::try_from(self.dice.between(0, 6)).unwrap_or(0);
        own.low = low.min(own.high);
        let low = own.low;
        own.records.retain(|offset, _| *offset >= low);
        world.counts.cuts += 1;
    }

    fn pick(&mut self) -> Option<Process> {
        self.reap();
        if self.processes.is_empty() {
            return None;
        }
        let place = self.dice.index(self.processes.len());
        Some(self.processes.remove(place))
    }

    /// A process that has ended by itself is a finding.
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
