#![expect(clippy::disallowed_methods, reason = "how long the disk takes is measured here")]
//! Two threads: one writes what waits in memory, group by group, the other syncs what was written.
//!
//! A group holds the clicks that came while the last one was written. Each click that cannot be
//! written is counted as lost; complete frames before a failure of the disk are kept.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::outbox::frame::{self, FrameKey};
use crate::outbox::offer::Loss;
use crate::outbox::outbox_settings::{DropPolicy, SyncPolicy};
use crate::outbox::outbox_state::{OutboxState, Segment};
use crate::outbox::segment::{self, HEADER, NewSegment};
use service::lock::lock;
use service::number::gauge;

/// How long a click waits for others, so that not each is a write of its own.
const PAUSE: Duration = Duration::from_millis(2);
/// Between two log lines about a disk that fails; the metric counts each click.
const WARN_EVERY: Duration = Duration::from_secs(5);

/// The thread that writes.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<OutboxState>,
    tail: Option<Tail>,
    warned: Option<Instant>,
}

/// The file that is appended to.
#[derive(Debug)]
struct Tail {
    file: Arc<File>,
    bytes: u64,
    /// The number of its first click.
    first: u64,
    key: FrameKey,
}

/// Frames that are written together.
#[derive(Debug, Default)]
struct Group {
    frames: Vec<u8>,
    lengths: Vec<usize>,
}

impl Writer {
    /// Begins with a file of its own.
    pub(super) fn new(shared: Arc<OutboxState>) -> Self {
        Self { shared, tail: None, warned: None }
    }

    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let mut group = Group::default();
        while take(&self.shared, &mut group) {
            self.write(&mut group);
            lock(&self.shared.disk).settled += group.lengths.len() as u64;
            self.shared.notify_changed();
            let mut queue = lock(&self.shared.queue);
            // Zero where a stop has counted the group as lost meanwhile.
            let clicks = queue.clicks.min(group.lengths.len() as u64);
            let bytes = queue.bytes.min(group.frames.len() as u64);
            queue.clicks -= clicks;
            queue.bytes -= bytes;
            drop(queue);
            self.shared.metrics.queue_clicks.dec_by(gauge(clicks));
            self.shared.metrics.queue_bytes.dec_by(gauge(bytes));
            group.frames.clear();
            group.lengths.clear();
        }
        lock(&self.shared.disk).closed = true;
        self.shared.notify_changed();
        self.shared.wakeup.notify();
    }

    fn write(&mut self, group: &mut Group) {
        let (mut bytes, mut lengths) = (&mut group.frames[..], &group.lengths[..]);
        while !lengths.is_empty() {
            let began = Instant::now();
            let (clicks, written, failed) = self.append(bytes, lengths);
            self.shared.metrics.outbox_write_seconds.observe(began.elapsed().as_secs_f64());
            (bytes, lengths) = (&mut std::mem::take(&mut bytes)[written..], &lengths[clicks..]);
            self.shared.failing.store(failed.is_some(), Ordering::Relaxed);
            if let Some(error) = failed {
                // The rest would fail too; the next group tries again.
                self.lose(lengths.len() as u64, group.lengths.len() as u64, &error);
                break;
            }
        }
        if self.shared.settings.sync == SyncPolicy::Always {
            sync(&self.shared);
        }
    }

    /// Appends as many complete frames as the current file takes. Returns how many, their bytes, and
    /// the error that stopped it.
    fn append(&mut self, bytes: &mut [u8], lengths: &[usize]) -> (usize, usize, Option<io::Error>) {
        let mut tail = match self.tail.take() {
            Some(tail) if tail.bytes < self.shared.settings.segment_bytes => tail,
            Some(_) | None => match roll(&self.shared) {
                Ok(tail) => tail,
                Err(error) => return (0, 0, Some(error)),
            },
        };
        let free = self.shared.settings.segment_bytes.saturating_sub(tail.bytes);
        // Without a bound where memory cannot hold as many bytes.
        let (count, fitting) = frames_within(lengths, usize::try_from(free).unwrap_or(usize::MAX));
        // At least one, however large.
        let (count, fitting) = (count.max(1), fitting.max(lengths[0]));
        if let Err(error) = make_room(&self.shared, fitting as u64) {
            self.tail = Some(tail);
            return (0, 0, Some(error));
        }
        self.place(&mut bytes[..fitting], &lengths[..count], &tail);
        let (taken, failed) = write_some(&tail.file, &bytes[..fitting]);
        let (clicks, kept) = frames_within(lengths, taken);
        tail.bytes += kept as u64;
        // A partial frame is cut off. Where even that fails the segment ends here: its reader
        // knows how many clicks it holds.
        let sound = taken == kept || tail.file.set_len(tail.bytes).is_ok();
        self.publish(clicks as u64, kept as u64, &tail.file);
        if sound {
            self.tail = Some(tail);
        }
        (clicks, kept, failed)
    }

    /// Gives frames of these lengths the places that they have when all of them are written.
    fn place(&self, mut frames: &mut [u8], lengths: &[usize], tail: &Tail) {
        let first = lock(&self.shared.disk).written - tail.first;
        for (number, length) in (first..).zip(lengths) {
            let (frame, rest) = std::mem::take(&mut frames).split_at_mut(*length);
            #[expect(clippy::expect_used, reason = "an internal invariant")]
            let index = u32::try_from(number).expect("a segment has fewer clicks than 2^32");
            frame::place(frame, tail.key, index);
            frames = rest;
        }
        assert!(frames.is_empty(), "only complete frames are written");
    }

    /// Lets the relay read what was written.
    fn publish(&self, clicks: u64, bytes: u64, file: &Arc<File>) {
        if clicks == 0 {
            return;
        }
        self.shared.used.fetch_add(bytes, Ordering::Relaxed);
        let mut disk = lock(&self.shared.disk);
        disk.written += clicks;
        if let Some(segment) = disk.segments.back_mut() {
            segment.bytes += bytes;
        }
        if self.shared.syncs() && !disk.dirty.iter().any(|dirty| Arc::ptr_eq(dirty, file)) {
            disk.dirty.push(Arc::clone(file));
        }
        drop(disk);
        let metrics = &self.shared.metrics;
        metrics.outbox_clicks.inc_by(gauge(clicks));
        metrics.outbox_bytes.inc_by(gauge(bytes));
        self.shared.changed.notify_all();
        self.shared.wakeup.notify();
    }

    /// Counts the last `clicks` of a group of `group` as lost.
    fn lose(&mut self, clicks: u64, group: u64, error: &io::Error) {
        self.shared.metrics.lost_many(Loss::OutboxDisk, clicks);
        let mut disk = lock(&self.shared.disk);
        debug_assert!(clicks <= group, "the lost clicks are of the group");
        let end = disk.settled + group;
        disk.lose(end - clicks..end);
        drop(disk);
        if self.warned.is_none_or(|warned| warned.elapsed() > WARN_EVERY) {
            self.warned = Some(Instant::now());
            let undelivered = self.shared.metrics.undelivered();
            let code = Loss::OutboxDisk.code();
            tracing::error!(code, undelivered, %error, "the outbox cannot write clicks, which are lost");
        }
    }
}

/// Waits for clicks and takes all that came. False when none will come.
fn take(shared: &OutboxState, group: &mut Group) -> bool {
    let mut queue = lock(&shared.queue);
    while queue.lengths.is_empty() {
        if queue.closed {
            return false;
        }
        queue.asleep = true;
        queue = shared.filled.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
    }
    if !queue.closed {
        drop(queue);
        std::thread::sleep(PAUSE);
        queue = lock(&shared.queue);
    }
    std::mem::swap(&mut queue.frames, &mut group.frames);
    std::mem::swap(&mut queue.lengths, &mut group.lengths);
    true
}

/// The file for the click that is written next.
fn roll(shared: &OutboxState) -> io::Result<Tail> {
    let first = lock(&shared.disk).written;
    let NewSegment { file, key } = segment::create(&shared.folder, first, shared.fingerprint)?;
    shared.used.fetch_add(HEADER, Ordering::Relaxed);
    shared.metrics.outbox_bytes.inc_by(gauge(HEADER));
    let mut disk = lock(&shared.disk);
    // It replaces one without a click: the disk failed after that was made.
    if let Some(empty) = disk.segments.pop_back_if(|last| last.first == first) {
        shared.used.fetch_sub(empty.bytes, Ordering::Relaxed);
        shared.metrics.outbox_bytes.dec_by(gauge(empty.bytes));
    }
    disk.segments.push_back(Segment { first, bytes: HEADER });
    disk.named = true;
    Ok(Tail { file: Arc::new(file), bytes: HEADER, first, key })
}

/// Drops the oldest clicks until so many bytes have room, where that is the policy. A file that cannot
/// be removed counts no longer: no more clicks are dropped in place of its bytes.
///
/// # Errors
/// There is no segment that may be dropped.
pub(super) fn make_room(shared: &OutboxState, bytes: u64) -> io::Result<()> {
    let bound = shared.settings.bytes;
    // The next file has a header.
    while shared.settings.drop_policy == DropPolicy::Oldest
        && shared.used.load(Ordering::Relaxed) + bytes + HEADER > bound
    {
        let mut disk = lock(&shared.disk);
        let dropped_segment = disk.drop_oldest();
        let dropped = disk.dropped.clone();
        drop(disk);
        // All clicks may be in flight.
        let (segment, clicks) = dropped_segment.ok_or(io::ErrorKind::StorageFull)?;
        let code = Loss::OutboxFull.code();
        tracing::error!(code, clicks, "the outbox is full: the oldest clicks are dropped and lost");
        shared.metrics.lost_many(Loss::OutboxFull, clicks);
        shared.metrics.outbox_clicks.dec_by(gauge(clicks));
        let listed = dropped.write(&shared.folder);
        if let Err(error) = shared.remove(segment) {
            let segment_number = segment.first;
            tracing::error!(code, segment = segment_number, %error, "cannot remove a dropped segment");
            shared.used.fetch_sub(segment.bytes, Ordering::Relaxed);
            shared.metrics.outbox_bytes.dec_by(gauge(segment.bytes));
        }
        // A full disk has room for the list now.
        if let Err(error) = listed.or_else(|_| dropped.write(&shared.folder)) {
            tracing::error!(code, %error, "cannot write the list of dropped clicks");
        }
    }
    Ok(())
}

/// As many frames as end within `bytes`, and where they end.
fn frames_within(lengths: &[usize], bytes: usize) -> (usize, usize) {
    let (mut frames, mut end) = (0, 0);
    while let Some(length) = lengths.get(frames).filter(|length| end + **length <= bytes) {
        end += length;
        frames += 1;
    }
    (frames, end)
}

/// How many bytes were written, and what stopped it before the last.
fn write_some(mut file: &File, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

/// Syncs periodically what was written, until the writer has ended.
pub(super) fn run_syncs(shared: &OutboxState) {
    loop {
        let mut disk = lock(&shared.disk);
        while disk.dirty.is_empty() && !disk.closed {
            let waited = shared.changed.wait(disk);
            disk = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        let closed = disk.closed;
        drop(disk);
        let began = Instant::now();
        sync(shared);
        if closed {
            return;
        }
        std::thread::sleep(shared.settings.sync_every.saturating_sub(began.elapsed()));
    }
}

/// Syncs what is written now.
fn sync(shared: &OutboxState) {
    let mut disk = lock(&shared.disk);
    if disk.dirty.is_empty() {
        return;
    }
    let files = std::mem::take(&mut disk.dirty);
    let (named, written) = (std::mem::take(&mut disk.named), disk.written);
    #[cfg(test)]
    let lengths = disk.segments.iter().map(|segment| (segment.first, segment.bytes)).collect();
    drop(disk);
    let began = Instant::now();
    let synced = files.iter().try_for_each(|file| file.sync_data()).and_then(|()| {
        // A file whose name is not on the disk is lost with all that it holds.
        if named { File::open(&shared.folder)?.sync_all() } else { Ok(()) }
    });
    shared.metrics.outbox_sync_seconds.observe(began.elapsed().as_secs_f64());
    let mut disk = lock(&shared.disk);
    match synced {
        Ok(()) => {
            disk.synced = disk.synced.max(written);
            #[cfg(test)]
            {
                disk.synced_lengths = lengths;
            }
        }
        Err(error) => {
            // Tried again with the next group. Whether the system still has the bytes is not known.
            disk.dirty.extend(files);
            disk.named |= named;
            disk.sync_failures += 1;
            drop(disk);
            shared.metrics.outbox_sync_failures.inc();
            shared.failing.store(true, Ordering::Relaxed);
            tracing::error!(code = "outbox_sync", %error, "the outbox cannot sync: clicks may not survive a power loss");
        }
    }
    shared.notify_changed();
}
