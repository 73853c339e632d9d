#![expect(clippy::disallowed_methods, reason = "the ticks of throttle and mark are measured here")]
//! The session of one Kafka client: it sends clicks from the outbox, group by group, and moves the delivered
//! mark.
//!
//! A group holds the clicks that the outbox received during the linger, or as many as fill a batch. The
//! first click after a pause is sent at once. The relay sleeps between two groups, and takes the reports of
//! a group together.

use std::time::{Duration, Instant};

use schemas::{SchemaId, frame};
use service::number::gauge;
use service::wakeup::Wakeup;
use service::worker::Problem;
use tokio_util::sync::CancellationToken;

use crate::clock::now_ms;
use crate::clock_watch::ClockWatch;
use crate::delivery::cpu_pressure::CpuPressure;
use crate::delivery::delivery_spans::DeliverySpans;
use crate::delivery::in_flight::{InFlight, SettledClicks, Settlement};
use crate::delivery::relay_client::{DeliveryFault, DeliveryReport, RelayClient};
use crate::delivery::throttle::{self, Throttle, ThrottleSample};
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::outbox::offer::Loss;
use crate::outbox::reader::{Found, Reader};
use crate::outbox::segment::Fingerprint;

/// Most clicks in flight.
pub(super) const CLICKS_MAX: usize = 20_000;
/// Most bytes in flight, and at most one click more. For a small outbox the bound is a quarter of it, so
/// that most of its segments can be dropped.
const BYTES_MAX: usize = 16 << 20;
/// Bytes of stored clicks that fill a batch of the client: its `batch.size` is 1,000,000. They are sent before
/// the linger ends.
const GROUP_BYTES: usize = 1 << 20;
/// Longest wait for a report while no more clicks may be sent.
const REPORTS_WAIT: Duration = Duration::from_millis(50);
/// Time between two moves of the mark during delivery. After a crash the relay sends again the clicks of this
/// time, and those of which it had not read the reports: it reads them at least every [`throttle::TICK`].
const MARK_EVERY: Duration = Duration::from_millis(50);
/// Time between two log lines about unreadable clicks; the metric counts each one.
const LOG_LOST_EVERY: Duration = Duration::from_secs(1);
/// Name of the stage that delivers clicks.
pub(super) const DELIVERY: &str = "delivery";
/// Code of clicks that the brokers do not acknowledge in the time below.
const UNACKNOWLEDGED: &str = "unacknowledged";
const UNACKNOWLEDGED_AFTER: Duration = Duration::from_secs(1);

/// What a session works with.
#[derive(Clone, Copy)]
pub(super) struct SessionParts<'a> {
    pub(super) outbox: &'a Outbox,
    pub(super) metrics: &'a Metrics,
    pub(super) problem: &'a Problem,
    pub(super) clock: &'a ClockWatch,
    /// How long a click waits for others.
    pub(super) linger: Duration,
}

/// The session of one client, from its start until it fails or the relay stops.
pub(super) struct Session<'a> {
    outbox: &'a Outbox,
    metrics: &'a Metrics,
    problem: &'a Problem,
    clock: &'a ClockWatch,
    linger: Duration,
    reader: Reader,
    /// When the last group was begun.
    group_at: Option<Instant>,
    /// Whether that group ended with the last written click.
    at_end: bool,
    in_flight: InFlight,
    spans: DeliverySpans,
    cpu_pressure: CpuPressure,
    throttle: Throttle,
    sampled_at: Instant,
    bytes_max: usize,
    record: Vec<u8>,
    marked: u64,
    /// When the mark moved, or the first click after a pause was sent.
    marked_at: Instant,
    /// Unreadable clicks.
    lost: u64,
    lost_logged_at: Option<Instant>,
    /// Clicks that this client delivered.
    pub(super) delivered: u64,
}

impl<'a> Session<'a> {
    pub(super) fn new(parts: SessionParts<'a>) -> Self {
        let SessionParts { outbox, metrics, problem, clock, linger } = parts;
        let reader = outbox.reader();
        let start = reader.number();
        Self {
            outbox,
            metrics,
            problem,
            clock,
            linger,
            reader,
            group_at: None,
            at_end: false,
            in_flight: InFlight::new(start),
            spans: DeliverySpans::default(),
            cpu_pressure: CpuPressure::default(),
            throttle: Throttle::since(metrics.redirects()),
            sampled_at: Instant::now(),
            bytes_max: usize::try_from(outbox.bytes_max() / 4)
                .map_or(BYTES_MAX, |quarter| quarter.min(BYTES_MAX)),
            record: Vec::new(),
            marked: start,
            marked_at: Instant::now(),
            lost: 0,
            lost_logged_at: None,
            delivered: 0,
        }
    }

    /// Sends clicks and reads reports until a fault; returns `None` when the relay stops.
    pub(super) fn run(
        &mut self,
        client: &impl RelayClient,
        wakeup: &Wakeup,
        id: &mut impl FnMut(Fingerprint) -> Option<SchemaId>,
        stop: &CancellationToken,
    ) -> Option<DeliveryFault> {
        let fault = loop {
            let fault = self.take_reports(client).err();
            self.mark(false);
            if stop.is_cancelled() {
                break None;
            }
            if fault.is_some() {
                break fault;
            }
            self.sample_throttle();
            let left = self.linger_left();
            if !self.group_is_due(left) {
                let tick = throttle::TICK.saturating_sub(self.sampled_at.elapsed());
                wakeup.wait(if left.is_zero() { tick } else { left.min(tick) });
                continue;
            }
            match self.fill(client, id) {
                Ok(true) if self.at_end => {}
                Ok(true) if self.throttle.admits() => wakeup.wait(REPORTS_WAIT),
                Ok(true) => wakeup.wait(throttle::TICK.saturating_sub(self.sampled_at.elapsed())),
                Ok(false) => break None,
                Err(fault) => break Some(fault),
            }
        };
        self.mark(true);
        if let Some(fault) = fault {
            self.spans.failed(fault.code());
        }
        self.metrics.relay_clicks.set(0);
        self.metrics.relay_throttled.set(0);
        fault
    }

    /// How long the clicks in the outbox still wait for others.
    fn linger_left(&self) -> Duration {
        self.group_at.map_or(Duration::ZERO, |at| self.linger.saturating_sub(at.elapsed()))
    }

    /// Whether clicks are to be read: the last group left some, a batch is full, or the linger has ended and
    /// a click waits. If not, the outbox notifies the wakeup when there are enough.
    fn group_is_due(&self, linger_left: Duration) -> bool {
        let enough = if linger_left.is_zero() { 1 } else { self.bytes_max.min(GROUP_BYTES) as u64 };
        !self.at_end || self.outbox.has_unread(enough)
    }

    /// Reads the reports of the client. The first fault ends the session.
    fn take_reports(&mut self, client: &impl RelayClient) -> Result<(), DeliveryFault> {
        let mut result = Ok(());
        for report in client.reports() {
            let DeliveryReport { number, at_ms, delivered, logged_at_ms, location } = report;
            if let Some(logged_at_ms) = logged_at_ms {
                self.clock.compare(at_ms, logged_at_ms);
            }
            match delivered {
                Ok(()) => {
                    self.spans.acknowledged(number, location);
                    if let Some(taken_ms) = self.in_flight.settle(number, Settlement::Delivered) {
                        let age = Duration::from_millis(at_ms.saturating_sub(taken_ms));
                        self.metrics.delivery_seconds.observe(age.as_secs_f64());
                    }
                }
                Err(fault) => result = result.and(Err(fault)),
            }
        }
        self.clock.check(now_ms());
        result
    }

    /// Starts and ends throttling by the CPU pressure.
    fn sample_throttle(&mut self) {
        if self.sampled_at.elapsed() < throttle::TICK {
            return;
        }
        self.sampled_at = Instant::now();
        self.throttle.sample(ThrottleSample {
            redirects: self.metrics.redirects(),
            cpu_pressure: self.cpu_pressure.is_high(),
            outbox_has_room: self.outbox.has_room(),
        });
        self.metrics.relay_throttled.set(i64::from(self.throttle.is_throttled()));
    }

    /// Sends a group: the clicks of the outbox, up to the bounds of what may be in flight. False when the
    /// relay stops.
    fn fill(
        &mut self,
        client: &impl RelayClient,
        id: &mut impl FnMut(Fingerprint) -> Option<SchemaId>,
    ) -> Result<bool, DeliveryFault> {
        let began = Instant::now();
        self.at_end = false;
        while self.throttle.admits()
            && self.in_flight.clicks() < CLICKS_MAX
            && self.in_flight.bytes() < self.bytes_max
        {
            let found = self.reader.read().map_err(|error| {
                tracing::error!(%error, "the outbox cannot be read");
                DeliveryFault::Disk
            })?;
            let (number, fingerprint, stored) = match found {
                Found::Nothing => {
                    self.at_end = true;
                    break;
                }
                Found::Click { number, fingerprint, stored } => (number, fingerprint, stored),
                Found::Lost { number, clicks } => {
                    self.lost += clicks;
                    if self.lost_logged_at.is_none_or(|at| at.elapsed() >= LOG_LOST_EVERY) {
                        self.lost_logged_at = Some(Instant::now());
                        let (code, lost) = (Loss::OutboxCorrupt.code(), self.lost);
                        tracing::error!(
                            code,
                            number,
                            clicks,
                            lost,
                            "the outbox holds clicks that cannot be read: they are lost"
                        );
                    }
                    self.in_flight.skip(clicks, Settlement::Lost(Loss::OutboxCorrupt));
                    continue;
                }
                Found::Dropped { clicks } => {
                    self.in_flight.skip(clicks, Settlement::Dropped);
                    continue;
                }
            };
            if self.in_flight.clicks() == 0 {
                self.metrics.outbox_oldest.set(seconds(stored.taken_ms));
                self.marked_at = Instant::now();
            }
            let Some(id) = id(fingerprint) else { return Ok(false) };
            frame(id, &mut self.record);
            self.record.extend_from_slice(stored.datum);
            self.in_flight.sent(stored.taken_ms, self.record.len());
            self.throttle.sent();
            self.group_at = Some(began);
            match client.send(number, &self.record, stored.trace) {
                Ok(()) => self.spans.sent(number, stored.trace),
                Err(DeliveryFault::ClickTooLarge) => {
                    tracing::error!(
                        code = Loss::TooLarge.code(),
                        number,
                        "a click is larger than the Kafka client accepts: it is lost"
                    );
                    self.in_flight.settle(number, Settlement::Lost(Loss::TooLarge));
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(true)
    }

    /// Moves the delivered mark at a tick, when no click is in flight, or if `now` is set.
    fn mark(&mut self, now: bool) {
        self.metrics.relay_clicks.set(gauge(self.in_flight.clicks()));
        let oldest = self.in_flight.oldest_ms().map_or(0.0, seconds);
        self.metrics.outbox_oldest.set(oldest);
        let start = self.in_flight.start();
        if start != self.marked {
            self.metrics.attempts.all_ended(DELIVERY);
        } else if self.in_flight.clicks() > 0 && self.marked_at.elapsed() > UNACKNOWLEDGED_AFTER {
            // This needs no fault: the client waits for a broker without a time limit.
            self.metrics.attempts.failed(DELIVERY, &format!("click {start}"), UNACKNOWLEDGED);
        }
        let due = self.in_flight.clicks() == 0 || self.marked_at.elapsed() >= MARK_EVERY;
        if start == self.marked || !(due || now) {
            return;
        }
        self.outbox.delivered(start);
        let SettledClicks { delivered, lost } = self.in_flight.take_settled();
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
