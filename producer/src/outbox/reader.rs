//! The reader of the relay: clicks in order, from the first that is not delivered.

use std::io;
use std::sync::Arc;

use crate::outbox::frame::StoredClick;
use crate::outbox::outbox_state::{OutboxState, Segment};
use crate::outbox::segment::{Fingerprint, Frames, Ready};
use service::lock::lock;

/// Most dropped clicks of one result: the relay counts them one by one.
const DROPPED_MAX: u64 = 10_000;

/// Reads the outbox once, in order, up to what is written.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<OutboxState>,
    number: u64,
    open: Option<OpenSegment>,
}

/// The segment that is read.
#[derive(Debug)]
struct OpenSegment {
    frames: Frames,
    segment: Segment,
    /// The first click of the segment behind it, once there is one.
    next: Option<u64>,
}

/// What was found.
#[derive(Debug)]
pub enum Found<'a> {
    /// A click.
    Click {
        /// Its number.
        number: u64,
        /// The schema of its datum.
        fingerprint: Fingerprint,
        /// The click.
        stored: StoredClick<'a>,
    },
    /// Clicks that were written and cannot be read any more, from this number on.
    Lost {
        /// The first of them.
        number: u64,
        /// How many.
        clicks: u64,
    },
    /// Clicks that were dropped for newer ones, and are counted already, from this number on.
    Dropped {
        /// How many.
        clicks: u64,
    },
    /// Nothing yet.
    Nothing,
}

/// The state of the next click.
enum NextClick {
    /// It is not written yet.
    Nothing,
    /// It was dropped, with the clicks behind it: so many in all.
    Dropped(u64),
    /// It is written; its segment is open, if it can be read.
    Written,
}

impl Reader {
    pub(super) fn new(shared: Arc<OutboxState>) -> Self {
        let number = lock(&shared.disk).delivered;
        Self { shared, number, open: None }
    }

    /// The number of the next click.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The next click, if it is written.
    ///
    /// # Errors
    /// The disk's; another call tries again.
    pub fn read(&mut self) -> io::Result<Found<'_>> {
        let bytes = loop {
            match self.open_next()? {
                NextClick::Written => {}
                NextClick::Nothing => return Ok(Found::Nothing),
                NextClick::Dropped(clicks) => {
                    let clicks = clicks.min(DROPPED_MAX);
                    self.number += clicks;
                    return Ok(Found::Dropped { clicks });
                }
            }
            let Some(open) = &mut self.open else { return Ok(self.lose()) };
            match open.frames.ready(open.segment.bytes)? {
                Ready::Click(bytes) => break bytes,
                // All of it was read.
                Ready::End if open.next == Some(self.number) => self.open = None,
                Ready::End | Ready::Partial => return Ok(self.lose()),
            }
        };
        let number = self.number;
        let Some(open) = &mut self.open else { return Ok(Found::Nothing) };
        let fingerprint = open.frames.fingerprint;
        let Some(stored) = open.frames.take(bytes) else { return Ok(Found::Nothing) };
        self.number += 1;
        Ok(Found::Click { number, fingerprint, stored })
    }

    /// Opens what holds the next click, where it is not open.
    fn open_next(&mut self) -> io::Result<NextClick> {
        if let Some(open) = &self.open
            && open.frames.offset < open.segment.bytes
        {
            return Ok(NextClick::Written);
        }
        let mut disk = lock(&self.shared.disk);
        if let Some(clicks) = disk.dropped.from(self.number) {
            self.open = None;
            return Ok(NextClick::Dropped(clicks));
        }
        let (written, holding) = (disk.written, disk.holding(self.number));
        if let Some((segment, _)) = holding {
            disk.begun = disk.begun.max(Some(segment.first));
        }
        drop(disk);
        if self.number >= written {
            return Ok(NextClick::Nothing);
        }
        let Some((segment, next)) = holding else { return Ok(NextClick::Written) };
        match &mut self.open {
            Some(open) if open.segment.first == segment.first => {
                (open.segment, open.next) = (segment, next);
            }
            Some(_) | None => self.open = self.open_at(segment, next)?,
        }
        Ok(NextClick::Written)
    }

    /// Opens a segment at the next click; none if it cannot be found there.
    fn open_at(&self, segment: Segment, next: Option<u64>) -> io::Result<Option<OpenSegment>> {
        let frames = match Frames::open(&self.shared.folder, segment.first) {
            Ok(Some(frames)) => frames,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut open = OpenSegment { frames, segment, next };
        for _ in segment.first..self.number {
            let Ready::Click(bytes) = open.frames.ready(segment.bytes)? else { return Ok(None) };
            open.frames.take(bytes);
        }
        Ok(Some(open))
    }

    /// Skips the rest of a segment that cannot be read.
    fn lose(&mut self) -> Found<'static> {
        self.open = None;
        let disk = lock(&self.shared.disk);
        let behind = disk.segments.iter().find(|segment| segment.first > self.number);
        let next = behind.map_or(disk.written, |segment| segment.first);
        // Dropped clicks are counted already.
        let next = disk.dropped.behind(self.number).map_or(next, |dropped| dropped.min(next));
        drop(disk);
        let (number, clicks) = (self.number, next - self.number);
        self.number = next;
        Found::Lost { number, clicks }
    }
}
