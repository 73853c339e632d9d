//! The producer of clicks: all replicas acknowledge each click, and the result of each is reported.
//!
//! Sending never blocks. While no broker is reachable, clicks wait in librdkafka's queue without a time
//! limit; the relay bounds how many.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::{ServerError, server_error};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message as _, OwnedHeaders, Timestamp};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use rdkafka::statistics::Statistics;

use crate::clock::now_ms;
use crate::delivery::relay_client::{ClickLocation, DeliveryFault, DeliveryReport, RelayClient};
use crate::kafka::endpoint::Endpoint;
use crate::kafka::producer_config::producer_config;
use crate::metrics::Metrics;
use crate::outbox::offer::TraceHeaders;
use schemas::headers;
use service::lock::lock;
use service::number::gauge;
use service::wakeup::Wakeup;

/// How long a click waits for others of its batch. The relay sends a group of clicks at once, so that this is
/// the time to hand over a group. Clicks have no key: for twice this time the library assigns them to one
/// partition, so that a group is one batch.
const LINGER_MS: &str = "5";
/// Reports after which the relay is woken although other clicks are in flight.
const REPORTS: usize = 1_000;

/// A producer of clicks.
pub struct ClickProducer {
    producer: ThreadedProducer<ReportQueue>,
    topic: String,
}

impl std::fmt::Debug for ClickProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClickProducer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl ClickProducer {
    /// Starts the client, which connects in the background; brokers may be down.
    ///
    /// # Errors
    /// A setting is refused.
    pub fn start(
        endpoint: &Endpoint,
        metrics: Metrics,
        wakeup: Arc<Wakeup>,
    ) -> Result<Self, ServerError> {
        let reports = ReportQueue {
            metrics,
            wakeup,
            list: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            down: AtomicBool::new(false),
        };
        let config = producer_config(&endpoint.brokers, LINGER_MS)?;
        let producer = ThreadedProducer::from_config_and_context(&config, reports)
            .map_err(|error| server_error(&error))?;
        Ok(Self { producer, topic: endpoint.topic.to_string() })
    }

    /// Checks that the topic exists. Blocks.
    ///
    /// # Errors
    /// Fatal: the topic does not exist. Retryable: no broker answered in time.
    pub fn check_topic(&self, wait: Duration) -> Result<(), ServerError> {
        let metadata = self.producer.client().fetch_metadata(Some(&self.topic), wait);
        let metadata = metadata.map_err(|error| {
            let text = format!("no broker answered within {} s ({error})", wait.as_secs());
            ServerError::retryable("kafka_unreachable", text)
        })?;
        if metadata.topics().iter().any(|topic| !topic.partitions().is_empty()) {
            return Ok(());
        }
        let text = format!("topic {} does not exist: run `processors setup`", self.topic);
        Err(ServerError::fatal("kafka_topic_missing", text))
    }
}

impl RelayClient for ClickProducer {
    fn send(
        &self,
        number: u64,
        record: &[u8],
        trace: TraceHeaders<'_>,
    ) -> Result<(), DeliveryFault> {
        let number = usize::try_from(number).map_err(|_| DeliveryFault::Client)?;
        let mut message =
            BaseRecord::<(), [u8], usize>::with_opaque_to(&self.topic, number).payload(record);
        message.headers = record_headers(trace);
        let in_flight = &self.producer.context().in_flight;
        in_flight.fetch_add(1, Ordering::Relaxed);
        self.producer.send(message).map_err(|(error, _)| {
            in_flight.fetch_sub(1, Ordering::Relaxed);
            let fault = fault(&error);
            // The client refused the click before it sent anything.
            if fault == DeliveryFault::BatchTooLarge { DeliveryFault::ClickTooLarge } else { fault }
        })
    }

    fn reports(&self) -> Vec<DeliveryReport> {
        let list = &self.producer.context().list;
        std::mem::take(&mut *lock(list))
    }
}

/// Collects the result of each click, on librdkafka's polling thread.
struct ReportQueue {
    metrics: Metrics,
    wakeup: Arc<Wakeup>,
    list: Mutex<Vec<DeliveryReport>>,
    /// Clicks without a report.
    in_flight: AtomicUsize,
    /// Produce requests of this client so far.
    requests: AtomicU64,
    down: AtomicBool,
}

impl ReportQueue {
    /// Logs the start and the end of an outage.
    fn brokers_up(&self, now: i64) {
        self.metrics.brokers_up.set(now);
        let waiting = self.metrics.outbox_clicks.get();
        if now == 0 && !self.down.swap(true, Ordering::Relaxed) {
            tracing::warn!(waiting, "no broker is connected: clicks wait in the outbox");
        }
        if now > 0 && self.down.swap(false, Ordering::Relaxed) {
            tracing::info!(brokers = now, waiting, "a broker is connected again");
        }
    }
}

impl ProducerContext for ReportQueue {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let (number, delivered) = (number as u64, result.as_ref().map(|_| ()));
        let delivered = delivered.map_err(|(error, _)| fault(error));
        let message = result.as_ref().ok();
        let logged_at_ms = message.and_then(|message| logged_at_ms(message.timestamp()));
        let location = message.map(|message| ClickLocation {
            partition: message.partition(),
            offset: message.offset(),
        });
        let report = DeliveryReport { number, at_ms: now_ms(), delivered, logged_at_ms, location };
        let mut list = lock(&self.list);
        list.push(report);
        let many = list.len().is_multiple_of(REPORTS);
        drop(list);
        // The broker acknowledges a batch at once, so the relay is not woken for each click.
        let is_last = self.in_flight.fetch_sub(1, Ordering::Relaxed) == 1;
        if is_last || many || delivered.is_err() {
            self.wakeup.notify();
        }
    }
}

impl ClientContext for ReportQueue {
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
        // librdkafka counts its bootstrap connection as another broker at the same address.
        let up: BTreeSet<_> = statistics
            .brokers
            .values()
            .filter(|broker| broker.state == "UP")
            .map(|broker| &broker.nodename)
            .collect();
        self.brokers_up(gauge(up.len()));
        let requests = statistics.brokers.values().filter_map(|broker| broker.req.get("Produce"));
        let requests = requests.filter_map(|requests| u64::try_from(*requests).ok()).sum();
        let before = self.requests.swap(requests, Ordering::Relaxed);
        self.metrics.relay_requests.inc_by(requests.saturating_sub(before));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                self.brokers_up(0);
            }
            Some(RDKafkaErrorCode::Fatal) => {
                tracing::error!(reason, "the Kafka client failed and does not recover");
            }
            // `log` reports it too, once.
            Some(_) | None => tracing::debug!(%error, reason, "Kafka client"),
        }
    }
}

/// The headers of a record with this trace; most records have none.
fn record_headers(trace: TraceHeaders<'_>) -> Option<OwnedHeaders> {
    let mut list = None;
    for (key, value) in
        [(headers::TRACEPARENT, trace.traceparent), (headers::TRACESTATE, trace.tracestate)]
    {
        if value.is_some() {
            let headers: OwnedHeaders = list.unwrap_or_default();
            list = Some(headers.insert(Header { key, value }));
        }
    }
    list
}

/// The time of the broker, if the topic records it.
fn logged_at_ms(timestamp: Timestamp) -> Option<u64> {
    match timestamp {
        Timestamp::LogAppendTime(ms) => u64::try_from(ms).ok(),
        Timestamp::CreateTime(_) | Timestamp::NotAvailable => None,
    }
}

fn fault(error: &KafkaError) -> DeliveryFault {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => {
            DeliveryFault::BatchTooLarge
        }
        Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
            DeliveryFault::UnknownTopic
        }
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed,
        ) => DeliveryFault::NotAuthorized,
        Some(RDKafkaErrorCode::MessageTimedOut) => DeliveryFault::TimedOut,
        Some(RDKafkaErrorCode::Fatal) => DeliveryFault::ProducerFatal,
        _ => DeliveryFault::Broker,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker::{Brokers, Registry};

    #[test]
    fn without_a_broker_nothing_is_reported_and_a_click_beyond_all_bounds_is_refused() {
        let endpoint = Endpoint {
            brokers: Brokers { servers: "127.0.0.1:1".to_owned(), properties: Vec::new() },
            registry: Registry::new("http://127.0.0.1:1").unwrap(),
            topic: "clicks.raw.v1".parse().unwrap(),
        };
        let producer = ClickProducer::start(&endpoint, Metrics::default(), Arc::default()).unwrap();
        assert_eq!(producer.send(1, b"click", TraceHeaders::default()), Ok(()));
        let large = vec![0; 2 << 20];
        let refused = producer.send(2, &large, TraceHeaders::default());
        assert_eq!(refused, Err(DeliveryFault::ClickTooLarge));
        assert_eq!(producer.reports(), []);
    }
}
