//! A producer that starts with its first record, and is replaced after an error from which the library does not
//! recover. Without records it takes no CPU time, of which a running client takes half a percent of a core.
//!
//! An idempotent producer fails when its sequence numbers no longer match those of the broker, for
//! instance after a topic was recreated or a broker was restored from a snapshot. Every later send of that
//! producer fails, too.

use std::sync::{Arc, Mutex};

use broker::{ErrorClass, QuietContext, ServerError, server_error};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, FutureProducer, FutureRecord, Producer as _};
use rdkafka::util::Timeout;
use service::lock::lock;

/// Code of a send whose producer failed and was replaced.
const PRODUCER_FATAL: &str = "producer_fatal";

type Client = FutureProducer<QuietContext>;

/// A producer, and what another one is made from.
pub(super) struct RenewedProducer {
    config: ClientConfig,
    /// A send holds it, so that a failed producer ends only after its sends. It does not delay the sends of
    /// its successor.
    producer: Mutex<Option<Arc<Client>>>,
}

impl RenewedProducer {
    /// A producer of this configuration, which starts with the first send.
    ///
    /// # Errors
    /// Fatal for a property that is refused.
    pub(super) fn open(config: ClientConfig) -> Result<Self, ServerError> {
        // The library judges some properties only together, and only when a client starts.
        let judged = config.create::<BaseProducer>().map_err(|error| server_error(&error))?;
        drop(judged);
        Ok(Self { config, producer: Mutex::default() })
    }

    fn current(&self) -> Result<Arc<Client>, ServerError> {
        let mut producer = lock(&self.producer);
        match &*producer {
            Some(running) => Ok(Arc::clone(running)),
            None => Ok(Arc::clone(producer.insert(start(&self.config)?))),
        }
    }

    /// Sends a record; `Ok` means that the brokers have acknowledged it.
    ///
    /// # Errors
    /// Of class Record: the brokers refuse this record, or another one of its batch. After any other error
    /// it may be in the topic or not. After a fatal error of the producer the next send uses another one.
    pub(super) async fn send(
        &self,
        record: FutureRecord<'_, [u8], [u8]>,
    ) -> Result<(), ServerError> {
        let topic = record.topic;
        let producer = self.current()?;
        let Err((error, _)) = producer.send(record, Timeout::Never).await else { return Ok(()) };
        let error = send_error(&error);
        let Some((code, reason)) = producer.client().fatal_error() else { return Err(error) };
        let renewed = self.renew(&producer, topic, &reason);
        // The last send of a failed producer waits for its threads.
        tokio::task::spawn_blocking(move || drop(producer));
        renewed?;
        if error.class == ErrorClass::Record {
            return Err(error);
        }
        let text = format!("the producer failed and was replaced ({code}: {reason})");
        Err(ServerError::retryable(PRODUCER_FATAL, text))
    }

    /// Replaces the failed producer, unless another send has done so.
    fn renew(&self, failed: &Arc<Client>, topic: &str, reason: &str) -> Result<(), ServerError> {
        let mut producer = lock(&self.producer);
        if producer.as_ref().is_some_and(|running| !Arc::ptr_eq(running, failed)) {
            return Ok(());
        }
        tracing::warn!(
            code = PRODUCER_FATAL,
            topic,
            reason,
            "the Kafka producer failed and does not recover; another one replaces it"
        );
        *producer = Some(start(&self.config)?);
        Ok(())
    }
}

/// A running client. Without threads or memory it may be possible later.
fn start(config: &ClientConfig) -> Result<Arc<Client>, ServerError> {
    let started = config.create_with_context(QuietContext);
    started
        .map(Arc::new)
        .map_err(|error| ServerError::retryable(PRODUCER_FATAL, server_error(&error).message))
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
fn send_error(error: &KafkaError) -> ServerError {
    if error.rdkafka_error_code().is_some_and(|code| REFUSED.contains(&code)) {
        let (class, code) = (ErrorClass::Record, "dead_letter_refused");
        return ServerError { class, code, message: error.to_string() };
    }
    server_error(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker::Brokers;
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

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

    #[tokio::test]
    async fn a_producer_that_failed_is_replaced_and_the_next_send_arrives() {
        let mock = MockCluster::new(1).unwrap();
        let brokers = Brokers { servers: mock.bootstrap_servers(), properties: Vec::new() };
        let config = brokers.config("test", &[], &[("enable.idempotence", "true")]).unwrap();
        let producer = RenewedProducer::open(config).unwrap();
        let send = async || {
            let record = FutureRecord::<[u8], [u8]>::to("clicks").payload(b"value");
            producer.send(record).await
        };
        assert!(lock(&producer.producer).is_none(), "it starts with the first record");
        send().await.unwrap();
        let lost = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        mock.request_errors(RDKafkaApiKey::Produce, &[lost]);
        // As a send does that no broker answers: it delays no other one.
        let _in_flight = producer.current().unwrap();
        let (first, second) = tokio::join!(send(), send());
        let failed: Vec<_> = [first, second].into_iter().filter_map(Result::err).collect();
        assert!(!failed.is_empty());
        for error in failed {
            assert_eq!((error.class, error.code), (ErrorClass::Retryable, PRODUCER_FATAL));
        }
        send().await.unwrap();
        assert_eq!(producer.current().unwrap().client().fatal_error(), None);
    }
}
