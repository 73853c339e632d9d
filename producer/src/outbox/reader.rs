//! The relay's view: clicks in order, from the first that is not delivered.

use std::io;
use std::sync::Arc;

use super::frame::Stored;
use super::segment::{Frames, Print, Ready};
use super::state::{Segment, Shared, lock};

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
    /// Nothing yet.
    Nothing,
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
            if !self.look()? {
                return Ok(Found::Nothing);
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

    /// Opens what holds the next click, where it is not open. False if it is not written yet;
    /// nothing is open when it is written and cannot be read.
    fn look(&mut self) -> io::Result<bool> {
        if let Some(open) = &self.open
            && open.frames.offset < open.segment.bytes
        {
            return Ok(true);
        }
        let disk = lock(&self.shared.disk);
        let (written, holding) = (disk.written, disk.holding(self.number));
        drop(disk);
        if self.number >= written {
            return Ok(false);
        }
        let Some((segment, next)) = holding else { return Ok(true) };
        match &mut self.open {
            Some(open) if open.segment.first == segment.first => {
                (open.segment, open.next) = (segment, next);
            }
            Some(_) | None => self.open = self.enter(segment, next)?,
        }
        Ok(true)
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
        drop(disk);
        let (number, clicks) = (self.number, next - self.number);
        self.number = next;
        Found::Lost { number, clicks }
    }
}
