//! The simulated source: the log as a member of the group reads it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{POSITION_LOST, ServerError};
use processors::run::source::{EpochPosition, Notice, Positions, Source};
use records::flow::block::{Block, RecordMetadata, SizeLimits};

use super::broker_state::{MemberId, index};
use super::{Shared, lock};

/// Log time of every record, and when its click happened.
pub(super) const LOGGED_AT_MS: i64 = 1_700_000_000_000;
/// Records that may arrive for a full block before its partitions are paused again.
const OVERRUN: usize = 8;
/// The time between two polls of a member.
const POLL: Duration = Duration::from_millis(250);

/// The values of records: valid ones with different event ids, and one that cannot become a row.
#[derive(Debug, Clone)]
pub(super) struct Values {
    pub good: Vec<Arc<[u8]>>,
    pub bad: Arc<[u8]>,
}

fn unreachable() -> ServerError {
    ServerError::retryable("kafka_unreachable", "simulated")
}

/// The log as a member reads it.
#[derive(Debug)]
pub(super) struct SimSource {
    pub broker: Shared,
    pub id: MemberId,
    pub values: Values,
}

impl SimSource {
    /// Reads some records of some partitions.
    fn take(&self, block: &mut Block, limits: SizeLimits) -> Result<usize, ServerError> {
        let mut broker = lock(&self.broker);
        let most = broker.dice.between(1, 8);
        let broker = &mut *broker;
        let Some(member) = broker.members.get_mut(&self.id) else { return Ok(0) };
        let fetched = |partition: &i32| !member.paused.contains(partition);
        let mut owned: Vec<i32> = member.epochs.keys().copied().filter(fetched).collect();
        if block.rows() > limits.rows_max + OVERRUN {
            broker
                .violations
                .push(format!("a block of {} records exceeds its bound", block.rows()));
        }
        broker.dice.shuffle(&mut owned);
        let mut taken = 0;
        for number in owned {
            let (epoch, read) = (member.epochs[&number], member.read.get(&number).copied());
            let partition = &broker.partitions[index(number)];
            if member.revoked.contains(&number) {
                continue;
            }
            let from = read.unwrap_or(partition.low);
            if from < partition.low {
                return Err(ServerError::retryable(POSITION_LOST, "simulated"));
            }
            for (&offset, &good) in partition.records.range(from..) {
                let values = &self.values.good;
                let own = usize::try_from(offset).expect("an offset") % values.len();
                let value = if good { &values[own] } else { &self.values.bad };
                let logged_at_ms = LOGGED_AT_MS;
                let metadata = RecordMetadata { partition: number, offset, epoch, logged_at_ms };
                block.push(metadata, None, Some(value), std::iter::empty());
                member.read.insert(number, offset + 1);
                broker.counts.read += 1;
                taken += 1;
                if taken == most || block.is_full(limits) {
                    return Ok(taken as usize);
                }
            }
        }
        Ok(taken as usize)
    }

    /// Ends the assignments that waited for the reply to a commit.
    fn commit_ended(&self) {
        let mut broker = lock(&self.broker);
        let member = broker.member(self.id);
        member.committing = false;
        for partition in std::mem::take(&mut member.revocations) {
            if broker.member(self.id).end(partition) {
                broker.freed(partition, self.id);
            }
        }
    }
}

impl Source for SimSource {
    async fn fill(&self, block: &mut Block, limits: SizeLimits) -> Result<(), ServerError> {
        loop {
            let delay = lock(&self.broker).delay(20);
            tokio::time::sleep(delay).await;
            if self.take(block, limits)? > 0 {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn take_notices(&self) -> Result<Vec<Notice>, ServerError> {
        Ok(std::mem::take(&mut lock(&self.broker).member(self.id).notices))
    }

    fn release(&self, partitions: &[i32]) -> Result<(), ServerError> {
        let mut broker = lock(&self.broker);
        for &partition in partitions {
            if broker.member(self.id).revoked.contains(&partition)
                && broker.member(self.id).end(partition)
            {
                broker.freed(partition, self.id);
            }
        }
        Ok(())
    }

    async fn commit(self: Arc<Self>, positions: Positions) -> Result<(), ServerError> {
        let (lasting, before) = {
            let mut broker = lock(&self.broker);
            let delay = broker.delay(400);
            let member = broker.member(self.id);
            member.committing = true;
            let lasting: Vec<(i32, i64)> = positions
                .iter()
                .filter(|(partition, own)| member.epochs.get(partition) == Some(&own.epoch))
                .map(|(partition, own)| (*partition, own.position))
                .collect();
            (lasting, delay)
        };
        tokio::time::sleep(before).await;
        let (outcome, after) = {
            let mut broker = lock(&self.broker);
            let outcome = if broker.fails() {
                Err(unreachable())
            } else {
                let mut refused = false;
                for &(partition, position) in &lasting {
                    refused |= !broker.commit(self.id, partition, position);
                }
                if refused { Err(unreachable()) } else { Ok(()) }
            };
            // The commit is applied and its reply is lost.
            let lost = broker.fails();
            let outcome = if lost { Err(unreachable()) } else { outcome };
            broker.counts.failed_commits += u64::from(outcome.is_err());
            (outcome, broker.delay(200))
        };
        tokio::time::sleep(after).await;
        self.commit_ended();
        outcome
    }

    async fn committed_positions(self: Arc<Self>) -> Result<Positions, ServerError> {
        let (epochs, delay) = {
            let mut broker = lock(&self.broker);
            let delay = broker.delay(200);
            (broker.member(self.id).epochs.clone(), delay)
        };
        tokio::time::sleep(delay).await;
        let mut broker = lock(&self.broker);
        if broker.fails() {
            return Err(unreachable());
        }
        let held = |(partition, epoch): (i32, u64)| {
            let position = broker.partitions[index(partition)].committed?;
            Some((partition, EpochPosition { epoch, position }))
        };
        Ok(epochs.into_iter().filter_map(held).collect())
    }

    async fn seek(self: Arc<Self>, partition: i32, position: i64) -> Result<(), ServerError> {
        let delay = lock(&self.broker).delay(200);
        tokio::time::sleep(delay).await;
        let mut broker = lock(&self.broker);
        if broker.fails() {
            return Err(unreachable());
        }
        let own = &broker.partitions[index(partition)];
        let (low, high) = (own.low, own.high);
        let member = broker.member(self.id);
        if member.epochs.contains_key(&partition) {
            member.reset(partition, position, low, high);
        }
        Ok(())
    }

    async fn seek_into_log(self: Arc<Self>) -> Result<(), ServerError> {
        let delay = lock(&self.broker).delay(200);
        tokio::time::sleep(delay).await;
        let mut broker = lock(&self.broker);
        if broker.fails() {
            return Err(unreachable());
        }
        for (partition, position) in broker.member(self.id).read.clone() {
            let own = &broker.partitions[index(partition)];
            let (low, high) = (own.low, own.high);
            if position < low {
                broker.member(self.id).reset(partition, position, low, high);
            }
        }
        Ok(())
    }

    fn pause(&self) -> Result<(), ServerError> {
        let mut broker = lock(&self.broker);
        let member = broker.member(self.id);
        member.paused = member.epochs.keys().copied().collect();
        Ok(())
    }

    fn resume(&self) -> Result<(), ServerError> {
        lock(&self.broker).member(self.id).paused.clear();
        Ok(())
    }

    fn lag(&self) -> BTreeMap<i32, u64> {
        let mut broker = lock(&self.broker);
        let read = broker.member(self.id).read.clone();
        let left = |(number, from): (i32, i64)| {
            let partition = &broker.partitions[index(number)];
            let left = partition.records.range(from.max(partition.low)..).count();
            (number, left as u64)
        };
        read.into_iter().map(left).collect()
    }
}
