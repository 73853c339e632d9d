//! The outbox: clicks on the local disk until the broker has them.
//!
//! An offer puts a click into bounded memory and never waits; one thread writes the clicks of the
//! memory, group by group, and another syncs them. A `Reader` returns the clicks in order, and
//! delivered clicks are removed, a segment at a time. A folder belongs to one process.
//!
//! Of a damaged segment all clicks that are whole are delivered, the others are counted as lost, and
//! its file is kept.
//!
//! A killed process loses what it had not written (the 2 ms of a group and the time of one write;
//! with [`SyncPolicy::Always`] the time of one sync too). A power loss loses what was not synced.

pub mod damaged_segment;
pub mod delivered_mark;
pub mod dropped_segments;
pub mod durable_batch;
pub mod frame;
pub mod frame_scanner;
pub mod offer;
pub mod outbox_settings;
pub mod outbox_state;
pub mod reader;
pub mod recovery;
pub mod salvage;
pub mod schema_file;
pub mod segment;
pub mod segment_file;
pub mod writer;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thiserror::Error;

use crate::clock::now_ms;
use crate::metrics::Metrics;
use crate::outbox::delivered_mark::DeliveredMark;
use crate::outbox::frame::StoredClick;
use crate::outbox::offer::{ClickSink, Loss, Offered, TraceHeaders};
use crate::outbox::outbox_settings::{OutboxSettings, SyncPolicy};
use crate::outbox::outbox_state::{OutboxState, WriteQueue};
use crate::outbox::reader::Reader;
use crate::outbox::recovery::{Recovered, RecoveredFolder};
use crate::outbox::segment::Fingerprint;
use crate::outbox::writer::Writer;
use crate::private_file;
use service::lock::lock;
use service::number::gauge;
use service::wakeup::Wakeup;
use service::worker::Worker;
use tokio_util::sync::CancellationToken;

/// How long a stop waits for the disk to take what is in memory.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two tries of a caller that may wait for room.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

thread_local! {
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why there is no outbox.
#[derive(Debug, Error)]
pub enum OutboxError {
    /// Another process uses it.
    #[error("outbox {0} is in use by another process: set another folder for this one (--outbox)")]
    InUse(PathBuf),
    /// The disk failed.
    #[error("outbox {folder}: {cause}")]
    Disk {
        /// The folder.
        folder: PathBuf,
        /// The error of the system.
        cause: io::Error,
    },
}

/// An open outbox. Dropped, it writes what waits in memory and ends.
#[derive(Debug)]
pub struct Outbox {
    shared: Arc<OutboxState>,
    mark: Mutex<DeliveredMark>,
    recovered: Recovered,
    threads: Mutex<Vec<Worker>>,
    _lock: File,
}

impl Outbox {
    /// Opens a folder, creates it if it does not exist, and continues where delivery stopped. New
    /// clicks are written by `schema`; `wakeup` is notified when there are clicks to read.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn open(
        folder: &Path,
        settings: OutboxSettings,
        schema: &str,
        metrics: &Metrics,
        wakeup: Arc<Wakeup>,
    ) -> Result<Self, OutboxError> {
        let disk_error = |cause| OutboxError::Disk { folder: folder.to_owned(), cause };
        // Every file in it is the outbox's.
        private_file::create_folder(folder, |_| true).map_err(disk_error)?;
        let held = private_file::open_or_create(&folder.join("lock")).map_err(disk_error)?;
        held.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OutboxError::InUse(folder.to_owned()),
            TryLockError::Error(cause) => disk_error(cause),
        })?;
        let fingerprint = schema_file::write(folder, schema).map_err(disk_error)?;
        let known = schema_file::list(folder).map_err(disk_error)?;
        let (mut mark, delivered) = DeliveredMark::open(folder).map_err(disk_error)?;
        let recovered = recovery::recover(folder, &known, delivered, settings.sync);
        let RecoveredFolder { disk, torn_bytes, damaged_segments, damaged_bytes } =
            recovered.map_err(disk_error)?;
        if delivered.is_none() {
            mark.set(disk.delivered).map_err(disk_error)?;
        }
        let recovered = Recovered { clicks: disk.waiting(), torn_bytes, damaged_segments };
        let damaged_bytes = damaged_bytes.min(settings.damaged_bytes_max());
        let used = disk.segments.iter().map(|segment| segment.bytes).sum::<u64>() + damaged_bytes;
        metrics.queue_clicks_bound.set(gauge(settings.queue.clicks));
        metrics.queue_bytes_bound.set(gauge(settings.queue.bytes));
        metrics.outbox_bytes_bound.set(gauge(settings.bytes));
        metrics.outbox_clicks.set(gauge(recovered.clicks));
        metrics.outbox_bytes.set(gauge(used));
        metrics.outbox_torn_bytes.inc_by(torn_bytes);
        metrics.outbox_damaged_segments.set(gauge(damaged_segments));
        let shared = Arc::new(OutboxState {
            folder: folder.to_owned(),
            settings,
            fingerprint,
            known,
            metrics: metrics.clone(),
            queue: Mutex::new(WriteQueue::default()),
            filled: std::sync::Condvar::new(),
            disk: Mutex::new(disk),
            changed: std::sync::Condvar::new(),
            changed_async: tokio::sync::Notify::new(),
            wakeup,
            used: used.into(),
            damaged_bytes: damaged_bytes.into(),
            failing: false.into(),
        });
        let writer = Writer::new(Arc::clone(&shared));
        let mut threads = vec![thread("outbox-write", move || writer.run()).map_err(disk_error)?];
        if settings.sync == SyncPolicy::Group {
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

    /// Offers a click, and waits while there is no room and `go_on` returns true. For callers that
    /// may wait; a redirect may not.
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

    /// Notes that all clicks before `number` are delivered or lost, and removes their segments; where
    /// the note cannot be written, the next call does, unless the outbox is half full. The note survives the process, and a power loss
    /// where a segment or dropped clicks are removed (not with [`SyncPolicy::Os`]); after another
    /// power loss some clicks are sent again.
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
        let mut noted = mark.set(number);
        if (!done.is_empty() || dropped.is_some()) && self.shared.syncs() {
            noted = noted.and_then(|()| mark.sync());
        }
        drop(mark);
        if let Err(error) = noted {
            tracing::warn!(%error, "cannot write the delivered mark; clicks may be sent again");
            // Without the mark, a later process would count their clicks as lost. That is the smaller
            // harm where delivered clicks would leave no room for others.
            if self.has_room() {
                let mut disk = lock(&self.shared.disk);
                done.into_iter().rev().for_each(|segment| disk.segments.push_front(segment));
                return;
            }
        }
        if let Some(Err(error)) = dropped.map(|dropped| dropped.write(&self.shared.folder)) {
            tracing::warn!(%error, "cannot write the list of dropped clicks");
        }
        for segment in done {
            if let Err(error) = self.shared.remove(segment) {
                let segment = segment.first;
                tracing::warn!(%error, segment, "cannot remove a segment of delivered clicks");
            }
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
        // Memory first: what moves to the disk meanwhile is counted twice, not missed.
        let queued = lock(&self.shared.queue).clicks;
        let disk = lock(&self.shared.disk);
        queued + disk.waiting()
    }

    /// The problem of the disk, if it has one.
    pub fn problem(&self) -> Option<String> {
        let failing = self.shared.failing.load(Ordering::Relaxed);
        failing.then(|| format!("outbox {} cannot be written", self.shared.folder.display()))
    }

    /// The schema with this fingerprint, of which the folder holds clicks.
    ///
    /// # Errors
    /// The file that holds it cannot be read.
    pub fn schema(&self, fingerprint: Fingerprint) -> io::Result<String> {
        schema_file::read(&self.shared.folder, fingerprint)
    }

    /// All clicks before this sequence number survive a power loss.
    pub fn synced(&self) -> u64 {
        lock(&self.shared.disk).synced
    }

    /// Takes no more clicks, and returns when those in memory are written, after [`CLOSE_TIMEOUT`] at
    /// most. Clicks that the disk has not taken then are counted as lost, also those of a write that
    /// has not ended: the process ends before it.
    pub fn close(&self) {
        self.close_within(CLOSE_TIMEOUT);
    }

    fn close_within(&self, timeout: Duration) {
        lock(&self.shared.queue).closed = true;
        self.shared.filled.notify_all();
        let threads = std::mem::take(&mut *lock(&self.threads));
        if !Worker::stop_within(threads, timeout) {
            let lost = self.shared.lose_queue();
            let code = Loss::OutboxDisk.code();
            tracing::error!(
                code,
                lost,
                "the disk does not take the clicks in memory: they are lost"
            );
        }
    }

    fn framed(
        &self,
        datum: &[u8],
        trace: TraceHeaders<'_>,
        put: impl FnOnce(&[u8]) -> Result<(), Loss>,
    ) -> Offered {
        let stored = StoredClick { taken_ms: now_ms(), trace, datum };
        let put = FRAME.with_borrow_mut(|frame| {
            frame.clear();
            if frame::write(&stored, frame) { put(frame) } else { Err(Loss::TooLarge) }
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

    fn offer_unreserved(&self, datum: &[u8], trace: TraceHeaders<'_>) -> Offered {
        self.framed(datum, trace, |frame| {
            if self.shared.is_in_reserve(frame.len() as u64) {
                return Err(Loss::OutboxReserved);
            }
            self.shared.put(frame)
        })
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.close();
    }
}

/// A thread that ends once the queue is closed and written.
fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<Worker> {
    Worker::start(name, CancellationToken::new(), None, run)
}
