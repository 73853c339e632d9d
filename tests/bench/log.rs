//! The log of a run, written as the producer writes it. All rounds read this log.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::World;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use schemas::{Encoder, TraceContext, headers};

use super::clicks::Clicks;
use harness::seeded_random::mix;

/// Partitions of the log, by its description.
pub const PARTITIONS: u64 = 6;
/// Consecutive clicks in one partition.
const ROW: u64 = 500;
/// One trace of this number is sampled, as by the producer's default.
const SAMPLED: u64 = 100;
const FLUSH: Duration = Duration::from_secs(120);

/// A Kafka producer with the settings of our producer.
pub fn producer(world: &World) -> Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &world.backends.kafka);
    config.set("acks", "all").set("enable.idempotence", "true");
    config.set("linger.ms", "10").set("compression.type", "zstd");
    config.create().context("a producer")
}

/// Writes a day of `all` clicks.
pub fn write(world: &World, all: u64) -> Result<()> {
    write_clicks(world, Clicks::new(all), all)
}

/// Writes the first `all` clicks of a generator.
pub fn write_clicks(world: &World, mut clicks: Clicks, all: u64) -> Result<()> {
    let producer = producer(world)?;
    let encoder = Encoder::new(world.schema_id());
    let mut value = Vec::new();
    for number in 0..all {
        let click = clicks.next();
        encoder.encode(&click, &mut value)?;
        let partition = i32::try_from(number / ROW % PARTITIONS)?;
        let trace = number.is_multiple_of(SAMPLED).then(|| TraceContext {
            trace_id: click.event_id.into_bytes(),
            span_id: mix(number).to_be_bytes(),
            sampled: true,
        });
        send(&producer, &world.topic, partition, &value, trace)?;
    }
    producer.flush(FLUSH).context("the last clicks")?;
    let bounds = world.kafka.bounds(&world.topic);
    let written: i64 = bounds.values().map(|(low, high)| high - low).sum();
    ensure!(u64::try_from(written)? == all, "{written} of {all} clicks are in the log");
    Ok(())
}

/// Queues one record, with a header if its trace is sampled; waits while the queue is full.
pub fn send(
    producer: &BaseProducer,
    topic: &str,
    partition: i32,
    value: &[u8],
    trace: Option<TraceContext>,
) -> Result<()> {
    let mut record = BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(value);
    if let Some(trace) = trace {
        let (key, trace) = (headers::TRACEPARENT, trace.traceparent());
        let value = Some(trace.as_str());
        record = record.headers(OwnedHeaders::new_with_capacity(1).insert(Header { key, value }));
    }
    loop {
        match producer.send(record) {
            Ok(()) => break,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                record = again;
                producer.poll(Duration::from_millis(20));
            }
            Err((error, _)) => return Err(error).context("queueing a click"),
        }
    }
    producer.poll(Duration::ZERO);
    Ok(())
}
