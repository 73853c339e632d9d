//! The log of a run: written before its rounds, in the way of the producer, and read by all of them.

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

/// As the log's description says.
pub const PARTITIONS: u64 = 6;
/// Clicks in a row that go to one partition.
const ROW: u64 = 500;
/// One trace in so many is sampled, by the producer's default.
const SAMPLED: u64 = 100;
const FLUSH: Duration = Duration::from_secs(120);

/// A producer with the settings of ours.
pub fn producer(world: &World) -> Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &world.backends.kafka);
    config.set("acks", "all").set("enable.idempotence", "true");
    config.set("linger.ms", "10").set("compression.type", "zstd");
    config.create().context("a producer")
}

/// Writes the day's `all` clicks.
pub fn write(world: &World, all: u64) -> Result<()> {
    let producer = producer(world)?;
    let encoder = Encoder::new(world.schema_id());
    let mut clicks = Clicks::new(all);
    let mut value = Vec::new();
    for number in 0..all {
        encoder.encode(&clicks.next(), &mut value)?;
        let partition = i32::try_from(number / ROW % PARTITIONS)?;
        let trace = TraceContext {
            trace_id: u128::from(mix(number)).to_be_bytes(),
            span_id: mix(number).to_be_bytes(),
            sampled: number.is_multiple_of(SAMPLED),
        };
        send(&producer, &world.topic, partition, &value, &trace)?;
    }
    producer.flush(FLUSH).context("the last clicks")?;
    let bounds = world.kafka.bounds(&world.topic);
    let written: i64 = bounds.values().map(|(low, high)| high - low).sum();
    ensure!(u64::try_from(written)? == all, "{written} of {all} clicks are in the log");
    Ok(())
}

/// Queues one record, and waits as long as the queue is full.
pub fn send(
    producer: &BaseProducer,
    topic: &str,
    partition: i32,
    value: &[u8],
    trace: &TraceContext,
) -> Result<()> {
    let trace = trace.traceparent();
    let kept = OwnedHeaders::new_with_capacity(3)
        .insert(Header { key: headers::CONTENT_TYPE, value: Some(headers::CONTENT_TYPE_AVRO) })
        .insert(Header { key: headers::PRODUCER_VERSION, value: Some(env!("CARGO_PKG_VERSION")) })
        .insert(Header { key: headers::TRACEPARENT, value: Some(trace.as_str()) });
    let mut record =
        BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(value).headers(kept);
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
