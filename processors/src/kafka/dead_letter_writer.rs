//! The writer of the dead-letter topic; `Ok` means that the broker has acknowledged.

use broker::{Brokers, ServerError};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use records::dead_letters::headers::kept;
use records::flow::block::Record;

use crate::kafka::client_id::CLIENT_ID;
use crate::kafka::renewed_producer::RenewedProducer;
use crate::run::sink::DeadLetterSink;

/// The dead-letter topic of one log.
pub struct DeadLetterWriter {
    producer: RenewedProducer,
    topic: String,
}

impl std::fmt::Debug for DeadLetterWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetterWriter").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl DeadLetterWriter {
    /// A writer to `topic`.
    ///
    /// # Errors
    /// Fatal for a property that is refused.
    pub fn open(brokers: &Brokers, topic: &str) -> Result<Self, ServerError> {
        let config = brokers.config(
            CLIENT_ID,
            &[],
            &[
                ("enable.idempotence", "true"),
                ("acks", "all"),
                ("message.timeout.ms", "30000"),
                // A record with its reason is smaller, because its parts are bounded (`flow::stub`).
                ("message.max.bytes", "1114124"),
            ],
        )?;
        Ok(Self { producer: RenewedProducer::open(config)?, topic: topic.to_owned() })
    }
}

impl DeadLetterSink for DeadLetterWriter {
    /// Sends `record` unchanged, with `reason` added to its headers, from which those of an earlier dead
    /// letter are removed.
    ///
    /// # Errors
    /// Of class Record: the brokers refuse this dead letter, and will refuse it again. After any other
    /// error it may be in the topic or not: to send it again makes a second copy, which readers of dead
    /// letters merge by topic, partition and offset.
    async fn send(
        &self,
        record: Record<'_>,
        reason: &[(&'static str, String)],
    ) -> Result<(), ServerError> {
        let mut headers = OwnedHeaders::new();
        for header in kept(record) {
            headers = headers.insert(Header { key: header.name, value: header.value });
        }
        for (name, value) in reason {
            headers = headers.insert(Header { key: name, value: Some(value) });
        }
        let mut dead_letter = FutureRecord::<[u8], [u8]>::to(&self.topic).headers(headers);
        if let Some(key) = record.key() {
            dead_letter = dead_letter.key(key);
        }
        if let Some(value) = record.value() {
            dead_letter = dead_letter.payload(value);
        }
        self.producer.send(dead_letter).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_that_the_writer_sets_itself_is_refused() {
        for key in ["acks", "message.timeout.ms", "delivery.timeout.ms", "message.max.bytes"] {
            let properties = vec![format!("{key}=1").parse().unwrap()];
            let brokers = Brokers { servers: "127.0.0.1:1".to_owned(), properties };
            let error = DeadLetterWriter::open(&brokers, "dead").unwrap_err();
            assert!(error.message.contains(key), "{error}");
        }
    }
}
