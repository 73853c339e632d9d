//! The relay on a scripted client: what it acknowledges, loses, and fails with.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use std::sync::Mutex;

use super::*;
use crate::outbox::offer::{ClickSink as _, Offered};
use crate::outbox::{BYTES_MIN, Settings};

/// What the broker has: for each number that a datum says, how often.
type Log = Arc<Mutex<BTreeMap<u64, u32>>>;

/// A client that fails after so many sends, in a way of its own.
struct Script {
    log: Log,
    wakeup: Arc<Wakeup>,
    reports: Mutex<Vec<Report>>,
    sends: AtomicU64,
    fault: Option<(u64, Fault)>,
}

impl Client for Script {
    fn send(&self, number: u64, record: &[u8], _: TraceHeaders<'_>) -> Result<(), Fault> {
        let (id, datum) = schemas::unframe(record).unwrap();
        assert_eq!(id, SchemaId(7));
        let sends = self.sends.fetch_add(1, Ordering::SeqCst);
        let delivered = match self.fault {
            Some((after, Fault::ClickTooLarge)) if sends == after => {
                return Err(Fault::ClickTooLarge);
            }
            // Every third gets through all the same, and so out of order.
            Some((after, fault))
                if fault != Fault::ClickTooLarge && sends >= after && !sends.is_multiple_of(3) =>
            {
                Err(fault)
            }
            _ => Ok(()),
        };
        if delivered.is_ok() {
            let said = u64::from_le_bytes(datum.try_into().unwrap());
            *self.log.lock().unwrap().entry(said).or_insert(0) += 1;
        }
        self.reports.lock().unwrap().push(Report { number, delivered });
        self.wakeup.notify();
        Ok(())
    }

    fn reports(&self) -> Vec<Report> {
        let mut reports = std::mem::take(&mut *self.reports.lock().unwrap());
        reports.reverse();
        reports
    }
}

struct Fixture {
    outbox: Arc<Outbox>,
    metrics: Metrics,
    log: Log,
    problem: Problem,
    wakeup: Arc<Wakeup>,
    _folder: TempDir,
}

impl Fixture {
    /// An outbox with `clicks` in it.
    fn new(clicks: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (metrics, wakeup) = (Metrics::default(), Arc::new(Wakeup::default()));
        let settings = Settings::new(BYTES_MIN, (100_000, 64 << 20));
        let outbox =
            Outbox::open(folder.path(), settings, "\"long\"", &metrics, Arc::clone(&wakeup))
                .unwrap();
        for number in 0..clicks {
            let offered = outbox.offer(&number.to_le_bytes(), TraceHeaders::default());
            assert_eq!(offered, Offered::Queued);
        }
        let (log, problem) = (Log::default(), Problem::default());
        Self { outbox: Arc::new(outbox), metrics, log, problem, wakeup, _folder: folder }
    }

    /// Runs the relay until nothing waits; its clients fail by `faults`, one after the other.
    fn run(&self, faults: Vec<Option<(u64, Fault)>>) {
        let (log, wakeup) = (Arc::clone(&self.log), Arc::clone(&self.wakeup));
        let mut faults = faults.into_iter();
        let connect = move || {
            let fault = faults.next().flatten();
            match fault {
                Some((_, Fault::Client)) => Err("no client".to_owned()),
                _ => Ok(Script {
                    log: Arc::clone(&log),
                    wakeup: Arc::clone(&wakeup),
                    reports: Mutex::default(),
                    sends: AtomicU64::new(0),
                    fault,
                }),
            }
        };
        let relay = Relay::start(Parts {
            outbox: Arc::clone(&self.outbox),
            wakeup: Arc::clone(&self.wakeup),
            metrics: self.metrics.clone(),
            connect,
            id: |_| Some(SchemaId(7)),
            problem: self.problem.clone(),
            stop: CancellationToken::new(),
        });
        let began = Instant::now();
        self.outbox.close();
        while self.outbox.waiting() > 0 {
            assert!(began.elapsed() < Duration::from_secs(30), "clicks wait for ever");
            std::thread::sleep(Duration::from_millis(2));
        }
        relay.unwrap().stop();
    }

    fn retries(&self, fault: Fault) -> u64 {
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
fn after_any_fault_a_new_client_begins_at_the_mark_and_nothing_is_lost_or_counted_twice() {
    for fault in [
        Fault::ProducerFatal,
        Fault::UnknownTopic,
        Fault::NotAuthorized,
        Fault::BatchTooLarge,
        Fault::TimedOut,
        Fault::Broker,
        Fault::Client,
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
        assert_eq!(again > 0, fault != Fault::Client, "{fault:?}: {again} again");
    }
}

#[test]
fn a_click_too_large_for_any_client_is_lost_counted_and_passed() {
    let fixture = Fixture::new(100);
    fixture.run(vec![Some((40, Fault::ClickTooLarge))]);
    let log = fixture.log.lock().unwrap();
    assert!(log.len() == 99 && !log.contains_key(&40));
    assert_eq!((fixture.metrics.undelivered(), fixture.metrics.clicks_delivered.get()), (1, 99));
    assert_eq!(fixture.retries(Fault::ClickTooLarge), 0);
}
