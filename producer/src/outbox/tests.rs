//! The outbox when it is killed, cut, filled and synced.

mod damage;
mod removed_segments;

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;
use crate::outbox::durable_batch::DurableBatch;
use crate::outbox::outbox_settings::{BYTES_MIN, DropPolicy, QueueLimits};
use crate::outbox::reader::Found;

const SCHEMA: &str = r#""bytes""#;

/// A temporary folder for an outbox, and the settings to open it with.
struct Fixture {
    folder: TempDir,
    settings: OutboxSettings,
    metrics: Metrics,
}

impl Fixture {
    fn new(sync: SyncPolicy) -> Self {
        let settings = OutboxSettings {
            sync,
            ..OutboxSettings::new(BYTES_MIN, QueueLimits { clicks: 1 << 20, bytes: 64 << 20 })
        };
        Self { folder: tempfile::tempdir().unwrap(), settings, metrics: Metrics::default() }
    }

    fn open(&self) -> Outbox {
        self.open_in(self.folder.path())
    }

    fn open_in(&self, folder: &Path) -> Outbox {
        Outbox::open(folder, self.settings, SCHEMA, &self.metrics, Arc::default()).unwrap()
    }

    /// A copy of the folder, as another host would find the disk.
    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        copy
    }
}

/// What a power loss now would leave of an outbox: what was synced, and of what was only written
/// nothing. Returns how many clicks were reported as synced.
fn after_power_loss(fixture: &Fixture, outbox: &Outbox) -> (TempDir, u64) {
    let disk = lock(&outbox.shared.disk);
    let (synced, lengths) = (disk.synced, disk.synced_lengths.clone());
    drop(disk);
    let copy = fixture.copy();
    for first in segment::list(copy.path()).unwrap() {
        let path = segment::path(copy.path(), first);
        match lengths.iter().find(|(synced, _)| *synced == first) {
            Some((_, length)) => {
                let file = OpenOptions::new().write(true).open(path).unwrap();
                file.set_len(*length).unwrap();
            }
            None => std::fs::remove_file(path).unwrap(),
        }
    }
    (copy, synced)
}

/// The click with this number: a kilobyte and its trace.
fn click(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(128)
}

fn offer(outbox: &Outbox, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let traceparent = format!("00-{number}");
        let trace = TraceHeaders { traceparent: Some(&traceparent), tracestate: None };
        assert_eq!(outbox.offer(&click(number), trace), Offered::Queued, "{number}");
    }
}

fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("did not happen in time: {what}");
}

/// The numbers inside the clicks, and how many clicks were lost.
fn read(outbox: &Outbox) -> (Vec<u64>, u64) {
    let (mut reader, mut read, mut lost) = (outbox.reader(), Vec::new(), 0);
    loop {
        match reader.read().unwrap() {
            Found::Nothing => return (read, lost),
            Found::Lost { clicks, .. } => lost += clicks,
            Found::Dropped { .. } => {}
            Found::Click { number, stored, fingerprint } => {
                let inside = u64::from_le_bytes(*stored.datum.first_chunk().unwrap());
                assert_eq!(stored.datum, click(inside));
                let traceparent = format!("00-{inside}");
                assert_eq!(stored.trace.traceparent, Some(traceparent.as_str()));
                assert_eq!(outbox.schema(fingerprint).unwrap(), SCHEMA);
                assert!(number >= inside, "{number} holds {inside}");
                read.push(inside);
            }
        }
    }
}

fn numbers(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

fn bytes_on_disk(folder: &Path) -> u64 {
    let firsts = segment::list(folder).unwrap();
    firsts.iter().map(|first| std::fs::metadata(segment::path(folder, *first)).unwrap().len()).sum()
}

#[test]
fn clicks_are_read_in_order_and_a_start_continues_where_delivery_stopped() {
    let fixture = Fixture::new(SyncPolicy::Group);
    let outbox = fixture.open();
    offer(&outbox, 0..300);
    outbox.close();
    assert_eq!(read(&outbox), (numbers(0..300), 0));
    assert_eq!(outbox.offer(b"late", TraceHeaders::default()), Offered::Lost(Loss::Shutdown));
    let segments = segment::list(fixture.folder.path()).unwrap().len();
    assert!(segments > 3, "{segments} segments");
    outbox.delivered(250);
    drop(outbox);
    assert!(segment::list(fixture.folder.path()).unwrap().len() < segments);
    let outbox = fixture.open();
    assert_eq!(outbox.recovered(), Recovered { clicks: 50, torn_bytes: 0, damaged_segments: 0 });
    offer(&outbox, 300..310);
    outbox.close();
    assert_eq!(outbox.waiting(), 60);
    assert_eq!(read(&outbox), (numbers(250..310), 0));
    outbox.delivered(310);
    assert_eq!((outbox.waiting(), fixture.metrics.outbox_clicks.get()), (0, 0));
    drop(outbox);
    let outbox = fixture.open();
    assert_eq!((outbox.recovered().clicks, bytes_on_disk(fixture.folder.path())), (0, 0));
}

#[test]
fn a_folder_belongs_to_one_process() {
    let fixture = Fixture::new(SyncPolicy::Os);
    let outbox = fixture.open();
    let open = || {
        let wakeup = Arc::default();
        Outbox::open(fixture.folder.path(), fixture.settings, SCHEMA, &fixture.metrics, wakeup)
    };
    assert!(matches!(open(), Err(OutboxError::InUse(_))));
    drop(outbox);
    assert!(open().is_ok());
}

#[test]
fn m11_every_file_of_an_outbox_is_private_and_those_of_an_earlier_version_become_so() {
    let fixture = Fixture::new(SyncPolicy::Os);
    let folder = fixture.folder.path().join("outbox/serve");
    let modes = || {
        let entries = std::fs::read_dir(&folder).unwrap();
        let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        assert!(paths.len() >= 4, "{paths:?}");
        let paths = paths.into_iter().chain([folder.clone()]);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        paths.map(|path| (mode(&path), path)).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        let outbox = fixture.open_in(&folder);
        offer(&outbox, 0..3);
        outbox.close();
        for (mode, path) in modes() {
            assert_eq!(mode, if path == folder { 0o700 } else { 0o600 }, "{}", path.display());
        }
        drop(outbox);
        for (_, path) in modes() {
            let mode = std::fs::metadata(&path).unwrap().permissions().mode() | 0o055;
            std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
    }
}

#[test]
fn l10_a_link_in_place_of_any_file_of_an_outbox_is_refused_and_its_target_stays() {
    let fixture = Fixture::new(SyncPolicy::Os);
    let outbox = fixture.open();
    offer(&outbox, 0..3);
    outbox.close();
    drop(outbox);
    let names = std::fs::read_dir(fixture.folder.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    let schema = names.iter().find(|name| name.to_string_lossy().ends_with(".avsc")).unwrap();
    let new = format!("{}.new", schema.to_string_lossy());
    let victim = fixture.folder.path().join("victim");
    for name in ["lock", "delivered", new.as_str()] {
        let copy = fixture.copy();
        std::fs::write(&victim, "victim").unwrap();
        let path = copy.path().join(name);
        std::fs::remove_file(&path).ok();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        // A schema file that is not as it was written is made again.
        std::fs::write(copy.path().join(schema), "changed").unwrap();
        let wakeup = Arc::default();
        let opened = Outbox::open(copy.path(), fixture.settings, SCHEMA, &fixture.metrics, wakeup);
        let error = opened.unwrap_err().to_string();
        assert!(error.contains("is a symbolic link"), "{name}: {error}");
        assert_eq!(std::fs::read(&victim).unwrap(), b"victim", "{name}");
    }
}

#[test]
fn wherever_the_last_file_is_cut_all_clicks_before_the_cut_are_delivered() {
    let fixture = Fixture::new(SyncPolicy::Os);
    let outbox = fixture.open();
    offer(&outbox, 0..100);
    outbox.close();
    let firsts = segment::list(fixture.folder.path()).unwrap();
    let last = *firsts.last().unwrap();
    let length = std::fs::metadata(segment::path(fixture.folder.path(), last)).unwrap().len();
    for cut in (0..=length).step_by(97) {
        let copy = fixture.copy();
        let file = OpenOptions::new().write(true).open(segment::path(copy.path(), last)).unwrap();
        file.set_len(cut).unwrap();
        let reopened = fixture.open_in(copy.path());
        let whole =
            cut.saturating_sub(segment::HEADER) / ((length - segment::HEADER) / (100 - last));
        // New clicks get the numbers after the undamaged ones, and follow them.
        offer(&reopened, last + whole..last + whole + 3);
        reopened.close();
        assert_eq!(read(&reopened), (numbers(0..last + whole + 3), 0), "cut at {cut}");
    }
}

#[test]
fn a_full_outbox_refuses_new_clicks_within_its_bytes_until_a_segment_is_delivered() {
    let fixture = Fixture::new(SyncPolicy::Os);
    let outbox = fixture.open();
    let mut taken = 0;
    while outbox.offer(
        &click(taken),
        TraceHeaders { traceparent: Some(&format!("00-{taken}")), tracestate: None },
    ) == Offered::Queued
    {
        taken += 1;
    }
    assert!(taken > 900, "{taken} clicks are no full outbox");
    let lost = outbox.offer(&click(taken), TraceHeaders::default());
    assert_eq!(lost, Offered::Lost(Loss::OutboxFull));
    assert_eq!(fixture.metrics.undelivered(), 2);
    until("all is written", || fixture.metrics.queue_clicks.get() == 0);
    let used = bytes_on_disk(fixture.folder.path());
    assert!(used <= BYTES_MIN && used > BYTES_MIN - 4096, "{used} of {BYTES_MIN} bytes");
    assert_eq!(fixture.metrics.outbox_bytes.get(), gauge(used));
    // A caller that waits has room when a segment is delivered.
    let second = segment::list(fixture.folder.path()).unwrap()[1];
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| outbox.offer_waiting(&click(taken), || true));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waits.is_finished());
        outbox.delivered(second);
        assert_eq!(waits.join().unwrap(), Offered::Queued);
    });
    outbox.close();
    assert_eq!(outbox.waiting(), taken + 1 - second);
    let refused = outbox.offer_waiting(b"x", || false);
    assert_eq!(refused, Offered::Lost(Loss::Shutdown));
}

#[test]
fn a_full_memory_loses_the_newest_and_counts_each() {
    let mut fixture = Fixture::new(SyncPolicy::Os);
    fixture.settings.queue.clicks = 3;
    let outbox = fixture.open();
    let (mut queued, mut lost) = (0, 0);
    for number in 0..200 {
        match outbox.offer(&click(number), TraceHeaders::default()) {
            Offered::Queued => queued += 1,
            Offered::Lost(loss) => {
                assert_eq!(loss, Loss::QueueFull);
                lost += 1;
            }
        }
    }
    outbox.close();
    assert!(lost > 0 && queued >= 3);
    assert_eq!((outbox.waiting(), fixture.metrics.undelivered()), (queued, lost));
}

#[test]
fn after_a_power_loss_all_clicks_that_were_reported_synced_exist() {
    for sync in [SyncPolicy::Always, SyncPolicy::Group] {
        let mut fixture = Fixture::new(sync);
        fixture.settings.sync_every = Duration::from_millis(5);
        let outbox = fixture.open();
        for start in (0..400).step_by(40) {
            offer(&outbox, start..start + 40);
            std::thread::sleep(Duration::from_millis(3));
            let (copy, synced) = after_power_loss(&fixture, &outbox);
            let reopened = fixture.open_in(copy.path());
            let (read, lost) = read(&reopened);
            assert_eq!((read, lost), (numbers(0..synced), 0), "{sync:?} after {start}");
        }
        until("the last is synced", || outbox.synced() == 400);
    }
}

#[tokio::test]
async fn after_a_power_loss_every_batch_that_was_reported_durable_exists() {
    for sync in [SyncPolicy::Always, SyncPolicy::Group] {
        let mut fixture = Fixture::new(sync);
        fixture.settings.sync_every = Duration::from_millis(5);
        let outbox = fixture.open();
        for start in (0..400).step_by(40) {
            let mut batch = DurableBatch::default();
            for number in start..start + 40 {
                let traceparent = format!("00-{number}");
                let trace = TraceHeaders { traceparent: Some(&traceparent), tracestate: None };
                assert!(batch.push(&click(number), trace));
            }
            outbox.durable(outbox.offer_all(&batch).unwrap()).await.unwrap();
            let (copy, _) = after_power_loss(&fixture, &outbox);
            let reopened = fixture.open_in(copy.path());
            assert_eq!(read(&reopened), (numbers(0..start + 40), 0), "{sync:?} after {start}");
        }
    }
}

#[test]
fn with_the_policy_oldest_a_full_outbox_drops_old_clicks_and_counts_each_once() {
    let mut fixture = Fixture::new(SyncPolicy::Os);
    fixture.settings.drop_policy = DropPolicy::Oldest;
    let outbox = fixture.open();
    // The relay has begun to read: what it may have sent stays.
    offer(&outbox, 0..100);
    until("the first are written", || fixture.metrics.queue_clicks.get() == 0);
    let mut relay = outbox.reader();
    let Found::Click { number: 0, .. } = relay.read().unwrap() else { panic!() };
    for start in (100..3_000).step_by(100) {
        offer(&outbox, start..start + 100);
        until("all is written", || fixture.metrics.queue_clicks.get() == 0);
        let used = bytes_on_disk(fixture.folder.path());
        assert!(used <= BYTES_MIN, "{used} of {BYTES_MIN} bytes");
        assert_eq!(fixture.metrics.outbox_bytes.get(), gauge(used));
    }
    let lost = fixture.metrics.undelivered();
    let waiting = outbox.waiting();
    assert!(lost > 1_500 && waiting + lost == 3_000, "{lost} lost, {waiting} wait");
    assert_eq!(fixture.metrics.outbox_clicks.get(), gauge(waiting));
    // A reader from before the drop skips the gap, like a new reader.
    let (mut after, mut dropped) = (1, 0);
    loop {
        match relay.read().unwrap() {
            Found::Nothing => break,
            Found::Click { .. } => after += 1,
            Found::Dropped { clicks } => dropped += clicks,
            Found::Lost { .. } => panic!("a readable click was reported as lost"),
        }
    }
    assert_eq!((after, dropped), (waiting, lost));
    let (first, nothing) = read(&outbox);
    assert_eq!((first.len() as u64, nothing), (waiting, 0));
    assert!(first.starts_with(&numbers(0..40)) && first.ends_with(&numbers(2_500..3_000)));
    drop(outbox);
    // The next process knows what was dropped and counts nothing twice.
    let next = Metrics::default();
    let settings = fixture.settings;
    let outbox =
        Outbox::open(fixture.folder.path(), settings, SCHEMA, &next, Arc::default()).unwrap();
    assert_eq!(outbox.recovered().clicks, waiting);
    assert_eq!(read(&outbox), (first, 0));
    outbox.delivered(3_000);
    assert_eq!((outbox.waiting(), next.outbox_clicks.get(), next.undelivered()), (0, 0, 0));
    assert_eq!(std::fs::read_to_string(fixture.folder.path().join("dropped")).unwrap(), "");
}

#[test]
fn a_segment_that_an_earlier_process_delivered_in_part_is_not_dropped() {
    let mut fixture = Fixture::new(SyncPolicy::Os);
    fixture.settings.drop_policy = DropPolicy::Oldest;
    let outbox = fixture.open();
    offer(&outbox, 0..100);
    outbox.close();
    outbox.delivered(10);
    drop(outbox);
    let outbox = fixture.open();
    for start in (100..3_000).step_by(100) {
        offer(&outbox, start..start + 100);
        until("all is written", || fixture.metrics.queue_clicks.get() == 0);
    }
    let (read, unreadable) = read(&outbox);
    let lost = fixture.metrics.undelivered();
    assert_eq!((read[0], unreadable, read.len() as u64 + lost), (10, 0, 2_990));
    assert_eq!(outbox.waiting(), read.len() as u64);
}

#[test]
fn numbers_continue_after_the_mark_when_a_power_loss_removed_delivered_clicks() {
    let fixture = Fixture::new(SyncPolicy::Os);
    let outbox = fixture.open();
    offer(&outbox, 0..50);
    outbox.close();
    outbox.delivered(30);
    drop(outbox);
    let file = segment::path(fixture.folder.path(), 0);
    let one = (frame::HEAD + 11 + 4 + click(0).len()) as u64;
    OpenOptions::new().write(true).open(file).unwrap().set_len(segment::HEADER + 10 * one).unwrap();
    let outbox = fixture.open();
    assert_eq!(outbox.recovered().clicks, 0);
    offer(&outbox, 30..40);
    outbox.close();
    assert_eq!(read(&outbox), (numbers(30..40), 0));
}

#[test]
fn m1_the_last_fifth_of_the_outbox_is_kept_for_redirects() {
    for drop_policy in [DropPolicy::Newest, DropPolicy::Oldest] {
        let mut fixture = Fixture::new(SyncPolicy::Os);
        fixture.settings.drop_policy = drop_policy;
        let outbox = fixture.open();
        let (datum, trace) = (vec![7; 1_000], TraceHeaders::default());
        let mut taken = 0;
        while outbox.offer_unreserved(&datum, trace) == Offered::Queued {
            taken += 1_000;
            assert!(taken < BYTES_MIN, "it is never full");
        }
        assert!((BYTES_MIN / 10 * 7..BYTES_MIN / 5 * 4).contains(&taken), "{taken} bytes");
        for _ in 0..100 {
            assert_eq!(outbox.offer(&datum, trace), Offered::Queued);
        }
        let mut batch = DurableBatch::default();
        assert!(batch.push(&datum, trace));
        outbox.offer_all(&batch).unwrap();
        let reserved = Offered::Lost(Loss::OutboxReserved);
        assert_eq!(outbox.offer_unreserved(&datum, trace), reserved);
        assert_eq!(fixture.metrics.undelivered(), 2);
        outbox.close();
    }
}
