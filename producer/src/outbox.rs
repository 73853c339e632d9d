//! The outbox: clicks on the local disk until the broker acknowledges them.
//!
//! An offer puts a click into bounded memory and never waits. One thread writes the clicks in memory to
//! the disk, group by group, and another thread syncs them. A `Reader` returns the clicks in order, and
//! delivered clicks are removed, a segment at a time. A folder belongs to one process.
//!
//! The undamaged clicks of a damaged segment are delivered, the others are counted as lost, and its file
//! is kept.
//!
//! A killed process loses the clicks that it had not written: those of the 2 ms of a group and of one
//! write, and with [`SyncPolicy::Always`] of one sync too. A power loss loses the clicks that were not
//! synced.

pub mod damaged_segment;
pub mod delivered_mark;
mod disk_watch;
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

/// Longest time that a stop waits for the disk to store the clicks in memory.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two attempts of a caller that waits for room.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

thread_local! {
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why an outbox cannot be opened.
#[derive(Debug, Error)]
pub enum OutboxError {
    /// Another process uses the folder.
    #[error("another process uses the outbox {0}: give this process another folder (--outbox)")]
    InUse(PathBuf),
    /// A file or folder of it cannot be used.
    #[error("outbox {folder}: {cause}")]
    Disk {
        /// The folder.
        folder: PathBuf,
        /// The I/O error.
        cause: io::Error,
    },
}

/// An open outbox. When it is dropped, it writes the clicks in memory and ends.
#[derive(Debug)]
pub struct Outbox {
    shared: Arc<OutboxState>,
    mark: Mutex<DeliveredMark>,
    recovered: Recovered,
    threads: Mutex<Vec<Worker>>,
    _lock: File,
}

impl Outbox {
    /// Opens a folder, creates it if it does not exist, and continues where delivery stopped. New clicks
    /// have the schema `schema`; the outbox notifies `wakeup` as [`Outbox::has_unread`] states.
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
        // All files in the folder belong to the outbox.
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
            dropped_file: Mutex::default(),
            changed: std::sync::Condvar::new(),
            changed_async: tokio::sync::Notify::new(),
            wakeup,
            used: used.into(),
            damaged_bytes: damaged_bytes.into(),
            failing: false.into(),
        });
        disk_watch::start(&shared).map_err(disk_error)?;
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

    /// What the folder held when it was opened.
    pub fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// Offers a click, and waits while there is no room and `go_on` returns true. Only for callers that may
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

    /// Whether `bytes` or more were written since a reader last found no click, or fewer and no more will
    /// be. If not, the outbox notifies the wakeup once when it is so.
    pub fn has_unread(&self, bytes: u64) -> bool {
        let mut disk = lock(&self.shared.disk);
        let bytes = if disk.closed { 1 } else { bytes };
        let has = disk.unread >= bytes;
        disk.wake_at = (!has).then_some(bytes);
        has
    }

    /// A reader that starts at the first click that is not delivered.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Moves the delivered mark to `number`: all clicks before it are delivered or lost. Removes their
    /// segments. If the mark cannot be written, they stay until the next call, unless the outbox is half
    /// full.
    ///
    /// The mark survives the process. If this call removes a segment or passes dropped clicks, the mark
    /// also survives a power loss (not with [`SyncPolicy::Os`]); otherwise the relay may send some clicks
    /// again after a power loss.
    pub fn delivered(&self, number: u64) {
        let mut disk = lock(&self.shared.disk);
        let passed = disk.delivered..number.max(disk.delivered);
        let clicks = passed.end - passed.start - disk.dropped.count(&passed);
        disk.delivered = passed.end;
        let mut done = Vec::new();
        while disk.segments.get(1).is_some_and(|next| next.first <= number) {
            done.extend(disk.segments.pop_front());
        }
        let forgot = disk.dropped.forget(number);
        drop(disk);
        self.shared.metrics.outbox_clicks.dec_by(gauge(clicks));
        let mut mark = lock(&self.mark);
        let mut noted = mark.set(number);
        if (!done.is_empty() || forgot) && self.shared.syncs() {
            noted = noted.and_then(|()| mark.sync());
        }
        drop(mark);
        if let Err(error) = noted {
            tracing::warn!(%error, "cannot write the delivered mark: clicks may be sent again");
            // A later process that does not find the mark counts the clicks of removed segments as lost.
            // That is the smaller fault once delivered clicks take the room of others.
            if self.has_room() {
                let mut disk = lock(&self.shared.disk);
                done.into_iter().rev().for_each(|segment| disk.segments.push_front(segment));
                return;
            }
        }
        if forgot && let Err(error) = self.shared.write_dropped() {
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

    /// Whether half of the outbox is free.
    pub fn has_room(&self) -> bool {
        self.shared.used.load(Ordering::Relaxed) < self.bytes_max() / 2
    }

    /// Clicks in memory and on the disk that are not delivered.
    pub fn waiting(&self) -> u64 {
        // Memory first: a click that moves to the disk in between is counted twice, and never missed.
        let queued = lock(&self.shared.queue).clicks;
        let disk = lock(&self.shared.disk);
        queued + disk.waiting()
    }

    /// The problem of the disk, if there is one.
    pub fn problem(&self) -> Option<String> {
        let failing = self.shared.failing.load(Ordering::Relaxed);
        failing.then(|| {
            format!("outbox {} cannot be written: outbox_disk", self.shared.folder.display())
        })
    }

    /// The schema with this fingerprint.
    ///
    /// # Errors
    /// The file of the schema cannot be read.
    pub fn schema(&self, fingerprint: Fingerprint) -> io::Result<String> {
        schema_file::read(&self.shared.folder, fingerprint)
    }

    /// All clicks before this sequence number survive a power loss.
    pub fn synced(&self) -> u64 {
        lock(&self.shared.disk).synced
    }

    /// Refuses further clicks, and returns when those in memory are written, or after [`CLOSE_TIMEOUT`].
    /// Clicks that the disk has not stored by then are counted as lost, also those of a write in progress,
    /// since the process ends before it.
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
                "the disk did not store the clicks in memory before the timeout: they are lost"
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
