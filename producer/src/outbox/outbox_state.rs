//! The state that the writer, the reader and the callers that offer clicks share.
//!
//! Two locks: one for the clicks in memory, one for the state of the disk. No thread holds one while
//! it waits for the disk.

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
    /// The schemas of the folder, this one among them.
    pub(super) known: Vec<Fingerprint>,
    pub(super) metrics: Metrics,
    pub(super) queue: Mutex<WriteQueue>,
    /// Something waits in memory, or the end has come.
    pub(super) filled: Condvar,
    pub(super) disk: Mutex<DiskState>,
    /// Something is to be synced, or was.
    pub(super) changed: Condvar,
    /// The same for tasks.
    pub(super) changed_async: Notify,
    /// Notified when clicks can be read.
    pub(super) wakeup: Arc<Wakeup>,
    /// Bytes of all segments, and those of damaged files that count.
    pub(super) used: AtomicU64,
    /// Those of damaged files alone.
    pub(super) damaged_bytes: AtomicU64,
    /// Whether the last write or sync failed.
    pub(super) failing: AtomicBool,
}

/// Clicks in memory, ready to be written.
#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    /// Frames, one behind the other.
    pub(super) frames: Vec<u8>,
    /// The length of each.
    pub(super) lengths: Vec<usize>,
    /// Clicks here and in the group that is being written.
    pub(super) clicks: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Clicks that were ever taken.
    pub(super) taken: u64,
    /// Whether the writer sleeps until something comes.
    pub(super) asleep: bool,
    /// Whether nothing more comes.
    pub(super) closed: bool,
}

/// What stands on the disk.
#[derive(Debug)]
pub(super) struct DiskState {
    /// In order; the writer appends to the last, if it is its own.
    pub(super) segments: VecDeque<Segment>,
    /// The number of the click that is written next.
    pub(super) written: u64,
    /// All clicks before this number survive a power loss.
    pub(super) synced: u64,
    /// All clicks before this number are delivered, or lost and counted.
    pub(super) delivered: u64,
    /// The first click of the last segment that a reader has begun. Clicks of it and of earlier ones
    /// may be in flight.
    pub(super) begun: Option<u64>,
    /// Clicks that were dropped for newer ones, counted as lost.
    pub(super) dropped: DroppedSegments,
    /// The segments of which damage is known, by their first click.
    pub(super) damaged: BTreeMap<u64, SecondName>,
    /// Clicks that were ever taken and are written now, or lost.
    pub(super) settled: u64,
    /// Those of them that were lost last, counted as they were taken.
    pub(super) lost: Range<u64>,
    /// Before this one others were lost, too.
    pub(super) lost_before: u64,
    /// Syncs that failed.
    pub(super) sync_failures: u64,
    /// Each segment that is synced, and up to which length.
    #[cfg(test)]
    pub(super) synced_lengths: Vec<(u64, u64)>,
    /// Files with bytes that are not synced.
    pub(super) dirty: Vec<Arc<File>>,
    /// Whether a file was made and its name is not synced.
    pub(super) named: bool,
    /// Whether the writer has ended.
    pub(super) closed: bool,
}

/// One file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// The number of its first click.
    pub(super) first: u64,
    /// Its length; what is behind it is not there.
    pub(super) bytes: u64,
}

impl OutboxState {
    /// Whether so many more bytes would use the last fifth of memory or disk.
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

    /// Puts frames of these lengths into the queue, all of them or none. Returns their positions in
    /// the order in which this process took clicks.
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
        // Each file that these bytes may begin has a header.
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

    /// Removes the file of a segment that is needed no more. A damaged one stays under its second
    /// name, and its bytes count on, as far as damaged files count.
    ///
    /// # Errors
    /// The disk's; its bytes count on.
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

    /// How many of the bytes of one more damaged file count.
    fn count_damaged(&self, bytes: u64) -> u64 {
        let most = self.settings.damaged_bytes_max();
        let before = self.damaged_bytes.load(Ordering::Relaxed);
        let counted = bytes.min(most - before.min(most));
        self.damaged_bytes.store(before + counted, Ordering::Relaxed);
        counted
    }

    /// Takes the clicks that are in memory, which are lost: the writer does not come to them, or does
    /// not end the group that it writes. Returns how many.
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

    /// Notifies all that wait for a change of the disk.
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

    /// Drops the oldest segment that no reader has begun and the writer does not write to. Returns
    /// it, and how many clicks it held.
    pub(super) fn drop_oldest(&mut self) -> Option<(Segment, u64)> {
        // One that an earlier process delivered in part is begun, too.
        let begun = |it: &Segment| self.begun >= Some(it.first) || it.first < self.delivered;
        let at = self.segments.partition_point(begun);
        let next = self.segments.get(at + 1)?.first;
        let segment = self.segments.remove(at)?;
        self.dropped.add(segment.first..next);
        Some((segment, next - segment.first))
    }

    /// Notes that clicks were lost, counted as they were taken.
    pub(super) fn lose(&mut self, clicks: Range<u64>) {
        if self.lost.end != clicks.start {
            self.lost_before = self.lost.end;
            self.lost.start = clicks.start;
        }
        self.lost.end = clicks.end;
    }

    /// Whether one of these was lost, or may have been.
    pub(super) fn lacks(&self, clicks: &Range<u64>) -> bool {
        let last = clicks.start < self.lost.end && self.lost.start < clicks.end;
        last || clicks.start < self.lost_before
    }

    /// The segment that holds the click `number`, and the first of the one behind it.
    pub(super) fn holding(&self, number: u64) -> Option<(Segment, Option<u64>)> {
        let behind = self.segments.partition_point(|segment| segment.first <= number);
        let segment = self.segments.get(behind.checked_sub(1)?)?;
        Some((*segment, self.segments.get(behind).map(|next| next.first)))
    }
}
