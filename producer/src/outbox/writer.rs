#![expect(clippy::disallowed_methods, reason = "how long the disk takes is measured here")]
//! The two threads of an outbox: one writes the clicks in memory, group by group, the other syncs them.
//!
//! A group holds the clicks that arrived during the last write. Each click that cannot be written is
//! counted as lost; complete frames before a failure of the disk are kept.

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

/// How long a click waits for others, so that one write takes several clicks.
const PAUSE: Duration = Duration::from_millis(2);
/// Time between two log lines about a failing disk; the metric counts each lost click.
const WARN_EVERY: Duration = Duration::from_secs(5);
/// Time without a loss after which a failing disk works again: a full one takes some clicks in between.
const RECOVERED_AFTER: Duration = Duration::from_secs(2);

/// The writer thread.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<OutboxState>,
    tail: Option<Tail>,
    outage: Option<Outage>,
}

/// A time in which clicks are lost.
#[derive(Debug)]
struct Outage {
    began: Instant,
    warned: Instant,
    /// When the last click was lost.
    lost: Instant,
}

/// The segment that the writer appends to.
#[derive(Debug)]
struct Tail {
    file: Arc<File>,
    bytes: u64,
    /// The sequence number of its first click.
    first: u64,
    key: FrameKey,
}

/// Frames to write together.
#[derive(Debug, Default)]
struct Group {
    frames: Vec<u8>,
    lengths: Vec<usize>,
}

impl Writer {
    /// A writer that will begin a new segment.
    pub(super) fn new(shared: Arc<OutboxState>) -> Self {
        Self { shared, tail: None, outage: None }
    }

    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let mut group = Group::default();
        while take(&self.shared, &mut group) {
            self.write(&mut group);
            lock(&self.shared.disk).settled += group.lengths.len() as u64;
            self.shared.notify_changed();
            let mut queue = lock(&self.shared.queue);
            // Zero if a stop has counted the group as lost in between.
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
                // The other frames would fail too; the next group tries again.
                self.lose(lengths.len() as u64, group.lengths.len() as u64, &error);
                break;
            }
        }
        self.end_outage();
        if self.shared.settings.sync == SyncPolicy::Always {
            sync(&self.shared);
        }
    }

    /// Appends as many complete frames as fit into the current segment. Returns how many, their bytes, and
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
        // There is no bound if `free` exceeds a `usize`.
        let (count, fitting) = frames_within(lengths, usize::try_from(free).unwrap_or(usize::MAX));
        // At least one frame, of any size.
        let (count, fitting) = (count.max(1), fitting.max(lengths[0]));
        if let Err(error) = make_room(&self.shared, fitting as u64) {
            self.tail = Some(tail);
            return (0, 0, Some(error));
        }
        self.place(&mut bytes[..fitting], &lengths[..count], &tail);
        let (taken, failed) = write_some(&tail.file, &bytes[..fitting]);
        let (clicks, kept) = frames_within(lengths, taken);
        tail.bytes += kept as u64;
        // Removes a partial frame. If that fails too, the segment ends here: its reader knows how many
        // clicks it holds.
        let sound = taken == kept || tail.file.set_len(tail.bytes).is_ok();
        self.publish(clicks as u64, kept as u64, &tail.file);
        if sound {
            self.tail = Some(tail);
        }
        (clicks, kept, failed)
    }

    /// Sets the places of frames of these lengths, on the assumption that all of them are written.
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

    /// Makes written clicks visible to the relay.
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
        let wakes = disk.add_unread(bytes);
        drop(disk);
        let metrics = &self.shared.metrics;
        metrics.outbox_clicks.inc_by(gauge(clicks));
        metrics.outbox_bytes.inc_by(gauge(bytes));
        self.shared.changed.notify_all();
        if wakes {
            self.shared.wakeup.notify();
        }
    }

    /// Counts the last `clicks` of a group of `group` as lost.
    fn lose(&mut self, clicks: u64, group: u64, error: &io::Error) {
        self.shared.metrics.lost_many(Loss::OutboxDisk, clicks);
        let mut disk = lock(&self.shared.disk);
        debug_assert!(clicks <= group, "the lost clicks are of the group");
        let end = disk.settled + group;
        disk.lose(end - clicks..end);
        drop(disk);
        let now = Instant::now();
        let outage = self.outage.get_or_insert(Outage { began: now, warned: now, lost: now });
        outage.lost = now;
        if outage.began == now || now - outage.warned > WARN_EVERY {
            outage.warned = now;
            let undelivered = self.shared.metrics.undelivered();
            let code = Loss::OutboxDisk.code();
            tracing::error!(code, undelivered, %error, "the outbox cannot write clicks: they are lost");
        }
    }

    /// Logs the end of an outage once no click has been lost for some time.
    fn end_outage(&mut self) {
        let ended = self.outage.take_if(|outage| outage.lost.elapsed() > RECOVERED_AFTER);
        if let Some(Outage { began, lost, .. }) = ended {
            let (code, seconds) = (Loss::OutboxDisk.code(), (lost - began).as_secs());
            let undelivered = self.shared.metrics.undelivered();
            tracing::info!(code, undelivered, seconds, "the outbox writes clicks again");
        }
    }
}

/// Waits for clicks, and takes all of them. False when no more will arrive.
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

/// Creates the segment for the next click.
fn roll(shared: &OutboxState) -> io::Result<Tail> {
    let first = lock(&shared.disk).written;
    let NewSegment { file, key } = segment::create(&shared.folder, first, shared.fingerprint)?;
    shared.used.fetch_add(HEADER, Ordering::Relaxed);
    shared.metrics.outbox_bytes.inc_by(gauge(HEADER));
    let mut disk = lock(&shared.disk);
    // It replaces one without a click, if the disk failed after that was created.
    if let Some(empty) = disk.segments.pop_back_if(|last| last.first == first) {
        shared.used.fetch_sub(empty.bytes, Ordering::Relaxed);
        shared.metrics.outbox_bytes.dec_by(gauge(empty.bytes));
    }
    disk.segments.push_back(Segment { first, bytes: HEADER });
    disk.named = true;
    Ok(Tail { file: Arc::new(file), bytes: HEADER, first, key })
}

/// Drops the oldest clicks until there is room for `bytes`, if that is the policy. A file that cannot be
/// removed no longer counts, so that it does not cost further clicks.
///
/// # Errors
/// No segment may be dropped.
pub(super) fn make_room(shared: &OutboxState, bytes: u64) -> io::Result<()> {
    let bound = shared.settings.bytes;
    // The next file has a header.
    while shared.settings.drop_policy == DropPolicy::Oldest
        && shared.used.load(Ordering::Relaxed) + bytes + HEADER > bound
    {
        let dropped_segment = lock(&shared.disk).drop_oldest();
        // None may be dropped if all clicks may be in flight.
        let (segment, clicks) = dropped_segment.ok_or(io::ErrorKind::StorageFull)?;
        let code = Loss::OutboxFull.code();
        tracing::error!(
            code,
            clicks,
            "the outbox is full: the oldest clicks were dropped and are lost"
        );
        shared.metrics.lost_many(Loss::OutboxFull, clicks);
        shared.metrics.outbox_clicks.dec_by(gauge(clicks));
        let listed = shared.write_dropped();
        if let Err(error) = shared.remove(segment) {
            let segment_number = segment.first;
            tracing::error!(code, segment = segment_number, %error, "cannot remove a dropped segment");
            shared.used.fetch_sub(segment.bytes, Ordering::Relaxed);
            shared.metrics.outbox_bytes.dec_by(gauge(segment.bytes));
        }
        // A full disk may have room for the list now.
        if let Err(error) = listed.or_else(|_| shared.write_dropped()) {
            tracing::error!(code, %error, "cannot write the list of dropped clicks");
        }
    }
    Ok(())
}

/// How many frames end within `bytes`, and where they end.
fn frames_within(lengths: &[usize], bytes: usize) -> (usize, usize) {
    let (mut frames, mut end) = (0, 0);
    while let Some(length) = lengths.get(frames).filter(|length| end + **length <= bytes) {
        end += length;
        frames += 1;
    }
    (frames, end)
}

/// Writes bytes. Returns how many were written, and the error that stopped it.
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

/// Syncs written clicks periodically, until the writer has ended.
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

/// Syncs the clicks that are written now.
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
        // A power loss removes a file whose name is not synced, with all of its clicks.
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
            // The next group tries again. The system may have discarded the bytes.
            disk.dirty.extend(files);
            disk.named |= named;
            disk.sync_failures += 1;
            drop(disk);
            shared.metrics.outbox_sync_failures.inc();
            shared.failing.store(true, Ordering::Relaxed);
            tracing::error!(code = "outbox_sync", %error, "the outbox cannot sync its files: clicks may not survive a power loss");
        }
    }
    shared.notify_changed();
}
