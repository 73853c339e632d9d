//! The writer of the dead-letter topic; `Ok` means that the broker has acknowledged.

use broker::{Brokers, ErrorClass, QuietContext, ServerError, server_error};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use records::dead_letters::headers::kept;
use records::flow::block::Record;

use crate::kafka::client_id::CLIENT_ID;
use crate::run::sink::DeadLetterSink;

/// The dead-letter topic of one log.
pub struct DeadLetterWriter {
    producer: FutureProducer<QuietContext>,
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
        let producer =
            config.create_with_context(QuietContext).map_err(|error| server_error(&error))?;
        Ok(Self { producer, topic: topic.to_owned() })
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
        match self.producer.send(dead_letter, Timeout::Never).await {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(send_error(&error)),
        }
    }
}

/// Errors about the record, not about the state of the brokers.
const REFUSED: [Code; 8] = [
    Code::InvalidMessage,
    Code::InvalidMessageSize,
    Code::MessageSizeTooLarge,
    Code::MessageBatchTooLarge,
    Code::InvalidTimestamp,
    Code::InvalidRecord,
    Code::UnsupportedForMessageFormat,
    Code::UnsupportedCompressionType,
];

/// The class and code of an error of a producer: of class Record if the brokers refuse the record.
pub(super) fn send_error(error: &KafkaError) -> ServerError {
    if error.rdkafka_error_code().is_some_and(|code| REFUSED.contains(&code)) {
        let (class, code) = (ErrorClass::Record, "dead_letter_refused");
        return ServerError { class, code, message: error.to_string() };
    }
    server_error(error)
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

    #[test]
    fn h1_a_refusal_judges_the_record_and_an_outage_does_not() {
        for code in REFUSED {
            let error = send_error(&KafkaError::MessageProduction(code));
            assert_eq!((error.class, error.code), (ErrorClass::Record, "dead_letter_refused"));
        }
        for code in [Code::MessageTimedOut, Code::NotEnoughReplicas, Code::AllBrokersDown] {
            let error = send_error(&KafkaError::MessageProduction(code));
            assert_eq!(error.class, ErrorClass::Retryable, "{code:?}");
        }
    }
}
