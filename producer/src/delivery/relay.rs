#![expect(clippy::disallowed_methods, reason = "the pause between two clients is measured here")]
//! The relay sends clicks from the outbox to the broker: in order, in groups, within bounds, and again
//! until the broker acknowledges them.
//!
//! Only acknowledgements move the delivered mark. A fault ends the session of a client; the next client
//! starts at the mark. So the relay may send a click twice, with the same event id.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use schemas::SchemaId;
use service::number::gauge;
use service::wakeup::Wakeup;
use service::worker::{Problem, Worker};
use tokio_util::sync::CancellationToken;

use crate::clock_watch::ClockWatch;
use crate::delivery::relay_client::{DeliveryFault, RelayClient};
use crate::delivery::relay_session::{CLICKS_MAX, DELIVERY, Session, SessionParts};
use crate::metrics::Metrics;
use crate::metrics::labels::CodeLabel;
use crate::outbox::Outbox;
use crate::outbox::segment::Fingerprint;

/// Wait between a failed client and the next one.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Longest time that a stop waits for the relay and its client to end.
pub const RELAY_STOP: Duration = Duration::from_secs(5);

/// The name of the click that is delivered next.
fn first_click(outbox: &Outbox) -> String {
    format!("click {}", outbox.reader().number())
}

/// What the relay works with.
#[derive(Debug)]
pub struct RelayParts<C, I> {
    /// The outbox to read from.
    pub outbox: Arc<Outbox>,
    /// Notified by the outbox and by the client.
    pub wakeup: Arc<Wakeup>,
    /// The metrics of the process.
    pub metrics: Metrics,
    /// Creates a client, or returns the cause why it cannot.
    pub connect: C,
    /// Returns the registry's id of the schema with this fingerprint, and waits for it. `None` only when
    /// the relay stops.
    pub id: I,
    /// The current problem, for the health probe.
    pub problem: Problem,
    /// Compares this host's clock with the broker's.
    pub clock: ClockWatch,
    /// How long a click waits for others, so that one request takes several clicks.
    pub linger: Duration,
    /// Stops the relay.
    pub stop: CancellationToken,
}

/// The running relay.
#[derive(Debug)]
pub struct Relay(Worker);

impl Relay {
    /// Starts the relay on a thread.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start<C, L, I>(parts: RelayParts<C, I>) -> std::io::Result<Self>
    where
        C: FnMut() -> Result<L, String> + Send + 'static,
        L: RelayClient,
        I: FnMut(Fingerprint) -> Option<SchemaId> + Send + 'static,
    {
        let (wakeup, stop) = (Arc::clone(&parts.wakeup), parts.stop.clone());
        parts.metrics.relay_clicks_bound.set(gauge(CLICKS_MAX));
        Worker::start("relay", stop, Some(wakeup), move || run(parts)).map(Self)
    }

    /// Stops the relay; clicks that are not acknowledged stay in the outbox. Blocks for at most
    /// [`RELAY_STOP`].
    pub fn stop(self) {
        let _reported = Worker::stop_within([self.0], RELAY_STOP);
    }
}

fn run<C, L, I>(mut parts: RelayParts<C, I>)
where
    C: FnMut() -> Result<L, String>,
    L: RelayClient,
    I: FnMut(Fingerprint) -> Option<SchemaId>,
{
    let mut pause = PAUSE_MIN;
    while !parts.stop.is_cancelled() {
        let fault = match (parts.connect)() {
            Ok(client) => {
                let mut session = Session::new(SessionParts {
                    outbox: &parts.outbox,
                    metrics: &parts.metrics,
                    problem: &parts.problem,
                    clock: &parts.clock,
                    linger: parts.linger,
                });
                let fault = session.run(&client, &parts.wakeup, &mut parts.id, &parts.stop);
                if session.delivered > 0 {
                    pause = PAUSE_MIN;
                }
                fault
            }
            Err(cause) => {
                tracing::error!(cause, "cannot create a Kafka client");
                Some(DeliveryFault::Client)
            }
        };
        let Some(fault) = fault else { break };
        let code = fault.code();
        parts.metrics.relay_retries.get_or_create(&CodeLabel { code }).inc();
        parts.problem.set(Some(format!("clicks are not delivered: {code}")));
        parts.metrics.attempts.failed(DELIVERY, &first_click(&parts.outbox), code);
        tracing::error!(
            code,
            waiting = parts.outbox.waiting(),
            "the relay restarts with a new Kafka client"
        );
        let until = Instant::now() + pause;
        while !parts.stop.is_cancelled() && Instant::now() < until {
            parts.wakeup.wait(until.saturating_duration_since(Instant::now()));
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
