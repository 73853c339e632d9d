//! The simulated sinks of rows and dead letters, with delays, failures and lost replies.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{UInt32Type, UInt64Type};
use arrow_ipc::reader::StreamReader;
use broker::ServerError;
use processors::run::sink::{BreakerOverride, DeadLetterSink, Insert, Sink};
use records::encode::compressed_block::decompress;
use records::encode::encoded_rows::EncodedRows;
use records::flow::block::Record;

use super::member::TOPIC;
use super::{Shared, lock};

/// The table, which decodes the rows from the bytes of an insert.
#[derive(Debug)]
pub(super) struct SimSink(pub Shared);

impl SimSink {
    fn apply(shared: &Shared, rows: &[EncodedRows]) {
        let bytes: Vec<u8> =
            EncodedRows::stream(rows.iter()).expect("the columns are ours").flatten().collect();
        let bytes = decompress(&bytes).expect("compressed pieces");
        let reader = StreamReader::try_new(&bytes[..], None).expect("an Arrow stream");
        let mut broker = lock(shared);
        broker.counts.inserts += 1;
        for batch in reader {
            let batch = batch.expect("a block");
            let column = |name| batch.column_by_name(name).expect("it is in the table");
            let partitions = column("kafka_partition").as_primitive::<UInt32Type>();
            let offsets = column("kafka_offset").as_primitive::<UInt64Type>();
            let locations = partitions.values().iter().zip(offsets.values());
            broker.durable.extend(locations.map(|(partition, offset)| {
                let partition = i32::try_from(*partition).expect("a partition of the simulation");
                (partition, i64::try_from(*offset).expect("an offset of the simulation"))
            }));
        }
    }
}

impl Sink for SimSink {
    async fn insert(&self, insert: &Insert<'_>) -> Result<(), ServerError> {
        let (rows, shared) = (insert.rows.to_vec(), Arc::clone(&self.0));
        let (delay, refused, lost) = {
            let mut broker = lock(&self.0);
            (broker.delay(3000), broker.fails(), broker.fails())
        };
        let unreachable = ServerError::retryable("clickhouse_unreachable", "simulated");
        // The insert arrives even if its sender ends.
        let arrival = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            if !refused {
                Self::apply(&shared, &rows);
            }
        });
        if lost {
            lock(&self.0).counts.failed_inserts += 1;
            return Err(unreachable);
        }
        arrival.await.expect("it arrives");
        lock(&self.0).counts.failed_inserts += u64::from(refused);
        if refused { Err(unreachable) } else { Ok(()) }
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
