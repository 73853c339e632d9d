//! Clicks to the broker: acknowledged by all replicas, each end reported.
//!
//! The only room that knows rdkafka. Sending never blocks; while the broker is away clicks wait
//! in librdkafka's queue, without a time limit. How many may be there is the relay's to say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use rdkafka::statistics::Statistics;
use schemas::{TopicName, headers};
use thiserror::Error;

use crate::bell::Bell;
use crate::delivery::relay::{Client, Fault, Report};
use crate::metrics::Metrics;
use crate::outbox::offer::TraceHeaders;

/// Properties that carry a promise, or that have a setting of their own.
const OURS: [&str; 11] = [
    "acks",
    "allow.auto.create.topics",
    "bootstrap.servers",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "metadata.broker.list",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "request.required.acks",
    "statistics.interval.ms",
    "transactional.id",
];
/// Between two looks at which brokers are up.
const STATISTICS_MS: &str = "2000";
/// More than the relay ever has on its way.
const QUEUE_CLICKS: &str = "100000";
const QUEUE_KIB: &str = "65536";

/// Where and how to publish.
#[derive(Debug, Clone)]
pub struct Settings<'a> {
    /// `host:port`, comma-separated.
    pub brokers: &'a str,
    /// The log.
    pub topic: &'a TopicName,
    /// librdkafka properties of the operator, over our defaults.
    pub properties: &'a BTreeMap<String, String>,
}

/// Why there is no publisher, or no topic. A changed setting mends it, waiting does not.
#[derive(Debug, Error)]
pub enum PublishError {
    /// A property that the operator may not set.
    #[error("kafka property {0:?} cannot be set: it carries a promise or has its own setting")]
    Ours(String),
    /// A property that librdkafka does not take.
    #[error("kafka property: {0}")]
    Property(String),
    /// The client cannot be made.
    #[error("kafka client: {0}")]
    Client(String),
    /// The topic is not there.
    #[error("topic {0} is not there: run `processors setup`")]
    NoTopic(String),
    /// No broker answered in time.
    #[error("no broker answered within {seconds} s: {cause}")]
    NoBroker {
        /// How long was waited.
        seconds: u64,
        /// What the client says.
        cause: String,
    },
}

/// One life of a client, from its start until it failed or is not needed any more.
pub struct Publisher {
    producer: ThreadedProducer<Reports>,
    topic: String,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Starts the client. It connects by itself; no broker need be up.
    ///
    /// # Errors
    /// A setting that cannot work.
    pub fn start(
        settings: &Settings<'_>,
        metrics: Metrics,
        bell: Arc<Bell>,
    ) -> Result<Self, PublishError> {
        let reports =
            Reports { metrics, bell, list: Mutex::default(), down: AtomicBool::new(false) };
        let producer = ThreadedProducer::from_config_and_context(&config(settings)?, reports)
            .map_err(config_error)?;
        Ok(Self { producer, topic: settings.topic.to_string() })
    }

    /// Asks the broker whether the topic is there. Blocks.
    ///
    /// # Errors
    /// [`PublishError::NoTopic`] or [`PublishError::NoBroker`].
    pub fn check_topic(&self, wait: Duration) -> Result<(), PublishError> {
        let no_broker = |error: KafkaError| PublishError::NoBroker {
            seconds: wait.as_secs(),
            cause: error.to_string(),
        };
        let metadata =
            self.producer.client().fetch_metadata(Some(&self.topic), wait).map_err(no_broker)?;
        let found = metadata.topics().iter().any(|topic| !topic.partitions().is_empty());
        found.then_some(()).ok_or_else(|| PublishError::NoTopic(self.topic.clone()))
    }
}

impl Client for Publisher {
    fn send(&self, number: u64, record: &[u8], trace: TraceHeaders<'_>) -> Result<(), Fault> {
        let number = usize::try_from(number).map_err(|_| Fault::Client)?;
        let message = BaseRecord::<(), [u8], usize>::with_opaque_to(&self.topic, number)
            .payload(record)
            .headers(record_headers(trace));
        self.producer.send(message).map_err(|(error, _)| {
            let fault = fault(&error);
            // Of its own accord, before any broker was asked.
            if fault == Fault::BatchTooLarge { Fault::ClickTooLarge } else { fault }
        })
    }

    fn reports(&self) -> Vec<Report> {
        let list = &self.producer.context().list;
        std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Hears what becomes of each click, on librdkafka's polling thread.
struct Reports {
    metrics: Metrics,
    bell: Arc<Bell>,
    list: Mutex<Vec<Report>>,
    down: AtomicBool,
}

impl Reports {
    /// Logs changes only: an outage is told once, and its end.
    fn brokers_up(&self, now: i64) {
        self.metrics.brokers_up.set(now);
        let waiting = self.metrics.outbox_clicks.get();
        if now == 0 && !self.down.swap(true, Ordering::Relaxed) {
            tracing::warn!(waiting, "no broker is connected, clicks wait");
        }
        if now > 0 && self.down.swap(false, Ordering::Relaxed) {
            tracing::info!(brokers = now, waiting, "a broker is connected again");
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let delivered = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(fault(error)),
        };
        let report = Report { number: number as u64, delivered };
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push(report);
        self.bell.ring();
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, message, "librdkafka");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(facility, message, "librdkafka");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(facility, message, "librdkafka");
            }
        }
    }

    fn stats(&self, statistics: Statistics) {
        // The connection that bootstraps counts as a broker of its own, at the same address.
        let up: BTreeSet<_> = statistics
            .brokers
            .values()
            .filter(|broker| broker.state == "UP")
            .map(|broker| &broker.nodename)
            .collect();
        self.brokers_up(i64::try_from(up.len()).unwrap_or(i64::MAX));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                self.brokers_up(0);
            }
            Some(RDKafkaErrorCode::Fatal) => {
                tracing::error!(reason, "the kafka client gave up");
            }
            // Said by `log` too, which does not repeat itself.
            Some(_) | None => tracing::debug!(%error, reason, "kafka client"),
        }
    }
}

pub(crate) fn config(settings: &Settings<'_>) -> Result<ClientConfig, PublishError> {
    let mut config = ClientConfig::new();
    config
        .set("client.id", "clicktrail-producer")
        .set("bootstrap.servers", settings.brokers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // A topic with the broker's default settings would not be the log (`processors setup`).
        .set("allow.auto.create.topics", "false")
        // No time limit: an outage is waited out.
        .set("message.timeout.ms", "0")
        .set("queue.buffering.max.messages", QUEUE_CLICKS)
        .set("queue.buffering.max.kbytes", QUEUE_KIB)
        .set("linger.ms", "10")
        .set("compression.type", "zstd")
        .set("reconnect.backoff.max.ms", "2000")
        .set("log.connection.close", "false")
        .set("statistics.interval.ms", STATISTICS_MS);
    for (key, value) in settings.properties {
        if OURS.contains(&key.as_str()) {
            return Err(PublishError::Ours(key.clone()));
        }
        config.set(key, value);
    }
    Ok(config)
}

/// librdkafka repeats the value in its words, and the value may be a secret.
#[expect(clippy::wildcard_enum_match_arm, reason = "the client's errors are open")]
pub(crate) fn config_error(error: KafkaError) -> PublishError {
    let secret = |key: &str| {
        ["password", "secret", "key", "username", "jaas", "token", "pem", "oauth"]
            .iter()
            .any(|word| key.contains(word))
    };
    match error {
        KafkaError::ClientConfig(_, _, key, _) if secret(&key) => {
            PublishError::Property(format!("{key} has a value that is not taken"))
        }
        KafkaError::ClientConfig(_, why, _, _) => PublishError::Property(why),
        error => PublishError::Client(error.to_string()),
    }
}

pub(crate) fn record_headers(trace: TraceHeaders<'_>) -> OwnedHeaders {
    let mut list = OwnedHeaders::new_with_capacity(4)
        .insert(Header { key: headers::CONTENT_TYPE, value: Some(headers::CONTENT_TYPE_AVRO) })
        .insert(Header { key: headers::PRODUCER_VERSION, value: Some(env!("CARGO_PKG_VERSION")) });
    for (key, value) in
        [(headers::TRACEPARENT, trace.traceparent), (headers::TRACESTATE, trace.tracestate)]
    {
        if value.is_some() {
            list = list.insert(Header { key, value });
        }
    }
    list
}

fn fault(error: &KafkaError) -> Fault {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => {
            Fault::BatchTooLarge
        }
        Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
            Fault::UnknownTopic
        }
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed,
        ) => Fault::NotAuthorized,
        Some(RDKafkaErrorCode::MessageTimedOut) => Fault::TimedOut,
        Some(RDKafkaErrorCode::Fatal) => Fault::ProducerFatal,
        _ => Fault::Broker,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(properties: &[(&str, &str)]) -> Result<Publisher, PublishError> {
        let topic: TopicName = "clicks.raw.v1".parse().unwrap();
        let properties = properties
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let settings = Settings { brokers: "127.0.0.1:1", topic: &topic, properties: &properties };
        Publisher::start(&settings, Metrics::default(), Arc::default())
    }

    #[test]
    fn a_property_that_carries_a_promise_cannot_be_set() {
        let error = start(&[("acks", "0")]).unwrap_err();
        assert!(matches!(error, PublishError::Ours(key) if key == "acks"));
    }

    #[test]
    fn a_property_that_does_not_work_is_named_and_a_secret_is_not_repeated() {
        let error = start(&[("linger.mss", "1")]).unwrap_err().to_string();
        assert!(error.contains("linger.mss"), "{error}");
        let error = start(&[("security.protocol", "ssl"), ("ssl.key.pem", "geheim")]);
        let error = error.unwrap_err().to_string();
        assert!(!error.contains("geheim"), "{error}");
    }

    #[test]
    fn without_a_broker_nothing_is_reported_and_a_click_beyond_all_bounds_is_refused() {
        let publisher = start(&[]).unwrap();
        assert_eq!(publisher.send(1, b"click", TraceHeaders::default()), Ok(()));
        let large = vec![0; 2 << 20];
        let refused = publisher.send(2, &large, TraceHeaders::default());
        assert_eq!(refused, Err(Fault::ClickTooLarge));
        assert_eq!(publisher.reports(), []);
    }
}
