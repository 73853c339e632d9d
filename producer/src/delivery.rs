//! The outbox of a command, and the relay that delivers the clicks of this outbox to the broker.

pub mod cpu_pressure;
mod delivery_spans;
pub mod in_flight;
pub mod relay;
pub mod relay_client;
pub mod relay_session;
pub mod schema_ids;
pub mod throttle;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker::ServerError;
use schemas::NEWEST;
use service::worker::Problem;
use tokio_util::sync::CancellationToken;

use crate::clock::now_ms;
use crate::clock_watch::ClockWatch;
use crate::config::KafkaArgs;
use crate::delivery::relay::{Relay, RelayParts};
use crate::delivery::schema_ids::SchemaIds;
use crate::exit::{self, Failure};
use crate::kafka::click_producer::ClickProducer;
use crate::kafka::endpoint::Endpoint;
use crate::metrics::Metrics;
use crate::outbox::outbox_settings::{DropPolicy, OutboxSettings, QueueLimits};
use crate::outbox::{Outbox, OutboxError};
use service::wakeup::Wakeup;

/// Time between two checks for waiting clicks.
const POLL: Duration = Duration::from_millis(10);

/// An open outbox, and its relay after the start.
#[derive(Debug)]
pub struct Delivery {
    /// The outbox that accepts clicks.
    pub outbox: Arc<Outbox>,
    metrics: Metrics,
    wakeup: Arc<Wakeup>,
    problem: Problem,
    clock: ClockWatch,
    endpoint: Endpoint,
    linger: Duration,
    first: Option<ClickProducer>,
    relay: Option<Relay>,
}

impl Delivery {
    /// Opens the outbox of the command `name`. Broker and registry may be down.
    ///
    /// # Errors
    /// A configuration failure, or a disk that may recover.
    pub fn open(
        args: &KafkaArgs,
        name: &str,
        drop_policy: DropPolicy,
        metrics: &Metrics,
    ) -> Result<Self, Failure> {
        let wakeup = Arc::new(Wakeup::default());
        let endpoint = args.endpoint(&args.topic).map_err(Failure::configuration)?;
        let first = ClickProducer::start(&endpoint, metrics.clone(), Arc::clone(&wakeup))
            .map_err(Failure::configuration)?;
        let queue = QueueLimits { clicks: args.queue_clicks.into(), bytes: args.queue_bytes };
        let settings = OutboxSettings {
            drop_policy,
            sync: args.outbox_sync,
            sync_every: Duration::from_millis(args.outbox_sync_ms),
            ..OutboxSettings::new(args.outbox_bytes, queue)
        };
        let folder = args.outbox.join(name);
        let outbox = Outbox::open(&folder, settings, NEWEST, metrics, Arc::clone(&wakeup))
            .map_err(failure)?;
        log_recovered(&folder, &outbox);
        Ok(Self {
            outbox: Arc::new(outbox),
            metrics: metrics.clone(),
            wakeup,
            problem: Problem::default(),
            clock: ClockWatch::new(metrics.clock_skew_seconds.clone()),
            endpoint,
            linger: args.relay_linger(),
            first: Some(first),
            relay: None,
        })
    }

    /// Checks that the topic exists; call it before [`Delivery::start`]. Blocks.
    ///
    /// # Errors
    /// The topic does not exist, or no broker answered in time.
    pub fn check_topic(&self, wait: Duration) -> Result<(), ServerError> {
        self.first.as_ref().map_or(Ok(()), |publisher| publisher.check_topic(wait))
    }

    /// Starts the relay. The caller must be in a runtime that runs as long as the relay.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start(&mut self) -> Result<(), Failure> {
        let stop = CancellationToken::new();
        let (endpoint, metrics, wakeup) =
            (self.endpoint.clone(), self.metrics.clone(), Arc::clone(&self.wakeup));
        let mut first = self.first.take();
        let connect = move || match first.take() {
            Some(publisher) => Ok(publisher),
            None => ClickProducer::start(&endpoint, metrics.clone(), Arc::clone(&wakeup))
                .map_err(|error| error.to_string()),
        };
        let mut ids = SchemaIds::new(
            Arc::clone(&self.outbox),
            self.endpoint.clone(),
            self.problem.clone(),
            self.metrics.attempts.clone(),
            stop.clone(),
        );
        let parts = RelayParts {
            outbox: Arc::clone(&self.outbox),
            wakeup: Arc::clone(&self.wakeup),
            metrics: self.metrics.clone(),
            connect,
            id: move |fingerprint| ids.id(fingerprint),
            problem: self.problem.clone(),
            clock: self.clock.clone(),
            linger: self.linger,
            stop,
        };
        self.relay = Some(Relay::start(parts).map_err(Failure::invariant)?);
        Ok(())
    }

    /// The problems that the health probe reports.
    pub fn problems(&self) -> DeliveryProblems {
        DeliveryProblems {
            outbox: Arc::clone(&self.outbox),
            relay: self.problem.clone(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
        }
    }

    /// Closes the outbox, waits until all clicks are delivered or `go_on` returns false, and stops the
    /// relay. Returns how many clicks still wait on the disk. Blocks; after `go_on` returns false, for at
    /// most `CLOSE_TIMEOUT` of the outbox and [`relay::RELAY_STOP`].
    pub fn finish(&mut self, mut go_on: impl FnMut() -> bool) -> u64 {
        self.outbox.close();
        while self.outbox.waiting() > 0 && go_on() {
            std::thread::sleep(POLL);
        }
        if let Some(relay) = self.relay.take() {
            relay.stop();
        }
        self.outbox.waiting()
    }
}

/// The problems that keep clicks from being written or delivered.
#[derive(Debug)]
pub struct DeliveryProblems {
    outbox: Arc<Outbox>,
    relay: Problem,
    clock: ClockWatch,
    metrics: Metrics,
}

impl DeliveryProblems {
    /// The current problems.
    pub fn current(&self) -> Vec<String> {
        let mut all: Vec<_> =
            self.outbox.problem().into_iter().chain(self.relay.current()).collect();
        all.extend(self.clock.check(now_ms()));
        if self.metrics.brokers_up.get() == 0 {
            all.push(format!("no broker is connected: {} clicks wait", self.outbox.waiting()));
        }
        // Including those of the publisher and the follower of links.
        all.extend(self.metrics.attempts.problems());
        all
    }
}

/// Unavailable if the error may pass: an earlier process may still be ending, or the disk is full.
fn failure(error: OutboxError) -> Failure {
    let may_pass = match &error {
        OutboxError::InUse(_) => true,
        OutboxError::Disk { cause, .. } => exit::may_pass(cause),
    };
    if may_pass { Failure::unavailable(error) } else { Failure::configuration(error) }
}

fn log_recovered(folder: &Path, outbox: &Outbox) {
    let found = outbox.recovered();
    let folder = folder.display();
    if found.torn_bytes > 0 {
        let bytes = found.torn_bytes;
        tracing::warn!(code = "outbox_torn", %folder, bytes, "the outbox ends with a partial write, which is ignored");
    }
    if found.damaged_segments > 0 {
        let segments = found.damaged_segments;
        tracing::warn!(code = "outbox_damaged", %folder, segments, "the outbox holds damaged segments, which are kept");
    }
    if found.clicks > 0 {
        tracing::info!(%folder, clicks = found.clicks, "the relay first delivers the clicks of an earlier run");
    }
}
