//! The number of records in a topic, as the broker reports it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

const TIMEOUT: Duration = Duration::from_secs(10);

/// The number of records between the first and the last offset of every partition of `topic`.
pub fn records(brokers: &str, topic: &str) -> Result<u64> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let found = metadata.topics().first().with_context(|| format!("no topic {topic}"))?;
    let mut records = 0;
    for partition in found.partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), TIMEOUT)?;
        records += u64::try_from(high - low)?;
    }
    Ok(records)
}
