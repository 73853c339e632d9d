//! The writer of redriven copies; `Ok` means that the brokers have acknowledged.

use broker::{Brokers, ServerError};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use records::dead_letters::redriven_copy::RecordBytes;

use crate::kafka::client_id::CLIENT_ID;
use crate::kafka::renewed_producer::RenewedProducer;

/// Bytes of a record that the client accepts: the limit of the topic decides, and no client reads a
/// larger batch.
const RECORD_BYTES_MAX: &str = "16777216";

/// A writer to one topic.
pub struct RedriveWriter {
    producer: RenewedProducer,
    topic: String,
}

impl std::fmt::Debug for RedriveWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedriveWriter").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl RedriveWriter {
    /// A writer to `topic`. Sends no request.
    ///
    /// # Errors
    /// Fatal for a property that is refused.
    pub fn open(brokers: &Brokers, topic: &str) -> Result<Self, ServerError> {
        let config = brokers.config(
            CLIENT_ID,
            // The original may have been compressed, and a copy must not exceed the topic's limit.
            &[("compression.type", "zstd"), ("linger.ms", "5")],
            &[
                ("enable.idempotence", "true"),
                ("acks", "all"),
                ("message.timeout.ms", "30000"),
                ("message.max.bytes", RECORD_BYTES_MAX),
            ],
        )?;
        Ok(Self { producer: RenewedProducer::open(config)?, topic: topic.to_owned() })
    }

    /// Sends a copy.
    ///
    /// # Errors
    /// Of class Record: the brokers refuse this record, or another one of its batch; one that is sent
    /// alone is refused itself. After any other error it may be in the topic or not.
    pub async fn send(&self, copy: &RecordBytes) -> Result<(), ServerError> {
        let mut headers = OwnedHeaders::new_with_capacity(copy.headers.len());
        for (name, value) in &copy.headers {
            headers = headers.insert(Header { key: name, value: value.as_deref() });
        }
        let mut record = FutureRecord::<[u8], [u8]>::to(&self.topic).headers(headers);
        if let Some(key) = &copy.key {
            record = record.key(key);
        }
        if let Some(value) = &copy.value {
            record = record.payload(value);
        }
        self.producer.send(record).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_that_the_writer_sets_itself_is_refused() {
        for key in ["acks", "message.timeout.ms", "message.max.bytes"] {
            let properties = vec![format!("{key}=1").parse().unwrap()];
            let brokers = Brokers { servers: "127.0.0.1:1".to_owned(), properties };
            let error = RedriveWriter::open(&brokers, "clicks").unwrap_err();
            assert!(error.message.contains(key), "{error}");
        }
        let brokers = Brokers { servers: "127.0.0.1:1".to_owned(), properties: vec![] };
        assert!(RedriveWriter::open(&brokers, "clicks").is_ok());
    }
}
