//! The relay's view: clicks in order, from the first that is not delivered.

use std::io;
use std::sync::Arc;

use crate::outbox::frame::Stored;
use crate::outbox::outbox_state::{Segment, Shared};
use crate::outbox::segment::{Frames, Print, Ready};
use service::lock::lock;

/// Most given-up clicks that are told at once: whoever hears of them counts them one by one.
const DROPPED_MAX: u64 = 10_000;

/// Reads the outbox once, in order, up to what is written.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    number: u64,
    open: Option<Open>,
}

/// The segment that is read.
#[derive(Debug)]
struct Open {
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
        print: Print,
        /// The click.
        stored: Stored<'a>,
    },
    /// Clicks that were written and cannot be read any more, from this number on.
    Lost {
        /// The first of them.
        number: u64,
        /// How many.
        clicks: u64,
    },
    /// Clicks that were given up for newer ones, and are counted already, from this number on.
    Dropped {
        /// How many.
        clicks: u64,
    },
    /// Nothing yet.
    Nothing,
}

/// What a look at the disk says of the next click.
enum Look {
    /// It is not written yet.
    Nothing,
    /// It was given up, and so many in all.
    Dropped(u64),
    /// It is written; what holds it is open, if it can be read.
    There,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
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
    /// The disk's; asked again, it tries again.
    pub fn read(&mut self) -> io::Result<Found<'_>> {
        let bytes = loop {
            match self.look()? {
                Look::There => {}
                Look::Nothing => return Ok(Found::Nothing),
                Look::Dropped(clicks) => {
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
                Ready::End | Ready::Torn => return Ok(self.lose()),
            }
        };
        let number = self.number;
        let Some(open) = &mut self.open else { return Ok(Found::Nothing) };
        let print = open.frames.print;
        let Some(stored) = open.frames.take(bytes) else { return Ok(Found::Nothing) };
        self.number += 1;
        Ok(Found::Click { number, print, stored })
    }

    /// Opens what holds the next click, where it is not open.
    fn look(&mut self) -> io::Result<Look> {
        if let Some(open) = &self.open
            && open.frames.offset < open.segment.bytes
        {
            return Ok(Look::There);
        }
        let mut disk = lock(&self.shared.disk);
        if let Some(clicks) = disk.dropped.from(self.number) {
            self.open = None;
            return Ok(Look::Dropped(clicks));
        }
        let (written, holding) = (disk.written, disk.holding(self.number));
        if let Some((segment, _)) = holding {
            disk.begun = disk.begun.max(Some(segment.first));
        }
        drop(disk);
        if self.number >= written {
            return Ok(Look::Nothing);
        }
        let Some((segment, next)) = holding else { return Ok(Look::There) };
        match &mut self.open {
            Some(open) if open.segment.first == segment.first => {
                (open.segment, open.next) = (segment, next);
            }
            Some(_) | None => self.open = self.enter(segment, next)?,
        }
        Ok(Look::There)
    }

    /// Opens a segment at the next click; none if it cannot be found there.
    fn enter(&self, segment: Segment, next: Option<u64>) -> io::Result<Option<Open>> {
        let frames = match Frames::open(&self.shared.folder, segment.first) {
            Ok(Some(frames)) => frames,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut open = Open { frames, segment, next };
        for _ in segment.first..self.number {
            let Ready::Click(bytes) = open.frames.ready(segment.bytes)? else { return Ok(None) };
            open.frames.take(bytes);
        }
        Ok(Some(open))
    }

    /// Passes over what is left of a segment that cannot be read.
    fn lose(&mut self) -> Found<'static> {
        self.open = None;
        let disk = lock(&self.shared.disk);
        let behind = disk.segments.iter().find(|segment| segment.first > self.number);
        let next = behind.map_or(disk.written, |segment| segment.first);
        // What was given up is counted already.
        let next = disk.dropped.behind(self.number).map_or(next, |dropped| dropped.min(next));
        drop(disk);
        let (number, clicks) = (self.number, next - self.number);
        self.number = next;
        Found::Lost { number, clicks }
    }
}
