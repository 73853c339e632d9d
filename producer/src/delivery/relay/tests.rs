//! The relay on a scripted client: what it acknowledges, loses, and fails with.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::clock::now_ms;
use crate::delivery::relay_client::DeliveryReport;
use crate::outbox::damaged_segment;
use crate::outbox::offer::{ClickSink as _, Offered, TraceHeaders};
use crate::outbox::outbox_settings::{BYTES_MIN, OutboxSettings, QueueLimits};
use crate::outbox::segment;

/// 2020-01-01, by the clock of a broker that is far behind.
const LOGGED_AT_MS: u64 = 1_577_836_800_000;

/// What the broker has: for each number in a datum, how often.
type Log = Arc<Mutex<BTreeMap<u64, u32>>>;

/// A client that fails after a number of sends, in one of several ways.
struct Script {
    log: Log,
    wakeup: Arc<Wakeup>,
    reports: Mutex<Vec<DeliveryReport>>,
    sends: AtomicU64,
    fault: Option<(u64, DeliveryFault)>,
}

impl RelayClient for Script {
    fn send(&self, number: u64, record: &[u8], _: TraceHeaders<'_>) -> Result<(), DeliveryFault> {
        let (id, datum) = schemas::unframe(record).unwrap();
        assert_eq!(id, SchemaId(7));
        let sends = self.sends.fetch_add(1, Ordering::SeqCst);
        let delivered = match self.fault {
            Some((after, DeliveryFault::ClickTooLarge)) if sends == after => {
                return Err(DeliveryFault::ClickTooLarge);
            }
            // Every third click is delivered nevertheless, and so out of order.
            Some((after, fault))
                if fault != DeliveryFault::ClickTooLarge
                    && sends >= after
                    && !sends.is_multiple_of(3) =>
            {
                Err(fault)
            }
            _ => Ok(()),
        };
        if delivered.is_ok() {
            let inside = u64::from_le_bytes(datum[..8].try_into().unwrap());
            *self.log.lock().unwrap().entry(inside).or_insert(0) += 1;
        }
        self.reports.lock().unwrap().push(DeliveryReport {
            number,
            at_ms: now_ms(),
            delivered,
            logged_at_ms: Some(LOGGED_AT_MS),
            location: None,
        });
        self.wakeup.notify();
        Ok(())
    }

    fn reports(&self) -> Vec<DeliveryReport> {
        let mut reports = std::mem::take(&mut *self.reports.lock().unwrap());
        reports.reverse();
        reports
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

struct Fixture {
    outbox: Arc<Outbox>,
    metrics: Metrics,
    log: Log,
    problem: Problem,
    clock: ClockWatch,
    wakeup: Arc<Wakeup>,
    linger: Duration,
    folder: TempDir,
}

impl Fixture {
    /// An outbox with `clicks` in it.
    fn new(clicks: u64) -> Self {
        let fixture = Self::open(tempfile::tempdir().unwrap());
        fixture.offer(0..clicks, 8);
        fixture
    }

    /// An outbox in a folder.
    fn open(folder: TempDir) -> Self {
        let (metrics, wakeup) = (Metrics::default(), Arc::new(Wakeup::default()));
        let settings =
            OutboxSettings::new(BYTES_MIN, QueueLimits { clicks: 100_000, bytes: 64 << 20 });
        let outbox =
            Outbox::open(folder.path(), settings, "\"long\"", &metrics, Arc::clone(&wakeup))
                .unwrap();
        let (log, problem) = (Log::default(), Problem::default());
        let clock = ClockWatch::new(metrics.clock_skew_seconds.clone());
        let linger = Duration::from_millis(5);
        Self { outbox: Arc::new(outbox), metrics, log, problem, clock, wakeup, linger, folder }
    }

    /// Offers clicks of these numbers, each of `bytes`.
    fn offer(&self, numbers: Range<u64>, bytes: usize) {
        for number in numbers {
            let mut datum = number.to_le_bytes().to_vec();
            datum.resize(bytes, 0);
            assert_eq!(self.outbox.offer(&datum, TraceHeaders::default()), Offered::Queued);
        }
    }

    /// Waits until the broker has this many clicks.
    fn until_logged(&self, clicks: u64) {
        until("clicks are in the log", || self.log.lock().unwrap().len() as u64 >= clicks);
    }

    /// Runs the relay until nothing waits; its clients fail by `faults`, one after the other.
    fn run(&self, faults: Vec<Option<(u64, DeliveryFault)>>) {
        let relay = self.start(faults);
        self.outbox.close();
        until("the relay delivers all clicks", || self.outbox.waiting() == 0);
        relay.stop();
    }

    fn start(&self, faults: Vec<Option<(u64, DeliveryFault)>>) -> Relay {
        let (log, wakeup) = (Arc::clone(&self.log), Arc::clone(&self.wakeup));
        let mut faults = faults.into_iter();
        let connect = move || {
            let fault = faults.next().flatten();
            match fault {
                Some((_, DeliveryFault::Client)) => Err("no client".to_owned()),
                _ => Ok(Script {
                    log: Arc::clone(&log),
                    wakeup: Arc::clone(&wakeup),
                    reports: Mutex::default(),
                    sends: AtomicU64::new(0),
                    fault,
                }),
            }
        };
        let parts = RelayParts {
            outbox: Arc::clone(&self.outbox),
            wakeup: Arc::clone(&self.wakeup),
            metrics: self.metrics.clone(),
            connect,
            id: |_| Some(SchemaId(7)),
            problem: self.problem.clone(),
            clock: self.clock.clone(),
            linger: self.linger,
            stop: CancellationToken::new(),
        };
        Relay::start(parts).unwrap()
    }

    fn retries(&self, fault: DeliveryFault) -> u64 {
        self.metrics.relay_retries.get_or_create(&CodeLabel { code: fault.code() }).get()
    }
}

#[test]
fn every_click_is_delivered_once_when_nothing_fails() {
    let fixture = Fixture::new(3_000);
    fixture.run(vec![]);
    let log = fixture.log.lock().unwrap();
    assert!(log.len() == 3_000 && log.values().all(|times| *times == 1));
    assert_eq!(fixture.metrics.clicks_delivered.get(), 3_000);
    assert_eq!((fixture.problem.current(), fixture.metrics.outbox_clicks.get()), (None, 0));
}

#[test]
fn the_first_click_after_a_pause_is_sent_at_once_and_the_next_ones_after_the_linger() {
    let linger = Duration::from_millis(300);
    let fixture = Fixture { linger, ..Fixture::new(0) };
    let relay = fixture.start(vec![]);
    for first in [0, 10, 20] {
        let offered = Instant::now();
        fixture.offer(first..first + 1, 8);
        fixture.until_logged(first + 1);
        assert!(offered.elapsed() < linger, "{:?}", offered.elapsed());
        for number in first + 1..first + 10 {
            std::thread::sleep(Duration::from_millis(5));
            fixture.offer(number..number + 1, 8);
        }
        fixture.until_logged(first + 2);
        assert!(offered.elapsed() >= linger, "{:?}", offered.elapsed());
        fixture.until_logged(first + 10);
        assert!(offered.elapsed() < 2 * linger, "{:?}", offered.elapsed());
        std::thread::sleep(linger);
    }
    relay.stop();
}

#[test]
fn a_full_batch_a_close_and_a_stop_end_the_linger() {
    let fixture = Fixture { linger: Duration::from_secs(3_600), ..Fixture::new(1) };
    let relay = fixture.start(vec![]);
    fixture.until_logged(1);
    // A quarter of the smallest outbox, which bounds the bytes in flight.
    fixture.offer(1..300, 1_000);
    fixture.until_logged(250);
    std::thread::sleep(Duration::from_millis(200));
    fixture.offer(300..310, 8);
    std::thread::sleep(Duration::from_millis(200));
    assert!(fixture.outbox.waiting() >= 10, "the last clicks wait for others");
    fixture.outbox.close();
    until("the relay delivers all clicks", || fixture.outbox.waiting() == 0);
    let began = Instant::now();
    relay.stop();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn after_any_fault_a_new_client_starts_at_the_delivered_mark_without_loss() {
    for fault in [
        DeliveryFault::ProducerFatal,
        DeliveryFault::UnknownTopic,
        DeliveryFault::NotAuthorized,
        DeliveryFault::BatchTooLarge,
        DeliveryFault::TimedOut,
        DeliveryFault::Broker,
        DeliveryFault::Client,
    ] {
        let fixture = Fixture::new(2_000);
        fixture.run(vec![Some((500, fault)), None]);
        let log = fixture.log.lock().unwrap();
        assert_eq!(log.len(), 2_000, "{fault:?}");
        assert_eq!(fixture.retries(fault), 1, "{fault:?}");
        assert_eq!(fixture.metrics.clicks_delivered.get(), 2_000, "{fault:?}");
        assert_eq!(
            (fixture.metrics.undelivered(), fixture.problem.current()),
            (0, None),
            "{fault:?}"
        );
        // The seeded fault did its harm: some were sent again.
        let again = log.values().filter(|times| **times > 1).count();
        assert_eq!(again > 0, fault != DeliveryFault::Client, "{fault:?}: {again} again");
    }
}

#[test]
fn a_click_too_large_for_any_client_is_lost_counted_and_passed() {
    let fixture = Fixture::new(100);
    fixture.run(vec![Some((40, DeliveryFault::ClickTooLarge))]);
    let log = fixture.log.lock().unwrap();
    assert!(log.len() == 99 && !log.contains_key(&40));
    assert_eq!((fixture.metrics.undelivered(), fixture.metrics.clicks_delivered.get()), (1, 99));
    assert_eq!(fixture.retries(DeliveryFault::ClickTooLarge), 0);
}

#[test]
fn m7_clicks_of_a_wrong_clock_are_delivered_and_the_clock_is_named() {
    let fixture = Fixture::new(100);
    assert_eq!(fixture.clock.check(now_ms()), None);
    fixture.run(vec![]);
    assert_eq!(fixture.metrics.clicks_delivered.get(), 100);
    let problem = fixture.clock.check(now_ms()).unwrap();
    assert!(problem.starts_with("clock_skewed: "), "{problem}");
    assert!(fixture.metrics.clock_skew_seconds.get() > 100_000_000);
    assert_eq!(fixture.problem.current(), None, "it is no problem of the delivery");
}

#[test]
fn h12_of_damaged_segments_all_whole_clicks_are_delivered_and_the_others_counted() {
    let Fixture { outbox, folder, .. } = Fixture::new(200);
    outbox.close();
    drop(outbox);
    let file = segment::path(folder.path(), 0);
    let mut content = std::fs::read(&file).unwrap();
    // Each is a head of 20 bytes, 11 bytes before the datum, and a datum of 8.
    let begin = |click: usize| segment::HEADER_BYTES + click * 39;
    for at in [60, begin(50), begin(90) + 3, begin(91) + 38, begin(199) + 38] {
        content[at] ^= 1;
    }
    content[begin(120)..begin(130) + 1].fill(0);
    std::fs::write(&file, content).unwrap();
    let fixture = Fixture::open(folder);
    fixture.run(vec![]);
    let lost: Vec<u64> = [0, 50, 90, 91, 199].into_iter().chain(120..=130).collect();
    let log = fixture.log.lock().unwrap();
    let missing: Vec<_> = (0..200).filter(|click| !log.contains_key(click)).collect();
    let mut expected = lost.clone();
    expected.sort_unstable();
    assert_eq!(missing, expected);
    assert_eq!(fixture.metrics.undelivered(), lost.len() as u64);
    assert_eq!(fixture.metrics.clicks_delivered.get(), 200 - lost.len() as u64);
    let label = CodeLabel { code: "outbox_corrupt" };
    let corrupt = fixture.metrics.clicks_undelivered.get_or_create(&label).get();
    assert_eq!(corrupt, lost.len() as u64);
    assert_eq!(damaged_segment::list(fixture.folder.path()).unwrap().len(), 1);
    assert_eq!(fixture.metrics.outbox_damaged_segments.get(), 1);
}
