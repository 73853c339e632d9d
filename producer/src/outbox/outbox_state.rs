//! What the writer, the relay and those who offer clicks know of one outbox together.
//!
//! Two locks: one for what waits in memory, one for what is known of the disk. Neither is ever
//! held while a disk is waited for.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex};

use tokio::sync::Notify;

use crate::metrics::Metrics;
use crate::outbox::dropped_segments::Dropped;
use crate::outbox::offer::Loss;
use crate::outbox::segment::{HEADER, Print};
use crate::outbox::{Full, Settings, Sync};
use service::lock::lock;
use service::number::gauge;
use service::wakeup::Wakeup;

/// One outbox.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) folder: PathBuf,
    pub(super) settings: Settings,
    pub(super) print: Print,
    pub(super) metrics: Metrics,
    pub(super) queue: Mutex<Queue>,
    /// Something waits in memory, or the end has come.
    pub(super) filled: Condvar,
    pub(super) disk: Mutex<Disk>,
    /// Something is to be synced, or was.
    pub(super) changed: Condvar,
    /// The same for whoever waits without a thread of his own.
    pub(super) news: Notify,
    /// Rung when clicks can be read.
    pub(super) wakeup: Arc<Wakeup>,
    /// Bytes of all segments.
    pub(super) used: AtomicU64,
    /// Whether the last write or sync failed.
    pub(super) failing: AtomicBool,
}

/// Clicks in memory, ready to be written.
#[derive(Debug, Default)]
pub(super) struct Queue {
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
pub(super) struct Disk {
    /// In order; the writer appends to the last, if it is its own.
    pub(super) segments: VecDeque<Segment>,
    /// The number of the click that is written next.
    pub(super) written: u64,
    /// All clicks before this number survive a power loss.
    pub(super) synced: u64,
    /// All clicks before this number are delivered, or lost and counted.
    pub(super) delivered: u64,
    /// The first click of the last segment that anybody began to read. From there backwards clicks
    /// may be on their way.
    pub(super) begun: Option<u64>,
    /// Clicks that were given up for newer ones, counted as lost.
    pub(super) dropped: Dropped,
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

impl Shared {
    /// Puts a frame into the queue, if memory and disk have room for it.
    pub(super) fn put(&self, frame: &[u8]) -> Result<(), Loss> {
        self.put_all(frame, &[frame.len()]).map(drop)
    }

    /// Puts frames of these lengths into the queue, all of them or none. Says as the how manieth
    /// of all clicks they were taken.
    pub(super) fn put_all(&self, frames: &[u8], lengths: &[usize]) -> Result<Range<u64>, Loss> {
        let (clicks, bytes) = (lengths.len() as u64, frames.len() as u64);
        let mut queue = lock(&self.queue);
        if queue.closed {
            return Err(Loss::Shutdown);
        }
        let Settings { queue_clicks, queue_bytes, bytes: bound, .. } = self.settings;
        let waiting = queue.bytes + bytes;
        if queue.clicks + clicks > queue_clicks || waiting > queue_bytes {
            let never = clicks > queue_clicks || bytes > queue_bytes;
            return Err(if never && clicks > 1 { Loss::TooLarge } else { Loss::QueueFull });
        }
        // Each file that these bytes may begin has a header.
        let headers = (waiting / self.settings.segment_bytes + 2) * HEADER;
        let used = self.used.load(std::sync::atomic::Ordering::Relaxed);
        if self.settings.full == Full::Newest && used + waiting + headers > bound {
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

    /// Tells all who wait for the disk that something has changed.
    pub(super) fn tell(&self) {
        self.changed.notify_all();
        self.news.notify_waiters();
    }

    /// Whether the disk is told to keep what it was given.
    pub(super) fn syncs(&self) -> bool {
        match self.settings.sync {
            Sync::Always | Sync::Group => true,
            Sync::Os => false,
        }
    }
}

impl Disk {
    /// Clicks that are not delivered, and not given up either.
    pub(super) fn waiting(&self) -> u64 {
        let numbers = self.delivered..self.written;
        self.written - self.delivered - self.dropped.count(&numbers)
    }

    /// Gives up the oldest segment that nobody has begun to read and nobody writes to. Says which
    /// it is, and how many clicks it held.
    pub(super) fn give_up(&mut self) -> Option<(Segment, u64)> {
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
