//! Log, tables and dead letters as a script: they take time, fail, and fail to say that they did not.

use broker::{POSITION_LOST, ServerError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{UInt32Type, UInt64Type};
use arrow_ipc::reader::StreamReader;
use processors::clickhouse::breaker_overrides::Pass;
use processors::clickhouse::server::Insert;
use processors::encode::compressed_block::decompress;
use processors::encode::encoded_rows::EncodedRows;
use processors::flow::block::{Block, Limits, Record};
use processors::run::pipeline::{Letters, Tables};
use processors::run::source::{Log, Notice, Positions};

use super::broker::{Id, index};
use super::{Shared, lock};

/// Log time of every record, and when its click happened.
pub(super) const LOGGED_AT_MS: i64 = 1_700_000_000_000;
/// Records that may come although a block is full, before partitions are paused again.
const OVERRUN: usize = 8;
/// How long a member waits before it looks for records again.
const POLL: Duration = Duration::from_millis(250);

/// The values of all records: one that is good and one that can never be a row.
#[derive(Debug, Clone)]
pub(super) struct Values {
    pub good: Arc<[u8]>,
    pub bad: Arc<[u8]>,
}

fn away() -> ServerError {
    ServerError::retryable("kafka_unreachable", "scripted")
}

/// The log as one member sees it.
#[derive(Debug)]
pub(super) struct SimLog {
    pub broker: Shared,
    pub id: Id,
    pub values: Values,
}

impl SimLog {
    /// Takes some records, of some partitions.
    fn take(&self, block: &mut Block, limits: Limits) -> Result<usize, ServerError> {
        let mut world = lock(&self.broker);
        let most = world.dice.between(1, 8);
        let world = &mut *world;
        let Some(member) = world.members.get_mut(&self.id) else { return Ok(0) };
        let fetched = |partition: &i32| !member.paused.contains(partition);
        let mut owned: Vec<i32> = member.epochs.keys().copied().filter(fetched).collect();
        if block.rows() > limits.rows_max + OVERRUN {
            world.violations.push(format!("a block of {} grows without end", block.rows()));
        }
        world.dice.shuffle(&mut owned);
        let mut taken = 0;
        for number in owned {
            let (epoch, read) = (member.epochs[&number], member.read.get(&number).copied());
            let partition = &world.partitions[index(number)];
            if member.leaving.contains(&number) {
                continue;
            }
            let from = read.unwrap_or(partition.low);
            if from < partition.low {
                return Err(ServerError::retryable(POSITION_LOST, "scripted"));
            }
            for (&offset, &good) in partition.records.range(from..) {
                let value = if good { &self.values.good } else { &self.values.bad };
                let place = (number, offset, epoch);
                block.push(place, LOGGED_AT_MS, (None, Some(value)), std::iter::empty());
                member.read.insert(number, offset + 1);
                world.counts.read += 1;
                taken += 1;
                if taken == most || block.is_full(limits) {
                    return Ok(taken as usize);
                }
            }
        }
        Ok(taken as usize)
    }

    /// After a commit was answered, assignments may end that had to wait.
    fn answered(&self) {
        let mut world = lock(&self.broker);
        let member = world.member(self.id);
        member.gate = false;
        for partition in std::mem::take(&mut member.ends) {
            if world.member(self.id).end(partition) {
                world.freed(partition, self.id);
            }
        }
    }
}

impl Log for SimLog {
    async fn fill(&self, block: &mut Block, limits: Limits) -> Result<(), ServerError> {
        loop {
            let delay = lock(&self.broker).delay(20);
            tokio::time::sleep(delay).await;
            if self.take(block, limits)? > 0 {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn notices(&self) -> Result<Vec<Notice>, ServerError> {
        Ok(std::mem::take(&mut lock(&self.broker).member(self.id).notices))
    }

    fn release(&self, partitions: &[i32]) -> Result<(), ServerError> {
        let mut world = lock(&self.broker);
        for &partition in partitions {
            if world.member(self.id).leaving.contains(&partition)
                && world.member(self.id).end(partition)
            {
                world.freed(partition, self.id);
            }
        }
        Ok(())
    }

    async fn commit(self: Arc<Self>, positions: Positions) -> Result<(), ServerError> {
        let (lasting, before) = {
            let mut world = lock(&self.broker);
            let delay = world.delay(400);
            let member = world.member(self.id);
            member.gate = true;
            let lasting: Vec<(i32, i64)> = positions
                .iter()
                .filter(|(partition, (epoch, _))| member.epochs.get(partition) == Some(epoch))
                .map(|(partition, (_, position))| (*partition, *position))
                .collect();
            (lasting, delay)
        };
        tokio::time::sleep(before).await;
        let (outcome, after) = {
            let mut world = lock(&self.broker);
            let outcome = if world.fails() {
                Err(away())
            } else {
                let mut refused = false;
                for &(partition, position) in &lasting {
                    refused |= !world.commit(self.id, partition, position);
                }
                if refused { Err(away()) } else { Ok(()) }
            };
            // Applied, and nobody hears of it.
            let lost = world.fails();
            let outcome = if lost { Err(away()) } else { outcome };
            world.counts.failed_commits += u64::from(outcome.is_err());
            (outcome, world.delay(200))
        };
        tokio::time::sleep(after).await;
        self.answered();
        outcome
    }

    async fn committed(self: Arc<Self>) -> Result<Positions, ServerError> {
        let (epochs, delay) = {
            let mut world = lock(&self.broker);
            let delay = world.delay(200);
            (world.member(self.id).epochs.clone(), delay)
        };
        tokio::time::sleep(delay).await;
        let mut world = lock(&self.broker);
        if world.fails() {
            return Err(away());
        }
        let held = |(partition, epoch): (i32, u64)| {
            Some((partition, (epoch, world.partitions[index(partition)].committed?)))
        };
        Ok(epochs.into_iter().filter_map(held).collect())
    }

    async fn read_from(self: Arc<Self>, partition: i32, position: i64) -> Result<(), ServerError> {
        let delay = lock(&self.broker).delay(200);
        tokio::time::sleep(delay).await;
        let mut world = lock(&self.broker);
        if world.fails() {
            return Err(away());
        }
        let own = &world.partitions[index(partition)];
        let bounds = (own.low, own.high);
        let member = world.member(self.id);
        if member.epochs.contains_key(&partition) {
            member.moved(partition, position, bounds);
        }
        Ok(())
    }

    async fn realign(self: Arc<Self>) -> Result<(), ServerError> {
        let delay = lock(&self.broker).delay(200);
        tokio::time::sleep(delay).await;
        let mut world = lock(&self.broker);
        if world.fails() {
            return Err(away());
        }
        for (partition, position) in world.member(self.id).read.clone() {
            let own = &world.partitions[index(partition)];
            let bounds = (own.low, own.high);
            if position < bounds.0 {
                world.member(self.id).moved(partition, position, bounds);
            }
        }
        Ok(())
    }

    fn pause(&self) -> Result<(), ServerError> {
        let mut world = lock(&self.broker);
        let member = world.member(self.id);
        member.paused = member.epochs.keys().copied().collect();
        Ok(())
    }

    fn resume(&self) -> Result<(), ServerError> {
        lock(&self.broker).member(self.id).paused.clear();
        Ok(())
    }

    fn lag(&self) -> BTreeMap<i32, u64> {
        let mut world = lock(&self.broker);
        let read = world.member(self.id).read.clone();
        let left = |(number, from): (i32, i64)| {
            let partition = &world.partitions[index(number)];
            let left = partition.records.range(from.max(partition.low)..).count();
            (number, left as u64)
        };
        read.into_iter().map(left).collect()
    }
}

/// The tables: what is in them is read from the bytes that came.
#[derive(Debug)]
pub(super) struct SimTables(pub Shared);

impl SimTables {
    fn apply(broker: &Shared, rows: &[EncodedRows]) {
        let bytes: Vec<u8> =
            EncodedRows::stream(rows.iter()).expect("the columns are ours").flatten().collect();
        let bytes = decompress(&bytes).expect("compressed pieces");
        let reader = StreamReader::try_new(&bytes[..], None).expect("an Arrow stream");
        let mut world = lock(broker);
        world.counts.inserts += 1;
        for batch in reader {
            let batch = batch.expect("a block");
            let column = |name| batch.column_by_name(name).expect("it is in the table");
            let partitions = column("kafka_partition").as_primitive::<UInt32Type>();
            let offsets = column("kafka_offset").as_primitive::<UInt64Type>();
            let places = partitions.values().iter().zip(offsets.values());
            world.durable.extend(places.map(|(partition, offset)| {
                (i32::try_from(*partition).unwrap_or(-1), i64::try_from(*offset).unwrap_or(-1))
            }));
        }
    }
}

impl Tables for SimTables {
    async fn insert(&self, insert: &Insert<'_>) -> Result<(), ServerError> {
        let (rows, broker) = (insert.rows.to_vec(), Arc::clone(&self.0));
        let (delay, refused, lost) = {
            let mut world = lock(&self.0);
            (world.delay(3000), world.fails(), world.fails())
        };
        let away = ServerError::retryable("clickhouse_unreachable", "scripted");
        // It arrives whatever becomes of whoever sent it.
        let arrival = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            if !refused {
                Self::apply(&broker, &rows);
            }
        });
        if lost {
            lock(&self.0).counts.failed_inserts += 1;
            return Err(away);
        }
        arrival.await.expect("it arrives");
        lock(&self.0).counts.failed_inserts += u64::from(refused);
        if refused { Err(away) } else { Ok(()) }
    }

    async fn passes(&self, _: &str) -> Result<Vec<Pass>, ServerError> {
        Ok(vec![Pass {
            kafka_topic: super::member::TOPIC.to_owned(),
            kafka_partition: 0,
            first_offset: 0,
            last_offset: u64::MAX,
            reason: "scripted".to_owned(),
        }])
    }
}

/// The dead-letter topic.
#[derive(Debug)]
pub(super) struct SimLetters(pub Shared);

impl Letters for SimLetters {
    async fn send(
        &self,
        record: Record<'_>,
        _: &[(&'static str, String)],
    ) -> Result<(), ServerError> {
        let (delay, refused, lost) = {
            let mut world = lock(&self.0);
            (world.delay(1500), world.fails(), world.fails())
        };
        tokio::time::sleep(delay).await;
        let mut world = lock(&self.0);
        if !refused {
            world.letters.insert((record.partition(), record.offset()));
            world.counts.letters += 1;
        }
        match refused || lost {
            true => Err(away()),
            false => Ok(()),
        }
    }
}
