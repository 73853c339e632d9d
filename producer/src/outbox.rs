//! Clicks on the local disk, from the moment they are made until the broker has them.
//!
//! Offering puts a click into bounded memory and never waits; one thread writes what came
//! there, group by group, and another syncs it. A `Reader` gives the clicks back in order, and
//! what is delivered is removed, a whole segment at a time. A folder belongs to one process.
//!
//! What survives: a killed process loses what it had not yet written (the 2 ms of a group and the
//! time of one write; with [`Sync::Always`] the time of one sync too). A power loss takes what
//! was not yet synced.

pub mod delivered_mark;
pub mod dropped_segments;
pub mod durable_batch;
pub mod frame;
pub mod offer;
pub mod outbox_state;
pub mod reader;
pub mod segment;
pub mod writer;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::outbox::frame::Stored;
use crate::outbox::reader::Reader;
use crate::outbox::segment::Print;

use crate::clock::now_ms;
use crate::metrics::Metrics;
use crate::outbox::delivered_mark::Mark;
use crate::outbox::dropped_segments::Dropped;
use crate::outbox::offer::{ClickSink, Loss, Offered, TraceHeaders};
use crate::outbox::outbox_state::{Disk, Queue, Segment, Shared};
use crate::outbox::writer::Writer;
use service::lock::lock;
use service::number::gauge;
use service::wakeup::Wakeup;

/// Between two tries of whoever may wait for room.
const ROOM_PAUSE: Duration = Duration::from_millis(5);
const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Segments in a full outbox, or more: room comes back a segment at a time.
const SEGMENTS: u64 = 16;
/// Fewest bytes of an outbox.
pub const BYTES_MIN: u64 = SEGMENTS * SEGMENT_BYTES_MIN;

thread_local! {
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// When written clicks are made to survive a power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sync {
    /// Each group, before the next is written.
    Always,
    /// At a steady beat, beside the writing.
    Group,
    /// When the system does.
    Os,
}

/// Which clicks are lost when the disk holds as many bytes as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Full {
    /// Those that come; what is there waits.
    Newest,
    /// Those that wait longest and are not on their way, a segment at a time.
    Oldest,
}

/// How an outbox is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Most bytes on the disk, at least [`BYTES_MIN`].
    pub bytes: u64,
    /// Most clicks in memory.
    pub queue_clicks: u64,
    /// Most bytes in memory.
    pub queue_bytes: u64,
    /// Who gives way when it is full.
    pub full: Full,
    /// When to sync.
    pub sync: Sync,
    /// Between two syncs, for [`Sync::Group`].
    pub sync_every: Duration,
    /// Bytes from which on a segment takes no more.
    pub segment_bytes: u64,
}

impl Settings {
    /// An outbox of at most `bytes` on the disk; `queue_clicks` and `queue_bytes` wait in memory.
    pub fn new(bytes: u64, (queue_clicks, queue_bytes): (u64, u64)) -> Self {
        let segment_bytes = (bytes / SEGMENTS).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let sync_every = Duration::from_millis(100);
        let (full, sync) = (Full::Newest, Sync::Group);
        Self { bytes, queue_clicks, queue_bytes, full, sync, sync_every, segment_bytes }
    }
}

/// Why there is no outbox.
#[derive(Debug, Error)]
pub enum OutboxError {
    /// Another process has it.
    #[error(
        "outbox {0} is in use by another process: give this one a folder of its own (--outbox)"
    )]
    InUse(PathBuf),
    /// The disk refuses.
    #[error("outbox {folder}: {cause}")]
    Disk {
        /// The folder.
        folder: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
}

/// What a folder held when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// Clicks that are still to be delivered.
    pub clicks: u64,
    /// Bytes at the end that a crash left half written; they were never counted as stored.
    pub torn_bytes: u64,
}

/// An open outbox. Dropped, it writes what waits in memory and ends.
#[derive(Debug)]
pub struct Outbox {
    shared: Arc<Shared>,
    mark: Mutex<Mark>,
    recovered: Recovered,
    threads: Mutex<Vec<JoinHandle<()>>>,
    _lock: File,
}

impl Outbox {
    /// Opens a folder, makes it where it is not there, and goes on where it stopped. New clicks are
    /// written by `schema`; `wakeup` is notified when there is something to read.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn open(
        folder: &Path,
        settings: Settings,
        schema: &str,
        metrics: &Metrics,
        wakeup: Arc<Wakeup>,
    ) -> Result<Self, OutboxError> {
        let disk_error = |cause| OutboxError::Disk { folder: folder.to_owned(), cause };
        std::fs::create_dir_all(folder).map_err(disk_error)?;
        let held = File::create(folder.join("lock")).map_err(disk_error)?;
        held.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OutboxError::InUse(folder.to_owned()),
            TryLockError::Error(cause) => disk_error(cause),
        })?;
        let print = keep_schema(folder, schema).map_err(disk_error)?;
        let (mark, delivered) = Mark::open(folder).map_err(disk_error)?;
        let (disk, torn_bytes) = find(folder, delivered, settings.sync).map_err(disk_error)?;
        let recovered = Recovered { clicks: disk.waiting(), torn_bytes };
        let used: u64 = disk.segments.iter().map(|segment| segment.bytes).sum();
        metrics.queue_clicks_bound.set(gauge(settings.queue_clicks));
        metrics.queue_bytes_bound.set(gauge(settings.queue_bytes));
        metrics.outbox_bytes_bound.set(gauge(settings.bytes));
        metrics.outbox_clicks.set(gauge(recovered.clicks));
        metrics.outbox_bytes.set(gauge(used));
        metrics.outbox_torn_bytes.inc_by(torn_bytes);
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            settings,
            print,
            metrics: metrics.clone(),
            queue: Mutex::new(Queue::default()),
            filled: std::sync::Condvar::new(),
            disk: Mutex::new(disk),
            changed: std::sync::Condvar::new(),
            news: tokio::sync::Notify::new(),
            wakeup,
            used: used.into(),
            failing: false.into(),
        });
        let writer = Writer::new(Arc::clone(&shared));
        let mut threads = vec![thread("outbox-write", move || writer.run()).map_err(disk_error)?];
        if settings.sync == Sync::Group {
            let shared = Arc::clone(&shared);
            let syncs = thread("outbox-sync", move || writer::run_syncs(&shared));
            threads.push(syncs.map_err(disk_error)?);
        }
        let (mark, threads) = (Mutex::new(mark), Mutex::new(threads));
        Ok(Self { shared, mark, recovered, threads, _lock: held })
    }

    /// What it held when it was opened.
    pub fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// Offers a click, and waits while there is no room and `go_on` says so. For whoever may
    /// wait; a redirect may not.
    pub fn offer_waiting(&self, datum: &[u8], go_on: impl Fn() -> bool) -> Offered {
        self.framed(datum, TraceHeaders::default(), |frame| {
            loop {
                match self.shared.put(frame) {
                    Err(Loss::QueueFull | Loss::OutboxFull) if go_on() => {
                        std::thread::sleep(ROOM_PAUSE);
                    }
                    other => return other,
                }
            }
        })
    }

    /// Reads from the first click that is not delivered.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Notes that all clicks before `number` need no delivery any more, and gives their room
    /// back. What is noted survives the process, not always a power loss: then some are sent again.
    pub fn delivered(&self, number: u64) {
        let mut disk = lock(&self.shared.disk);
        let passed = disk.delivered..number.max(disk.delivered);
        let clicks = passed.end - passed.start - disk.dropped.count(&passed);
        disk.delivered = passed.end;
        let mut done = Vec::new();
        while disk.segments.get(1).is_some_and(|next| next.first <= number) {
            done.extend(disk.segments.pop_front());
        }
        let dropped = disk.dropped.forget(number).then(|| disk.dropped.clone());
        drop(disk);
        self.shared.metrics.outbox_clicks.dec_by(gauge(clicks));
        let mut mark = lock(&self.mark);
        if let Err(error) = mark.set(number) {
            tracing::warn!(%error, "the mark of delivery stays behind; clicks may be sent again");
        }
        drop(mark);
        if let Some(Err(error)) = dropped.map(|dropped| dropped.write(&self.shared.folder)) {
            tracing::warn!(%error, "the list of clicks that were given up stays behind");
        }
        for segment in done {
            if let Err(error) =
                std::fs::remove_file(segment::path(&self.shared.folder, segment.first))
            {
                tracing::warn!(%error, segment = segment.first, "delivered clicks stay on the disk");
            }
            self.shared.used.fetch_sub(segment.bytes, Ordering::Relaxed);
            self.shared.metrics.outbox_bytes.dec_by(gauge(segment.bytes));
        }
    }

    /// Most bytes on the disk.
    pub fn bytes_max(&self) -> u64 {
        self.shared.settings.bytes
    }

    /// Whether half of it is free.
    pub fn has_room(&self) -> bool {
        self.shared.used.load(Ordering::Relaxed) < self.bytes_max() / 2
    }

    /// Clicks in memory and on the disk that are not delivered.
    pub fn waiting(&self) -> u64 {
        // Memory first: what moves to the disk meanwhile is counted twice, not passed over.
        let queued = lock(&self.shared.queue).clicks;
        let disk = lock(&self.shared.disk);
        queued + disk.waiting()
    }

    /// What is wrong with the disk, if anything.
    pub fn problem(&self) -> Option<String> {
        let failing = self.shared.failing.load(Ordering::Relaxed);
        failing.then(|| format!("outbox {} cannot be written", self.shared.folder.display()))
    }

    /// The schema with this print, of which the folder holds clicks.
    ///
    /// # Errors
    /// The file that holds it cannot be read.
    pub fn schema(&self, print: Print) -> io::Result<String> {
        std::fs::read_to_string(schema_path(&self.shared.folder, print))
    }

    /// All clicks before this number survive a power loss.
    pub fn synced(&self) -> u64 {
        lock(&self.shared.disk).synced
    }

    /// Takes no more clicks, and returns when those in memory are written.
    pub fn close(&self) {
        lock(&self.shared.queue).closed = true;
        self.shared.filled.notify_all();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the outbox panicked");
            }
        }
    }

    fn framed(
        &self,
        datum: &[u8],
        trace: TraceHeaders<'_>,
        put: impl FnOnce(&[u8]) -> Result<(), Loss>,
    ) -> Offered {
        let stored = Stored { taken_ms: now_ms(), trace, datum };
        let put = FRAME.with_borrow_mut(|frame| {
            frame.clear();
            match frame::write(&stored, frame) {
                true => put(frame),
                false => Err(Loss::TooLarge),
            }
        });
        match put {
            Ok(()) => Offered::Queued,
            Err(loss) => {
                self.shared.metrics.lost(loss);
                Offered::Lost(loss)
            }
        }
    }
}

impl ClickSink for Outbox {
    fn offer(&self, datum: &[u8], trace: TraceHeaders<'_>) -> Offered {
        self.framed(datum, trace, |frame| self.shared.put(frame))
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.close();
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Keeps the schema beside the clicks that are written by it: a later program may write by
/// another, and must say to the registry which these are of.
fn keep_schema(folder: &Path, schema: &str) -> io::Result<Print> {
    let mut print = Print::default();
    print.copy_from_slice(&Sha256::digest(schema)[..16]);
    let path = schema_path(folder, print);
    if std::fs::read(&path).is_ok_and(|kept| kept == schema.as_bytes()) {
        return Ok(print);
    }
    let half = path.with_extension("half");
    std::fs::write(&half, schema)?;
    File::open(&half)?.sync_all()?;
    std::fs::rename(&half, &path)?;
    File::open(folder)?.sync_all()?;
    Ok(print)
}

fn schema_path(folder: &Path, print: Print) -> PathBuf {
    let name = print.iter().fold(String::new(), |name, byte| format!("{name}{byte:02x}"));
    folder.join(format!("{name}.avsc"))
}

/// What a folder holds, once what is delivered and what is half written is taken away.
fn find(folder: &Path, delivered: u64, sync: Sync) -> io::Result<(Disk, u64)> {
    let dropped = Dropped::read(folder)?;
    let mut firsts = segment::list(folder)?;
    for given_up in firsts.extract_if(.., |first| dropped.from(*first).is_some()) {
        std::fs::remove_file(segment::path(folder, given_up))?;
    }
    let (mut segments, mut torn_bytes, mut written) = (VecDeque::new(), 0, delivered);
    for (index, first) in firsts.iter().copied().enumerate() {
        let path = segment::path(folder, first);
        let (end, bytes) = match firsts.get(index + 1) {
            Some(next) => (*next, std::fs::metadata(&path)?.len()),
            None => {
                let content = segment::scan(folder, first)?;
                torn_bytes = content.bytes - content.end;
                if torn_bytes > 0 && content.clicks > 0 {
                    File::options().write(true).open(&path)?.set_len(content.end)?;
                }
                (first + content.clicks, content.end)
            }
        };
        written = written.max(end);
        match end <= delivered.max(first) {
            true => std::fs::remove_file(&path)?,
            false => {
                // A process that was killed may not have synced them.
                if sync != Sync::Os {
                    File::open(&path)?.sync_data()?;
                }
                segments.push_back(Segment { first, bytes });
            }
        }
    }
    if sync != Sync::Os {
        File::open(folder)?.sync_all()?;
    }
    // Clicks of files that an operator took away are not waited for.
    let first = segments.front().map_or(written, |segment| segment.first);
    let disk = Disk {
        segments,
        written,
        synced: written,
        delivered: delivered.max(first),
        begun: None,
        dropped,
        settled: 0,
        lost: 0..0,
        lost_before: 0,
        sync_failures: 0,
        #[cfg(test)]
        synced_lengths: Vec::new(),
        dirty: Vec::new(),
        named: false,
        closed: false,
    };
    Ok((disk, torn_bytes))
}
