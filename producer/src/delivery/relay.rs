#![expect(clippy::disallowed_methods, reason = "the beat of the mark is measured here")]
//! From the outbox to the broker: in order, bounded, again and again until it is acknowledged.
//!
//! The mark of delivery follows acknowledgements only. Whatever goes wrong ends one life of the
//! client; the next begins at the mark. So a click may be sent twice, under one event id.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use schemas::{SchemaId, frame};
use service::worker::{Problem, Worker};
use tokio_util::sync::CancellationToken;

use crate::clock::now_ms;
use crate::delivery::cpu_pressure::Cores;
use crate::delivery::in_flight::{End, Passed, Window};
use crate::delivery::throttle;
use crate::delivery::throttle::{Look, Pace};
use crate::metrics::{CodeLabel, Metrics};
use crate::outbox::Outbox;
use crate::outbox::offer::{Loss, TraceHeaders};
use crate::outbox::reader::{Found, Reader};
use crate::outbox::segment::Print;
use service::number::gauge;
use service::wakeup::Wakeup;

/// Most clicks on their way at once.
const CLICKS_MAX: usize = 20_000;
/// Most bytes on their way at once, a click more at most; of a small outbox a quarter, so that most
/// of it may give way.
const BYTES_MAX: usize = 16 << 20;
/// Between two marks while clicks are delivered: so much is sent again after a crash.
const MARK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait without a look around.
const BEAT: Duration = Duration::from_millis(200);
/// Before the next client after one that failed.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// One life of a client of the broker.
pub trait Client {
    /// Sends a framed click. Never waits; what becomes of it is reported under its number.
    ///
    /// # Errors
    /// It was not taken.
    fn send(&self, number: u64, record: &[u8], trace: TraceHeaders<'_>) -> Result<(), Fault>;

    /// Takes what was reported since it was last asked. It rings the wakeup when there is something.
    fn reports(&self) -> Vec<Report>;
}

/// What became of one click.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Its number.
    pub number: u64,
    /// Whether all replicas have it.
    pub delivered: Result<(), Fault>,
}

/// Why a click was not delivered this time. It is sent again, whichever it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client cannot be made.
    Client,
    /// The client gave up for good.
    ProducerFatal,
    /// The topic is not there.
    UnknownTopic,
    /// The broker refuses us.
    NotAuthorized,
    /// The broker takes no batch as large as ours.
    BatchTooLarge,
    /// Only where the operator set a time limit.
    TimedOut,
    /// The click alone is too large for the client. The one fault that time does not mend.
    ClickTooLarge,
    /// Anything else that the broker answered.
    Broker,
    /// The outbox cannot be read.
    Disk,
}

impl Fault {
    /// Stable name: metric label, log field and heading in the RUNBOOK.
    pub fn code(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::ProducerFatal => "producer_fatal",
            Self::UnknownTopic => "unknown_topic",
            Self::NotAuthorized => "not_authorized",
            Self::BatchTooLarge => "batch_too_large",
            Self::TimedOut => "timed_out",
            Self::ClickTooLarge => "too_large",
            Self::Broker => "broker",
            Self::Disk => "outbox_read",
        }
    }
}

/// What the relay works with.
#[derive(Debug)]
pub struct Parts<C, I> {
    /// Where clicks come from.
    pub outbox: Arc<Outbox>,
    /// Rung by the outbox and by the client.
    pub wakeup: Arc<Wakeup>,
    /// Its metrics.
    pub metrics: Metrics,
    /// Makes a client; the words of one that cannot be made.
    pub connect: C,
    /// The registry's id of the schema with this print; waits for it. None at the end only.
    pub id: I,
    /// What is wrong now, for whoever asks.
    pub problem: Problem,
    /// The end.
    pub stop: CancellationToken,
}

/// The running relay.
#[derive(Debug)]
pub struct Relay(Worker);

impl Relay {
    /// Starts the relay on a thread of its own.
    ///
    /// # Errors
    /// The system has no thread.
    pub fn start<C, L, I>(parts: Parts<C, I>) -> std::io::Result<Self>
    where
        C: FnMut() -> Result<L, String> + Send + 'static,
        L: Client,
        I: FnMut(Print) -> Option<SchemaId> + Send + 'static,
    {
        let (wakeup, stop) = (Arc::clone(&parts.wakeup), parts.stop.clone());
        parts.metrics.relay_clicks_bound.set(gauge(CLICKS_MAX));
        Worker::start("relay", stop, Some(wakeup), move || run(parts)).map(Self)
    }

    /// Ends it; what is on its way stays in the outbox unless it was acknowledged. Blocks.
    pub fn stop(self) {
        self.0.stop();
    }
}

fn run<C, L, I>(mut parts: Parts<C, I>)
where
    C: FnMut() -> Result<L, String>,
    L: Client,
    I: FnMut(Print) -> Option<SchemaId>,
{
    let mut pause = PAUSE_MIN;
    while !parts.stop.is_cancelled() {
        let fault = match (parts.connect)() {
            Ok(client) => {
                let mut life = Life::new(&parts.outbox, &parts.metrics, &parts.problem);
                let fault = life.live(&client, &parts.wakeup, &mut parts.id, &parts.stop);
                if life.delivered > 0 {
                    pause = PAUSE_MIN;
                }
                fault
            }
            Err(cause) => {
                tracing::error!(cause, "no kafka client");
                Some(Fault::Client)
            }
        };
        let Some(fault) = fault else { break };
        let code = fault.code();
        parts.metrics.relay_retries.get_or_create(&CodeLabel { code }).inc();
        parts.problem.set(Some(format!("clicks are not delivered: {code}")));
        tracing::error!(code, waiting = parts.outbox.waiting(), "the relay begins anew");
        let until = Instant::now() + pause;
        while !parts.stop.is_cancelled() && Instant::now() < until {
            parts.wakeup.wait(until.saturating_duration_since(Instant::now()));
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// What is on its way by one client.
struct Life<'a> {
    outbox: &'a Outbox,
    metrics: &'a Metrics,
    problem: &'a Problem,
    reader: Reader,
    window: Window,
    cores: Cores,
    pace: Pace,
    looked_at: Instant,
    bytes_max: usize,
    record: Vec<u8>,
    marked: u64,
    marked_at: Instant,
    /// Clicks that this client delivered.
    delivered: u64,
}

impl<'a> Life<'a> {
    fn new(outbox: &'a Outbox, metrics: &'a Metrics, problem: &'a Problem) -> Self {
        let reader = outbox.reader();
        let start = reader.number();
        Self {
            outbox,
            metrics,
            problem,
            reader,
            window: Window::new(start),
            cores: Cores::default(),
            pace: Pace::since(metrics.redirects()),
            looked_at: Instant::now(),
            bytes_max: usize::try_from(outbox.bytes_max() / 4).unwrap_or(BYTES_MAX).min(BYTES_MAX),
            record: Vec::new(),
            marked: start,
            marked_at: Instant::now(),
            delivered: 0,
        }
    }

    /// Sends and hears until something fails. None when it was told to stop.
    fn live(
        &mut self,
        client: &impl Client,
        wakeup: &Wakeup,
        id: &mut impl FnMut(Print) -> Option<SchemaId>,
        stop: &CancellationToken,
    ) -> Option<Fault> {
        let fault = loop {
            let fault = self.hear(client).err();
            self.mark(false);
            if stop.is_cancelled() {
                break None;
            }
            if fault.is_some() {
                break fault;
            }
            self.look();
            match self.fill(client, id) {
                Ok(true) if self.pace.admits() => wakeup.wait(BEAT),
                // Not for a wakeup: it rings for each visitor.
                Ok(true) => {
                    std::thread::sleep(throttle::BEAT.saturating_sub(self.looked_at.elapsed()));
                }
                Ok(false) => break None,
                Err(fault) => break Some(fault),
            }
        };
        self.mark(true);
        self.metrics.relay_clicks.set(0);
        self.metrics.relay_throttled.set(0);
        fault
    }

    /// Takes acknowledgements. The first that is none ends this life.
    fn hear(&mut self, client: &impl Client) -> Result<(), Fault> {
        let (now, mut heard) = (now_ms(), Ok(()));
        for Report { number, delivered } in client.reports() {
            match delivered {
                Ok(()) => {
                    if let Some(taken_ms) = self.window.done(number, End::Delivered) {
                        let age = Duration::from_millis(now.saturating_sub(taken_ms));
                        self.metrics.delivery_seconds.observe(age.as_secs_f64());
                    }
                }
                Err(fault) => heard = heard.and(Err(fault)),
            }
        }
        heard
    }

    /// Gives way to visitors where they need the cores, or does not any more.
    fn look(&mut self) {
        if self.looked_at.elapsed() < throttle::BEAT {
            return;
        }
        self.looked_at = Instant::now();
        self.pace.look(Look {
            redirects: self.metrics.redirects(),
            crowded: self.cores.are_short(),
            room: self.outbox.has_room(),
        });
        self.metrics.relay_throttled.set(i64::from(self.pace.gives_way()));
    }

    /// Sends as much as may be on its way. False when it was told to stop.
    fn fill(
        &mut self,
        client: &impl Client,
        id: &mut impl FnMut(Print) -> Option<SchemaId>,
    ) -> Result<bool, Fault> {
        while self.pace.admits()
            && self.window.clicks() < CLICKS_MAX
            && self.window.bytes() < self.bytes_max
        {
            let found = self.reader.read().map_err(|error| {
                tracing::error!(%error, "the outbox cannot be read");
                Fault::Disk
            })?;
            let (number, print, stored) = match found {
                Found::Nothing => break,
                Found::Click { number, print, stored } => (number, print, stored),
                Found::Lost { number, clicks } => {
                    let code = Loss::OutboxCorrupt.code();
                    tracing::error!(code, number, clicks, "clicks cannot be read and are lost");
                    self.window.pass(clicks, End::Lost(Loss::OutboxCorrupt));
                    continue;
                }
                Found::Dropped { clicks } => {
                    self.window.pass(clicks, End::GivenUp);
                    continue;
                }
            };
            if self.window.clicks() == 0 {
                self.metrics.outbox_oldest.set(seconds(stored.taken_ms));
            }
            let Some(id) = id(print) else { return Ok(false) };
            frame(id, &mut self.record);
            self.record.extend_from_slice(stored.datum);
            self.window.sent(stored.taken_ms, self.record.len());
            self.pace.sent();
            match client.send(number, &self.record, stored.trace) {
                Ok(()) => {}
                Err(Fault::ClickTooLarge) => {
                    tracing::error!(code = Loss::TooLarge.code(), number, "a click is lost");
                    self.window.done(number, End::Lost(Loss::TooLarge));
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(true)
    }

    /// Moves the mark of delivery: at a beat, when nothing is on its way, or `now`.
    fn mark(&mut self, now: bool) {
        self.metrics.relay_clicks.set(gauge(self.window.clicks()));
        let oldest = self.window.oldest_ms().map_or(0.0, seconds);
        self.metrics.outbox_oldest.set(oldest);
        let start = self.window.start();
        let due = self.window.clicks() == 0 || self.marked_at.elapsed() >= MARK_EVERY;
        if start == self.marked || !(due || now) {
            return;
        }
        self.outbox.delivered(start);
        let Passed { delivered, lost } = self.window.passed();
        self.metrics.clicks_delivered.inc_by(delivered);
        lost.into_iter().for_each(|loss| self.metrics.lost(loss));
        if delivered > 0 {
            self.problem.set(None);
        }
        self.delivered += delivered;
        (self.marked, self.marked_at) = (start, Instant::now());
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a time of this century is exact to the millisecond"
)]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}
