#![expect(clippy::disallowed_methods, reason = "the age of a click in the queue is measured here")]
//! Clicks to the broker: acknowledged by all replicas, in bounded memory, every end counted.
//!
//! The only file that knows rdkafka. Offering never blocks; while the broker is
//! away clicks wait in librdkafka's queue, without a time limit, until it is full.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};
use rdkafka::statistics::Statistics;
use schemas::{TopicName, headers};
use thiserror::Error;

use crate::metrics::Metrics;
use crate::sink::{ClickSink, Loss, Offered, TraceHeaders};

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
/// How long the results of a purge may take; they are in memory.
const PURGE_WAIT: Duration = Duration::from_secs(5);
/// Pause before a full queue is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(5);
/// Between two log lines about lost clicks; the metric counts each.
const WARN_EVERY_MS: u64 = 5_000;

/// Where and how to publish.
#[derive(Debug, Clone)]
pub struct Settings<'a> {
    /// `host:port`, comma-separated.
    pub brokers: &'a str,
    /// The log.
    pub topic: &'a TopicName,
    /// Most clicks that may wait, at least 1.
    pub queue_clicks: u32,
    /// Most bytes that may wait, at least 1024.
    pub queue_bytes: u64,
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

/// The producer's end of the log.
pub struct Publisher {
    producer: ThreadedProducer<Reports>,
    topic: String,
    metrics: Metrics,
    started: Instant,
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
    pub fn start(settings: &Settings<'_>, metrics: Metrics) -> Result<Self, PublishError> {
        let started = Instant::now();
        metrics.queue_clicks_bound.set(i64::from(settings.queue_clicks));
        metrics.queue_bytes_bound.set(i64::try_from(settings.queue_bytes).unwrap_or(i64::MAX));
        let reports = Reports {
            metrics: metrics.clone(),
            started,
            warned_ms: AtomicU64::new(0),
            down: AtomicBool::new(false),
        };
        let producer = ThreadedProducer::from_config_and_context(&config(settings)?, reports)
            .map_err(config_error)?;
        Ok(Self { producer, topic: settings.topic.to_string(), metrics, started })
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

    /// Offers a click, and waits as long as the queue is full and `go_on` says so. For whoever
    /// may wait; a redirect may not.
    pub fn offer_waiting(&self, record: &[u8], go_on: impl Fn() -> bool) -> Offered {
        loop {
            match self.enqueue(record, TraceHeaders::default()) {
                Err(Loss::QueueFull) if go_on() => std::thread::sleep(FULL_PAUSE),
                Err(loss) => return self.lose(loss),
                Ok(()) => return Offered::Queued,
            }
        }
    }

    /// Waits until nothing waits for the broker any more, `wait` at most. Blocks.
    /// Returns how many clicks still wait.
    pub fn flush(&self, wait: Duration) -> u64 {
        if let Err(error) = self.producer.flush(wait) {
            tracing::debug!(%error, "flush");
        }
        self.waiting()
    }

    /// Gives up on what still waits: each such click is counted as lost. Blocks, seconds at most.
    pub fn give_up(&self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
        let unreported = self.flush(PURGE_WAIT);
        if unreported > 0 {
            // No report came; what is not known to be delivered counts as lost.
            self.metrics.lost_many(Loss::Shutdown, unreported);
        }
    }

    /// What is wrong with delivery now, if anything.
    pub fn trouble(&self) -> Option<String> {
        if let Some((_, reason)) = self.producer.client().fatal_error() {
            return Some(format!("the kafka client gave up: {reason}"));
        }
        (self.metrics.brokers_up.get() == 0)
            .then(|| format!("no broker is connected, {} clicks wait", self.waiting()))
    }

    fn waiting(&self) -> u64 {
        u64::try_from(self.metrics.queue_clicks.get()).unwrap_or(0)
    }

    fn lose(&self, loss: Loss) -> Offered {
        self.metrics.lost(loss);
        self.producer.context().warn(loss);
        Offered::Lost(loss)
    }

    fn enqueue(&self, record: &[u8], trace: TraceHeaders<'_>) -> Result<(), Loss> {
        let bytes = length(record);
        let offered_us = usize::try_from(self.started.elapsed().as_micros()).unwrap_or(0);
        // Counted before it is sent: its report may come at once.
        self.metrics.queue_clicks.inc();
        self.metrics.queue_bytes.inc_by(bytes);
        let message = BaseRecord::<(), [u8], usize>::with_opaque_to(&self.topic, offered_us)
            .payload(record)
            .headers(record_headers(trace));
        self.producer.send(message).map_err(|(error, _)| {
            self.metrics.queue_clicks.dec();
            self.metrics.queue_bytes.dec_by(bytes);
            loss(&error)
        })
    }
}

impl ClickSink for Publisher {
    fn offer(&self, record: &[u8], trace: TraceHeaders<'_>) -> Offered {
        match self.enqueue(record, trace) {
            Ok(()) => Offered::Queued,
            Err(loss) => self.lose(loss),
        }
    }
}

impl<S: ClickSink> ClickSink for std::sync::Arc<S> {
    fn offer(&self, record: &[u8], trace: TraceHeaders<'_>) -> Offered {
        S::offer(self, record, trace)
    }
}

/// Hears what becomes of each click, on librdkafka's polling thread.
struct Reports {
    metrics: Metrics,
    started: Instant,
    warned_ms: AtomicU64,
    down: AtomicBool,
}

impl Reports {
    /// Logs changes only: an outage is told once, and its end.
    fn brokers_up(&self, now: i64) {
        self.metrics.brokers_up.set(now);
        if now == 0 && !self.down.swap(true, Ordering::Relaxed) {
            tracing::warn!("no broker is connected, clicks wait");
        }
        if now > 0 && self.down.swap(false, Ordering::Relaxed) {
            let waiting = self.metrics.queue_clicks.get();
            tracing::info!(brokers = now, waiting, "a broker is connected again");
        }
    }

    fn warn(&self, loss: Loss) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let last = self.warned_ms.load(Ordering::Relaxed);
        if last != 0 && now < last + WARN_EVERY_MS {
            return;
        }
        self.warned_ms.store(now, Ordering::Relaxed);
        let undelivered = self.metrics.undelivered();
        tracing::error!(code = loss.code(), undelivered, "clicks are lost");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, offered_us: usize) {
        let message = match result {
            Ok(message) => {
                let offered = Duration::from_micros(offered_us as u64);
                let age = self.started.elapsed().saturating_sub(offered);
                self.metrics.delivery_seconds.observe(age.as_secs_f64());
                self.metrics.clicks_delivered.inc();
                message
            }
            Err((error, message)) => {
                let loss = loss(error);
                self.metrics.lost(loss);
                // What is given up at the end is told once, in the books.
                if loss != Loss::Shutdown {
                    self.warn(loss);
                }
                message
            }
        };
        self.metrics.queue_clicks.dec();
        self.metrics.queue_bytes.dec_by(message.payload().map_or(0, length));
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
                tracing::error!(reason, "the kafka client gave up, clicks are lost from now on");
            }
            // Said by `log` too, which does not repeat itself.
            Some(_) | None => tracing::debug!(%error, reason, "kafka client"),
        }
    }
}

fn config(settings: &Settings<'_>) -> Result<ClientConfig, PublishError> {
    let mut config = ClientConfig::new();
    config
        .set("client.id", "clicktrail-producer")
        .set("bootstrap.servers", settings.brokers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // A topic with the broker's default settings would not be the log (`processors setup`).
        .set("allow.auto.create.topics", "false")
        // No time limit: an outage fills the queue, it loses nothing that fits.
        .set("message.timeout.ms", "0")
        .set("queue.buffering.max.messages", settings.queue_clicks.to_string())
        .set("queue.buffering.max.kbytes", (settings.queue_bytes / 1024).max(1).to_string())
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
fn config_error(error: KafkaError) -> PublishError {
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

fn record_headers(trace: TraceHeaders<'_>) -> OwnedHeaders {
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

fn loss(error: &KafkaError) -> Loss {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::QueueFull) => Loss::QueueFull,
        Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) => Loss::Shutdown,
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => {
            Loss::TooLarge
        }
        Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
            Loss::UnknownTopic
        }
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed,
        ) => Loss::NotAuthorized,
        Some(RDKafkaErrorCode::MessageTimedOut) => Loss::TimedOut,
        Some(RDKafkaErrorCode::Fatal) => Loss::ProducerFatal,
        _ => Loss::Broker,
    }
}

fn length(record: &[u8]) -> i64 {
    i64::try_from(record.len()).unwrap_or(i64::MAX)
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
        let settings = Settings {
            brokers: "127.0.0.1:1",
            topic: &topic,
            queue_clicks: 3,
            queue_bytes: 1 << 20,
            properties: &properties,
        };
        Publisher::start(&settings, Metrics::default())
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
    fn without_a_broker_clicks_wait_up_to_the_bound_and_all_are_counted() {
        let publisher = start(&[]).unwrap();
        for _ in 0..3 {
            assert_eq!(publisher.offer(b"click", TraceHeaders::default()), Offered::Queued);
        }
        let lost = publisher.offer(b"click", TraceHeaders::default());
        assert_eq!(lost, Offered::Lost(Loss::QueueFull));
        assert_eq!(publisher.metrics.queue_bytes.get(), 15);
        assert_eq!(publisher.flush(Duration::from_millis(10)), 3);
        publisher.give_up();
        assert_eq!(publisher.metrics.queue_clicks.get(), 0);
        assert_eq!(publisher.metrics.undelivered(), 4);
        assert_eq!(publisher.metrics.clicks_delivered.get(), 0);
    }
}
