//! The reader of the relay: returns clicks in order, from the first one that is not delivered.

use std::io;
use std::sync::Arc;

use crate::outbox::frame::StoredClick;
use crate::outbox::frame_scanner::FrameScanner;
use crate::outbox::outbox_state::{OutboxState, Segment};
use crate::outbox::segment::Fingerprint;
use service::lock::lock;

/// Most dropped or lost clicks in one result, since the relay counts them one by one.
const SKIPPED_MAX: u64 = 10_000;

/// Reads the outbox once, in order, up to the last written click.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<OutboxState>,
    number: u64,
    /// The clicks from the next one to this number are lost.
    lost_to: u64,
    open: Option<OpenSegment>,
}

/// The segment that the reader has open.
#[derive(Debug)]
struct OpenSegment {
    scanner: FrameScanner,
    segment: Segment,
    /// The first click of the next segment, once there is one.
    next: Option<u64>,
    /// Whether `segment` and `next` were updated in this call.
    is_current: bool,
    /// The number of a click that was found and is not returned yet.
    pending: Option<u64>,
    /// Whether its damage, if any, is noted.
    is_kept: bool,
}

impl OpenSegment {
    /// An error, with the place of its cause.
    fn named(&self, error: &io::Error) -> io::Error {
        let (first, offset) = (self.segment.first, self.scanner.offset());
        io::Error::new(error.kind(), format!("segment {first}, byte {offset}: {error}"))
    }
}

/// The result of a read.
#[derive(Debug)]
pub enum Found<'a> {
    /// A click.
    Click {
        /// Its sequence number.
        number: u64,
        /// The schema of its datum.
        fingerprint: Fingerprint,
        /// The click.
        stored: StoredClick<'a>,
    },
    /// Clicks that were written and can no longer be read, from this number on.
    Lost {
        /// The first of them.
        number: u64,
        /// How many.
        clicks: u64,
    },
    /// Clicks that were dropped for newer ones; they are counted as lost already.
    Dropped {
        /// How many.
        clicks: u64,
    },
    /// No click is written yet.
    Nothing,
}

/// The state of the next click.
enum NextClick {
    /// It is not written yet.
    Nothing,
    /// It was dropped, with the clicks after it: this many in all.
    Dropped(u64),
    /// It is written; its segment is open if it can be read.
    Written,
}

impl Reader {
    pub(super) fn new(shared: Arc<OutboxState>) -> Self {
        let number = lock(&shared.disk).delivered;
        Self { shared, number, lost_to: number, open: None }
    }

    /// The number of the next click.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The next click, if it is written.
    ///
    /// # Errors
    /// An I/O error; another call tries again.
    pub fn read(&mut self) -> io::Result<Found<'_>> {
        if self.number < self.lost_to {
            return Ok(self.lost());
        }
        let number = loop {
            match self.open_next()? {
                NextClick::Written => {}
                NextClick::Nothing => return Ok(Found::Nothing),
                NextClick::Dropped(clicks) => {
                    let clicks = clicks.min(SKIPPED_MAX);
                    self.number += clicks;
                    return Ok(Found::Dropped { clicks });
                }
            }
            let Some(open) = &mut self.open else { return Ok(self.lose()) };
            let found = match open.pending {
                Some(number) => Some(number),
                None => {
                    let index = open.scanner.next(open.segment.bytes);
                    let index = index.map_err(|error| open.named(&error))?;
                    index.map(|index| open.segment.first + index)
                }
            };
            open.pending = found;
            if open.scanner.is_damaged() && !open.is_kept {
                self.shared.keep_damaged(open.segment.first);
                open.is_kept = true;
            }
            match found {
                // A click that is delivered, or whose number belongs to the next segment.
                Some(number)
                    if number < self.number || open.next.is_some_and(|next| number >= next) =>
                {
                    open.pending = None;
                }
                Some(number) if number > self.number => {
                    self.lost_to = number;
                    return Ok(self.lost());
                }
                Some(number) => {
                    open.pending = None;
                    break number;
                }
                // The whole segment was read.
                None if open.next == Some(self.number) => self.open = None,
                None if open.is_current => return Ok(self.lose()),
                // The writer may have written more of it.
                None => {}
            }
        };
        self.number += 1;
        let click = self.open.as_ref().and_then(|open| {
            Some(Found::Click {
                number,
                fingerprint: open.scanner.fingerprint(),
                stored: open.scanner.click()?,
            })
        });
        // An undamaged frame without a click.
        Ok(click.unwrap_or(Found::Lost { number, clicks: 1 }))
    }

    /// Opens the segment that holds the next click, unless it is open.
    fn open_next(&mut self) -> io::Result<NextClick> {
        if let Some(open) = &mut self.open
            && !open.scanner.is_at(open.segment.bytes)
        {
            open.is_current = false;
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
        if self.number >= written {
            disk.unread = 0;
            return Ok(NextClick::Nothing);
        }
        drop(disk);
        let Some((segment, next)) = holding else {
            self.open = None;
            return Ok(NextClick::Written);
        };
        match &mut self.open {
            Some(open) if open.segment.first == segment.first => {
                (open.segment, open.next, open.is_current) = (segment, next, true);
            }
            Some(_) | None => {
                let OutboxState { folder, known, .. } = &*self.shared;
                let scanner = match FrameScanner::open(folder, segment.first, known) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    scanner => scanner?,
                };
                self.open = scanner.map(|scanner| OpenSegment {
                    scanner,
                    segment,
                    next,
                    is_current: true,
                    pending: None,
                    is_kept: false,
                });
            }
        }
        Ok(NextClick::Written)
    }

    /// Skips the rest of a segment that cannot be read.
    fn lose(&mut self) -> Found<'static> {
        self.open = None;
        let disk = lock(&self.shared.disk);
        let behind = disk.segments.iter().find(|segment| segment.first > self.number);
        let next = behind.map_or(disk.written, |segment| segment.first);
        // Dropped clicks are counted as lost already.
        let next = disk.dropped.behind(self.number).map_or(next, |dropped| dropped.min(next));
        let holding = disk.holding(self.number);
        drop(disk);
        if let Some((segment, _)) = holding {
            self.shared.keep_damaged(segment.first);
        }
        self.lost_to = next;
        self.lost()
    }

    /// The next lost clicks.
    fn lost(&mut self) -> Found<'static> {
        let (number, clicks) = (self.number, (self.lost_to - self.number).min(SKIPPED_MAX));
        self.number += clicks;
        Found::Lost { number, clicks }
    }
}
