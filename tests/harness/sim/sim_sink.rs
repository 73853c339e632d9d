//! The simulated sinks of rows and dead letters, with delays, failures and lost replies; and bugs of the inserts,
//! which the checks of a simulation must find.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{UInt32Type, UInt64Type};
use arrow_ipc::reader::StreamReader;
use broker::ServerError;
use processors::run::sink::{BreakerOverride, DeadLetterSink, Insert, Sink};
use processors::shards::shard_layout::ShardLayout;
use records::encode::compressed_block::decompress;
use records::encode::encoded_rows::EncodedRows;
use records::flow::block::Record;

use super::broker_state::MemberId;
use super::member::TOPIC;
use super::{Shared, lock};

/// A bug of the inserts into several shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkBug {
    /// The acknowledgement of the first shard is taken for that of all.
    FirstForAll,
    /// A part that a shard has refused is taken for a durable one.
    RefusedIsDurable,
    /// A part is stored on another shard than its own.
    OtherShard,
}

impl SinkBug {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::FirstForAll, Self::RefusedIsDurable, Self::OtherShard];
}

/// The table, which decodes the rows from the bytes of an insert.
#[derive(Debug)]
pub(super) struct SimSink {
    pub broker: Shared,
    pub id: MemberId,
    pub layout: ShardLayout,
    pub bug: Option<SinkBug>,
}

/// The rows of one insert, and the shard that they arrive at.
struct Arrival {
    rows: Vec<EncodedRows>,
    shard: usize,
    layout: ShardLayout,
}

impl Arrival {
    fn apply(&self, shared: &Shared) {
        let rows = self.rows.iter();
        let bytes: Vec<u8> =
            EncodedRows::stream(rows).expect("the columns are ours").flatten().collect();
        let bytes = decompress(&bytes).expect("compressed pieces");
        let reader = StreamReader::try_new(&bytes[..], None).expect("an Arrow stream");
        let mut broker = lock(shared);
        broker.counts.inserts += 1;
        for batch in reader {
            let batch = batch.expect("a block");
            let column = |name| batch.column_by_name(name).expect("it is in the table");
            let partitions = column("kafka_partition").as_primitive::<UInt32Type>();
            let offsets = column("kafka_offset").as_primitive::<UInt64Type>();
            let ids = column("event_id").as_fixed_size_binary();
            let locations = partitions.values().iter().zip(offsets.values());
            for (row, (partition, offset)) in locations.enumerate() {
                let partition = i32::try_from(*partition).expect("a partition of the simulation");
                let location =
                    (partition, i64::try_from(*offset).expect("an offset of the simulation"));
                let id: &[u8; 16] = ids.value(row).try_into().expect("an id has 16 bytes");
                let owner = self.layout.owner(id);
                if owner == self.shard {
                    broker.durable.insert(location);
                } else {
                    let shard = self.shard;
                    let text = format!("{location:?} of shard {owner} is stored on shard {shard}");
                    broker.violations.push(text);
                }
            }
        }
    }
}

impl Sink for SimSink {
    fn layout(&self) -> ShardLayout {
        self.layout.clone()
    }

    async fn insert(&self, insert: &Insert<'_>) -> Result<(), ServerError> {
        let (shared, shards) = (Arc::clone(&self.broker), self.layout.weights().len());
        let has_bug = |bug| self.bug == Some(bug) && shards > 1;
        let key = (self.id, insert.ranges.to_string());
        let (delay, refused, lost) = {
            let mut broker = lock(&self.broker);
            broker.batches.sent(&key, insert.shard);
            let is_down = !broker.calm && broker.down[insert.shard] > 0;
            (broker.delay(3000), broker.fails() || is_down, broker.fails())
        };
        let unreachable = ServerError::retryable("clickhouse_unreachable", "simulated");
        let to = insert.shard + usize::from(has_bug(SinkBug::OtherShard));
        let (rows, shard, layout) = (insert.rows.to_vec(), to % shards, self.layout.clone());
        let (arriving, own) = (Arrival { rows, shard, layout }, insert.shard);
        // The insert arrives even if its sender ends.
        let arrival = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            if !refused {
                arriving.apply(&shared);
                lock(&shared).batches.stored(&key, own);
            }
        });
        if has_bug(SinkBug::FirstForAll) && insert.shard > 0 {
            return Ok(());
        }
        if lost {
            lock(&self.broker).counts.failed_inserts += 1;
            return Err(unreachable);
        }
        arrival.await.expect("it arrives");
        lock(&self.broker).counts.failed_inserts += u64::from(refused);
        if refused && !has_bug(SinkBug::RefusedIsDurable) { Err(unreachable) } else { Ok(()) }
    }

    async fn overrides(&self, _: &str) -> Result<Vec<BreakerOverride>, ServerError> {
        Ok(vec![BreakerOverride {
            kafka_topic: TOPIC.to_owned(),
            kafka_partition: 0,
            first_offset: 0,
            last_offset: u64::MAX,
            reason: "simulated".to_owned(),
        }])
    }
}

/// The dead-letter topic.
#[derive(Debug)]
pub(super) struct SimDeadLetterSink(pub Shared);

impl DeadLetterSink for SimDeadLetterSink {
    async fn send(
        &self,
        record: Record<'_>,
        _: &[(&'static str, String)],
    ) -> Result<(), ServerError> {
        let (delay, refused, lost) = {
            let mut broker = lock(&self.0);
            (broker.delay(1500), broker.fails(), broker.fails())
        };
        tokio::time::sleep(delay).await;
        let mut broker = lock(&self.0);
        if !refused {
            broker.dead_letters.insert((record.partition(), record.offset()));
            broker.counts.dead_letters += 1;
        }
        if refused || lost {
            Err(ServerError::retryable("kafka_unreachable", "simulated"))
        } else {
            Ok(())
        }
    }
}
