//! The state that the writer, the reader and the callers that offer clicks share.
//!
//! One lock guards the clicks in memory, another one the state of the disk; no thread holds either
//! while it waits for the disk. A third one is held while the list of dropped clicks is written.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use tokio::sync::Notify;

use crate::metrics::Metrics;
use crate::outbox::damaged_segment::{self, SecondName};
use crate::outbox::dropped_segments::DroppedSegments;
use crate::outbox::offer::Loss;
use crate::outbox::outbox_settings::{DropPolicy, OutboxSettings, SyncPolicy};
use crate::outbox::segment::{self, Fingerprint, HEADER};
use service::lock::lock;
use service::number::gauge;
use service::wakeup::Wakeup;

/// The shared state of one outbox.
#[derive(Debug)]
pub(super) struct OutboxState {
    pub(super) folder: PathBuf,
    pub(super) settings: OutboxSettings,
    pub(super) fingerprint: Fingerprint,
    /// The schemas of the folder, including the one of new clicks.
    pub(super) known: Vec<Fingerprint>,
    pub(super) metrics: Metrics,
    pub(super) queue: Mutex<WriteQueue>,
    /// Notified when clicks wait in memory, or the queue is closed.
    pub(super) filled: Condvar,
    pub(super) disk: Mutex<DiskState>,
    /// Held while the file of dropped clicks is written.
    pub(super) dropped_file: Mutex<()>,
    /// Notified when there are files to sync, and after a sync.
    pub(super) changed: Condvar,
    /// The same as `changed`, for async tasks.
    pub(super) changed_async: Notify,
    /// Notified when as many bytes are unread as [`DiskState::wake_at`] states, and when the writer ends.
    pub(super) wakeup: Arc<Wakeup>,
    /// Bytes of all segments and of damaged files, as far as these count.
    pub(super) used: AtomicU64,
    /// The part of `used` that is of damaged files.
    pub(super) damaged_bytes: AtomicU64,
    /// Whether the last write or sync failed.
    pub(super) failing: AtomicBool,
}

/// Clicks in memory, ready to be written.
#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    /// Frames, one after the other.
    pub(super) frames: Vec<u8>,
    /// The length of each frame.
    pub(super) lengths: Vec<usize>,
    /// Clicks here and in the group that is being written.
    pub(super) clicks: u64,
    /// Bytes of these clicks.
    pub(super) bytes: u64,
    /// Clicks that this process has accepted so far.
    pub(super) taken: u64,
    /// Whether the writer sleeps until a click arrives.
    pub(super) asleep: bool,
    /// Whether no more clicks are accepted.
    pub(super) closed: bool,
}

/// The state of the disk.
#[derive(Debug)]
pub(super) struct DiskState {
    /// In order. The writer appends to the last one, if it has created it.
    pub(super) segments: VecDeque<Segment>,
    /// The sequence number of the next click to write.
    pub(super) written: u64,
    /// All clicks before this number survive a power loss.
    pub(super) synced: u64,
    /// All clicks before this number are delivered, or counted as lost.
    pub(super) delivered: u64,
    /// Bytes written since a reader last found no click.
    pub(super) unread: u64,
    /// The unread bytes at which the wakeup is notified, once; none: the reader does not wait for clicks.
    pub(super) wake_at: Option<u64>,
    /// The first click of the last segment that a reader has begun. Clicks of it and of earlier ones
    /// may be in flight.
    pub(super) begun: Option<u64>,
    /// Clicks that were dropped for newer ones; they are counted as lost.
    pub(super) dropped: DroppedSegments,
    /// The segments that are known to be damaged, by their first click.
    pub(super) damaged: BTreeMap<u64, SecondName>,
    /// Accepted clicks of this process that are now written or lost.
    pub(super) settled: u64,
    /// The clicks among them that were lost last, in the order of acceptance.
    pub(super) lost: Range<u64>,
    /// The end of earlier clicks that were lost, in the same order.
    pub(super) lost_before: u64,
    /// Number of failed syncs.
    pub(super) sync_failures: u64,
    /// The segments that are synced, each with its synced length.
    #[cfg(test)]
    pub(super) synced_lengths: Vec<(u64, u64)>,
    /// Files with bytes that are not synced yet.
    pub(super) dirty: Vec<Arc<File>>,
    /// Whether a new file has a name that is not synced yet.
    pub(super) named: bool,
    /// Whether the writer has ended.
    pub(super) closed: bool,
}

/// One segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// The sequence number of its first click.
    pub(super) first: u64,
    /// Its length; readers ignore bytes of the file after it.
    pub(super) bytes: u64,
}

impl OutboxState {
    /// Whether `bytes` more would use the last fifth of memory or disk.
    pub(super) fn is_in_reserve(&self, bytes: u64) -> bool {
        let OutboxSettings { queue: limits, bytes: bound, .. } = self.settings;
        let unreserved = |bound: u64| bound - bound / 5;
        let queue = lock(&self.queue);
        let (clicks, waiting) = (queue.clicks + 1, queue.bytes + bytes);
        drop(queue);
        let used = self.used.load(Ordering::Relaxed);
        clicks > unreserved(limits.clicks)
            || waiting > unreserved(limits.bytes)
            || used + waiting > unreserved(bound)
    }

    /// Puts a frame into the queue, if memory and disk have room for it.
    pub(super) fn put(&self, frame: &[u8]) -> Result<(), Loss> {
        self.put_all(frame, &[frame.len()]).map(drop)
    }

    /// Puts frames of these lengths into the queue, all of them or none. Returns their places in the order
    /// in which this process accepts clicks.
    pub(super) fn put_all(&self, frames: &[u8], lengths: &[usize]) -> Result<Range<u64>, Loss> {
        let (clicks, bytes) = (lengths.len() as u64, frames.len() as u64);
        let mut queue = lock(&self.queue);
        if queue.closed {
            return Err(Loss::Shutdown);
        }
        let OutboxSettings { queue: limits, bytes: bound, .. } = self.settings;
        let waiting = queue.bytes + bytes;
        if queue.clicks + clicks > limits.clicks || waiting > limits.bytes {
            let never = clicks > limits.clicks || bytes > limits.bytes;
            return Err(if never && clicks > 1 { Loss::TooLarge } else { Loss::QueueFull });
        }
        // Each new file for these bytes has a header.
        let headers = (waiting / self.settings.segment_bytes + 2) * HEADER;
        let used = self.used.load(Ordering::Relaxed);
        if self.settings.drop_policy == DropPolicy::Newest && used + waiting + headers > bound {
            return Err(Loss::OutboxFull);
        }
        queue.frames.extend_from_slice(frames);
        queue.lengths.extend_from_slice(lengths);
        queue.clicks += clicks;
        queue.bytes = waiting;
        let first = queue.taken;
        queue.taken += clicks;
        self.metrics.queue_clicks.inc_by(gauge(clicks));
        self.metrics.queue_bytes.inc_by(gauge(bytes));
        if std::mem::take(&mut queue.asleep) {
            self.filled.notify_one();
        }
        Ok(first..first + clicks)
    }

    /// Keeps a damaged segment for the operator.
    pub(super) fn keep_damaged(&self, first: u64) {
        if lock(&self.disk).damaged.contains_key(&first) {
            return;
        }
        if let Some(name) = damaged_segment::keep(&self.folder, first) {
            lock(&self.disk).damaged.insert(first, name);
            self.metrics.outbox_damaged_segments.inc();
        }
    }

    /// Removes the file of a segment that is no longer needed. A damaged one stays under its second name;
    /// its bytes still count, as far as damaged files count.
    ///
    /// # Errors
    /// An I/O error; the bytes of the segment still count.
    pub(super) fn remove(&self, segment: Segment) -> io::Result<()> {
        let path = segment::path(&self.folder, segment.first);
        let damaged = lock(&self.disk).damaged.remove(&segment.first);
        let removed = match damaged {
            Some(SecondName::Due) => damaged_segment::rename(&self.folder, segment.first),
            Some(SecondName::Given) | None => std::fs::remove_file(path),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let counted = damaged.map_or(0, |_| self.count_damaged(segment.bytes));
        self.used.fetch_sub(segment.bytes - counted, Ordering::Relaxed);
        self.metrics.outbox_bytes.dec_by(gauge(segment.bytes - counted));
        Ok(())
    }

    /// Writes the list of dropped clicks as it is now. Writer and relay both call this; one waits for
    /// the other, since they share a temporary file, and an older list must not replace a newer one.
    ///
    /// # Errors
    /// An I/O error; the file holds an earlier list.
    pub(super) fn write_dropped(&self) -> io::Result<()> {
        let _writing = lock(&self.dropped_file);
        let dropped = lock(&self.disk).dropped.clone();
        dropped.write(&self.folder)
    }

    /// How many bytes of one more damaged file count.
    fn count_damaged(&self, bytes: u64) -> u64 {
        let most = self.settings.damaged_bytes_max();
        let before = self.damaged_bytes.load(Ordering::Relaxed);
        let counted = bytes.min(most - before.min(most));
        self.damaged_bytes.store(before + counted, Ordering::Relaxed);
        counted
    }

    /// Removes the clicks in memory and counts them as lost: the writer cannot write them before the
    /// process ends, or cannot end its current group. Returns how many.
    pub(super) fn lose_queue(&self) -> u64 {
        let mut queue = lock(&self.queue);
        queue.frames.clear();
        queue.lengths.clear();
        let clicks = std::mem::take(&mut queue.clicks);
        let bytes = std::mem::take(&mut queue.bytes);
        drop(queue);
        self.metrics.queue_clicks.dec_by(gauge(clicks));
        self.metrics.queue_bytes.dec_by(gauge(bytes));
        self.metrics.lost_many(Loss::OutboxDisk, clicks);
        clicks
    }

    /// Notifies all threads and tasks that wait for a change of the disk.
    pub(super) fn notify_changed(&self) {
        self.changed.notify_all();
        self.changed_async.notify_waiters();
    }

    /// Whether written clicks are synced.
    pub(super) fn syncs(&self) -> bool {
        match self.settings.sync {
            SyncPolicy::Always | SyncPolicy::Group => true,
            SyncPolicy::Os => false,
        }
    }
}

impl DiskState {
    /// Clicks that are neither delivered nor dropped.
    pub(super) fn waiting(&self) -> u64 {
        let numbers = self.delivered..self.written;
        self.written - self.delivered - self.dropped.count(&numbers)
    }

    /// Counts written bytes. Returns whether the reader that waits for them is to be woken.
    pub(super) fn add_unread(&mut self, bytes: u64) -> bool {
        self.unread += bytes;
        self.wake_at.take_if(|bytes| self.unread >= *bytes).is_some()
    }

    /// Drops the oldest segment that no reader has begun and the writer does not write to. Returns
    /// it, and how many clicks it held.
    pub(super) fn drop_oldest(&mut self) -> Option<(Segment, u64)> {
        // A segment that an earlier process has delivered in part counts as begun.
        let begun = |it: &Segment| self.begun >= Some(it.first) || it.first < self.delivered;
        let at = self.segments.partition_point(begun);
        let next = self.segments.get(at + 1)?.first;
        let segment = self.segments.remove(at)?;
        self.dropped.add(segment.first..next);
        Some((segment, next - segment.first))
    }

    /// Notes lost clicks, by their places in the order of acceptance.
    pub(super) fn lose(&mut self, clicks: Range<u64>) {
        if self.lost.end != clicks.start {
            self.lost_before = self.lost.end;
            self.lost.start = clicks.start;
        }
        self.lost.end = clicks.end;
    }

    /// Whether one of these clicks is lost, or may be.
    pub(super) fn lacks(&self, clicks: &Range<u64>) -> bool {
        let last = clicks.start < self.lost.end && self.lost.start < clicks.end;
        last || clicks.start < self.lost_before
    }

    /// The segment that holds the click `number`, and the first number of the next segment.
    pub(super) fn holding(&self, number: u64) -> Option<(Segment, Option<u64>)> {
        let behind = self.segments.partition_point(|segment| segment.first <= number);
        let segment = self.segments.get(behind.checked_sub(1)?)?;
        Some((*segment, self.segments.get(behind).map(|next| next.first)))
    }
}
