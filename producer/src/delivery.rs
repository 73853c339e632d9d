//! What both commands deliver with: an outbox of their own, and the relay that empties it.

pub mod cpu_pressure;
pub mod in_flight;
pub mod relay;
pub mod throttle;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use schemas::{NEWEST, SchemaId, TopicName};
use tokio_util::sync::CancellationToken;

use crate::bell::Bell;
use crate::config::KafkaArgs;
use crate::delivery::relay::{Parts, Relay, Trouble};
use crate::exit::Failure;
use crate::kafka::click_producer::{self, PublishError, Publisher};
use crate::metrics::Metrics;
use crate::outbox::segment::Print;
use crate::outbox::{Full, Outbox, Settings};
use crate::registry;

/// Of one round of asking the registry; then the trouble is told anew.
const ASK: Duration = Duration::from_secs(10);
/// After an answer of the registry that asking again does not change at once.
const ASK_PAUSE: Duration = Duration::from_secs(5);
/// Between two looks at what still waits.
const LOOK: Duration = Duration::from_millis(10);

/// An open outbox, and the relay once it runs.
#[derive(Debug)]
pub struct Delivery {
    /// Where clicks are offered.
    pub outbox: Arc<Outbox>,
    metrics: Metrics,
    bell: Arc<Bell>,
    trouble: Trouble,
    target: Target,
    first: Option<Publisher>,
    relay: Option<Relay>,
}

/// Where clicks go.
#[derive(Debug, Clone)]
struct Target {
    brokers: String,
    registry: String,
    topic: TopicName,
    properties: BTreeMap<String, String>,
}

impl Delivery {
    /// Opens the outbox of the command `name`, in which `full` says who gives way. Neither broker nor
    /// registry need be up.
    ///
    /// # Errors
    /// A configuration failure.
    pub fn open(
        args: &KafkaArgs,
        (name, full): (&str, Full),
        metrics: &Metrics,
    ) -> Result<Self, Failure> {
        let bell = Arc::new(Bell::default());
        let target = Target {
            brokers: args.kafka_brokers.clone(),
            registry: args.schema_registry_url.clone(),
            topic: args.topic.clone(),
            properties: args.properties(),
        };
        let first = target.connect(metrics, &bell).map_err(Failure::configuration)?;
        registry::check(&target.registry).map_err(Failure::configuration)?;
        let settings = Settings {
            full,
            sync: args.outbox_sync,
            sync_every: Duration::from_millis(args.outbox_sync_ms),
            ..Settings::new(args.outbox_bytes, (args.queue_clicks.into(), args.queue_bytes))
        };
        let folder = args.outbox.join(name);
        let outbox = Outbox::open(&folder, settings, NEWEST, metrics, Arc::clone(&bell))
            .map_err(Failure::configuration)?;
        told(&folder, &outbox);
        Ok(Self {
            outbox: Arc::new(outbox),
            metrics: metrics.clone(),
            bell,
            trouble: Trouble::default(),
            target,
            first: Some(first),
            relay: None,
        })
    }

    /// Asks the broker whether the topic is there; before [`Delivery::start`]. Blocks.
    ///
    /// # Errors
    /// It is not, or no broker answered in time.
    pub fn check_topic(&self, wait: Duration) -> Result<(), PublishError> {
        self.first.as_ref().map_or(Ok(()), |publisher| publisher.check_topic(wait))
    }

    /// Starts the relay. Call it within a runtime, which must live as long.
    ///
    /// # Errors
    /// The system has no thread.
    pub fn start(&mut self) -> Result<(), Failure> {
        let stop = CancellationToken::new();
        let (target, metrics, bell) =
            (self.target.clone(), self.metrics.clone(), Arc::clone(&self.bell));
        let mut first = self.first.take();
        let connect = move || match first.take() {
            Some(publisher) => Ok(publisher),
            None => target.connect(&metrics, &bell).map_err(|error| error.to_string()),
        };
        let mut ids = Ids {
            outbox: Arc::clone(&self.outbox),
            target: self.target.clone(),
            runtime: tokio::runtime::Handle::current(),
            trouble: self.trouble.clone(),
            stop: stop.clone(),
            last: None,
        };
        let parts = Parts {
            outbox: Arc::clone(&self.outbox),
            bell: Arc::clone(&self.bell),
            metrics: self.metrics.clone(),
            connect,
            id: move |print| ids.id(print),
            trouble: self.trouble.clone(),
            stop,
        };
        self.relay = Some(Relay::start(parts).map_err(Failure::invariant)?);
        Ok(())
    }

    /// For whoever asks what is wrong.
    pub fn troubles(&self) -> Troubles {
        Troubles {
            outbox: Arc::clone(&self.outbox),
            relay: self.trouble.clone(),
            metrics: self.metrics.clone(),
        }
    }

    /// Takes no more clicks, waits until all are delivered or `go_on` says no, and ends the relay.
    /// Says how many still wait, on the disk. Blocks.
    pub fn finish(&mut self, mut go_on: impl FnMut() -> bool) -> u64 {
        self.outbox.close();
        while self.outbox.waiting() > 0 && go_on() {
            std::thread::sleep(LOOK);
        }
        if let Some(relay) = self.relay.take() {
            relay.stop();
        }
        self.outbox.waiting()
    }
}

/// What keeps clicks from being written or delivered.
#[derive(Debug)]
pub struct Troubles {
    outbox: Arc<Outbox>,
    relay: Trouble,
    metrics: Metrics,
}

impl Troubles {
    /// All of it, now.
    pub fn now(&self) -> Vec<String> {
        let mut all: Vec<_> = self.outbox.trouble().into_iter().chain(self.relay.now()).collect();
        if self.metrics.brokers_up.get() == 0 {
            all.push(format!("no broker is connected, {} clicks wait", self.outbox.waiting()));
        }
        all
    }
}

impl Target {
    fn connect(&self, metrics: &Metrics, bell: &Arc<Bell>) -> Result<Publisher, PublishError> {
        let settings = click_producer::Settings {
            brokers: &self.brokers,
            topic: &self.topic,
            properties: &self.properties,
        };
        Publisher::start(&settings, metrics.clone(), Arc::clone(bell))
    }
}

fn told(folder: &Path, outbox: &Outbox) {
    let found = outbox.recovered();
    let folder = folder.display();
    if found.torn_bytes > 0 {
        let bytes = found.torn_bytes;
        tracing::warn!(code = "outbox_torn", %folder, bytes, "the end was half written");
    }
    if found.clicks > 0 {
        tracing::info!(%folder, clicks = found.clicks, "clicks of an earlier run are delivered first");
    }
}

/// The registry's ids of the schemas that the outbox holds clicks of.
struct Ids {
    outbox: Arc<Outbox>,
    target: Target,
    runtime: tokio::runtime::Handle,
    trouble: Trouble,
    stop: CancellationToken,
    last: Option<(Print, SchemaId)>,
}

impl Ids {
    fn id(&mut self, print: Print) -> Option<SchemaId> {
        if let Some((known, id)) = self.last
            && known == print
        {
            return Some(id);
        }
        let runtime = self.runtime.clone();
        let id = runtime.block_on(async {
            tokio::select! {
                id = self.ask(print) => Some(id),
                () = self.stop.cancelled() => None,
            }
        })?;
        self.last = Some((print, id));
        Some(id)
    }

    async fn ask(&self, print: Print) -> SchemaId {
        let Target { registry, topic, .. } = &self.target;
        loop {
            let asked = match self.outbox.schema(print) {
                Ok(schema) => registry::id(registry, topic, &schema, ASK)
                    .await
                    .map_err(|error| (error.is_retryable(), error.to_string())),
                Err(error) => Err((false, format!("schema of stored clicks: {error}"))),
            };
            match asked {
                Ok(id) => {
                    self.trouble.set(None);
                    return id;
                }
                Err((soon, cause)) => {
                    tracing::error!(code = "schema_id", cause, "clicks are stored and not sent");
                    self.trouble.set(Some(cause));
                    if !soon {
                        tokio::time::sleep(ASK_PAUSE).await;
                    }
                }
            }
        }
    }
}
