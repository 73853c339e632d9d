//! The producer of links, with their ids as keys: each call returns when all replicas have the links.

use std::sync::Mutex;
use std::time::Duration;

use broker::{Brokers, QuietContext, ServerError, server_error};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use schemas::{LINKS_NEWEST, LinkEncoder};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::kafka::endpoint::Endpoint;
use crate::kafka::producer_config::producer_config;
use crate::links::link_entry::LinkEntry;
use crate::links::publisher::Publish;
use service::lock::lock;

/// Time limit of a link, during which PostgreSQL holds a lock on it.
const TIMEOUT_MS: &str = "5000";
/// How long a link waits for others of its batch.
const LINGER_MS: &str = "5";
const POLL: Duration = Duration::from_millis(2);
/// Twice the time limit of a link.
const WAIT_POLLS: u32 = 5_000;
/// Limit of one lookup in the registry.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Publishes to one topic of links.
pub struct LinkProducer {
    endpoint: Endpoint,
    runtime: Handle,
    stop: CancellationToken,
    encoder: Option<LinkEncoder>,
    client: Option<BaseProducer<Acks>>,
}

impl std::fmt::Debug for LinkProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkProducer").field("topic", &self.endpoint.topic).finish_non_exhaustive()
    }
}

impl LinkProducer {
    /// A producer that connects at its first use.
    pub fn new(endpoint: Endpoint, runtime: Handle, stop: CancellationToken) -> Self {
        Self { endpoint, runtime, stop, encoder: None, client: None }
    }

    fn encoder(&mut self) -> Result<&LinkEncoder, String> {
        if self.encoder.is_none() {
            let Endpoint { registry, topic, .. } = &self.endpoint;
            let subject = topic.subject();
            let id = self.runtime.block_on(async {
                tokio::select! {
                    id = registry.lookup_within(&subject, LINKS_NEWEST, LOOKUP_TIMEOUT) => {
                        id.map_err(|error| error.to_string())
                    }
                    () = self.stop.cancelled() => Err("the process stops".to_owned()),
                }
            })?;
            self.encoder = Some(LinkEncoder::new(id).map_err(|error| error.to_string())?);
        }
        self.encoder.as_ref().ok_or_else(String::new)
    }

    fn connect(&self) -> Result<BaseProducer<Acks>, String> {
        let config = config(&self.endpoint.brokers).map_err(|error| error.to_string())?;
        BaseProducer::from_config_and_context(&config, Acks::default())
            .map_err(|error| server_error(&error).to_string())
    }
}

fn config(brokers: &Brokers) -> Result<ClientConfig, ServerError> {
    let mut config = producer_config(brokers, LINGER_MS)?;
    config
        .set("message.timeout.ms", TIMEOUT_MS)
        // This client handles no statistics; the library would log them.
        .set("statistics.interval.ms", "0");
    Ok(config)
}

impl Publish for LinkProducer {
    fn publish(&mut self, entries: &[LinkEntry]) -> Result<(), String> {
        // After a failure the client is dropped, with the links that are still in flight.
        let client = match self.client.take() {
            Some(client) => client,
            None => self.connect()?,
        };
        let topic = self.endpoint.topic.to_string();
        let encoder = self.encoder()?;
        let mut value = Vec::new();
        for entry in entries {
            encoder.encode(&entry.raw(), &mut value).map_err(|error| error.to_string())?;
            let record = BaseRecord::to(&topic).key(entry.id.as_bytes()).payload(&value);
            client.send(record).map_err(|(error, _)| error.to_string())?;
        }
        // `flush` of the library polls only every 100 ms.
        for _ in 0..WAIT_POLLS {
            if client.in_flight_count() == 0 {
                break;
            }
            client.poll(POLL);
        }
        let mut acks = lock(&client.context().0);
        let Acked { delivered, failed } = std::mem::take(&mut *acks);
        drop(acks);
        match failed {
            Some(error) => Err(error),
            None if delivered == entries.len() => {
                self.client = Some(client);
                Ok(())
            }
            None => Err(format!("{delivered} of {} links were acknowledged", entries.len())),
        }
    }
}

/// The results of the sends since the last call.
#[derive(Debug, Default)]
struct Acked {
    delivered: usize,
    failed: Option<String>,
}

#[derive(Default)]
struct Acks(Mutex<Acked>);

impl ProducerContext for Acks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut acks = lock(&self.0);
        match result {
            Ok(_) => acks.delivered += 1,
            Err((error, _)) => acks.failed = Some(error.to_string()),
        }
    }
}

impl ClientContext for Acks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        QuietContext.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        QuietContext.error(error, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_limit_of_a_link_is_ours_and_its_linger_the_operators() {
        let with = |text: &str| {
            let properties = vec![text.parse().unwrap()];
            config(&Brokers { servers: "127.0.0.1:1".to_owned(), properties })
        };
        for key in ["message.timeout.ms", "delivery.timeout.ms", "message.max.bytes"] {
            assert!(with(&format!("{key}=60000")).is_err(), "{key}");
        }
        let config = with("linger.ms=50").unwrap();
        assert_eq!(config.get("linger.ms"), Some("50"));
        assert_eq!(config.get("message.timeout.ms"), Some(TIMEOUT_MS));
    }

    #[test]
    fn l7_the_client_of_links_makes_no_statistics() {
        let brokers = Brokers { servers: "127.0.0.1:1".to_owned(), properties: Vec::new() };
        let config = config(&brokers).unwrap();
        assert_eq!(config.get("statistics.interval.ms"), Some("0"));
    }
}
