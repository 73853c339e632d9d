#![expect(clippy::disallowed_methods, reason = "the pause between two clients is measured here")]
//! From the outbox to the broker: in order, bounded, repeated until the broker acknowledges.
//!
//! The delivered mark follows acknowledgements only. A fault ends the session of a client; the next
//! client begins at the mark. So a click may be sent twice, under one event id.

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
use crate::delivery::relay_session::{CLICKS_MAX, DELIVERY, Session};
use crate::metrics::Metrics;
use crate::metrics::labels::CodeLabel;
use crate::outbox::Outbox;
use crate::outbox::segment::Fingerprint;

/// Wait between a failed client and the next one.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long a stop waits for the end of the relay and of its client.
pub const RELAY_STOP: Duration = Duration::from_secs(5);

/// Names the click that is to be delivered next.
fn first_click(outbox: &Outbox) -> String {
    format!("click {}", outbox.reader().number())
}

/// What the relay works with.
#[derive(Debug)]
pub struct RelayParts<C, I> {
    /// Where clicks come from.
    pub outbox: Arc<Outbox>,
    /// Notified by the outbox and by the client.
    pub wakeup: Arc<Wakeup>,
    /// Its metrics.
    pub metrics: Metrics,
    /// Makes a client, or returns why it cannot.
    pub connect: C,
    /// The registry's id of the schema with this fingerprint; waits for it. `None` only when the relay stops.
    pub id: I,
    /// The current problem, for the health probe.
    pub problem: Problem,
    /// Holds this host's clock against the broker's.
    pub clock: ClockWatch,
    /// Ends the relay.
    pub stop: CancellationToken,
}

/// The running relay.
#[derive(Debug)]
pub struct Relay(Worker);

impl Relay {
    /// Starts the relay on a thread of its own.
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

    /// Ends the relay; what is in flight and not acknowledged stays in the outbox. Blocks, for
    /// [`RELAY_STOP`] at most.
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
                let mut session =
                    Session::new(&parts.outbox, &parts.metrics, &parts.problem, &parts.clock);
                let fault = session.run(&client, &parts.wakeup, &mut parts.id, &parts.stop);
                if session.delivered > 0 {
                    pause = PAUSE_MIN;
                }
                fault
            }
            Err(cause) => {
                tracing::error!(cause, "cannot make a Kafka client");
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
            "the relay starts again with a new client"
        );
        let until = Instant::now() + pause;
        while !parts.stop.is_cancelled() && Instant::now() < until {
            parts.wakeup.wait(until.saturating_duration_since(Instant::now()));
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
