//! The search for undamaged clicks in a damaged range of a segment.
//!
//! A frame may begin at any position, since a damaged length does not show where the next one is. The
//! cost is linear: the search compares the salt and the checksum of a head first, and bounds the bytes
//! for which it computes a wrong checksum. A sender does not know the salt, so no click can hold bytes
//! that look like a head.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use crate::outbox::frame::{self, FRAME_BYTES_MAX, HEAD, Head, Layout};
use crate::outbox::segment::{self, CLICKS_MAX, Fingerprint, HEADER, Header};
use crate::outbox::segment_file::SegmentFile;

/// Positions that are examined before more bytes are read. Memory holds these bytes and one frame.
const PIECE: usize = 4 << 20;
/// Most bytes whose checksum is computed and wrong; this takes a core some tenths of a second.
const WRONG_BYTES_MAX: u64 = 256 << 20;

/// An undamaged click.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedFrame {
    /// Its index in the segment.
    pub index: u64,
    /// Offset of its frame in the file.
    pub offset: u64,
    /// Bytes of its frame.
    pub bytes: usize,
}

/// The result of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvage {
    /// The undamaged clicks, in the order of their indexes, each once. They take at most 24 bytes per click
    /// of the segment.
    pub frames: VecDeque<SavedFrame>,
    /// The index after the last click of which a head, or a part of a head, was found.
    pub end: u64,
    /// Bytes of a partial write at the end, or of zeros that the system left there.
    pub torn_bytes: u64,
    /// Whether the range holds anything else than undamaged clicks in order and a partial write.
    pub is_damaged: bool,
}

/// Searches `range` of a segment for clicks from the index `from` on.
///
/// # Errors
/// An I/O error.
pub fn salvage(
    file: &SegmentFile,
    layout: Layout,
    range: Range<u64>,
    from: u64,
) -> io::Result<Salvage> {
    let mut search = Search::new(layout, &range, from);
    let mut skip_to = range.start;
    each_piece(file, range, |at, bytes, starts| {
        skip_to = search.examine(at, skip_to, bytes, starts);
        true
    })?;
    Ok(search.finish())
}

/// The header of the segment `first`, if its own header is damaged: the one with which an undamaged click
/// is found. `known` are the schemas of the folder.
///
/// # Errors
/// An I/O error.
pub fn lost_header(
    file: &SegmentFile,
    first: u64,
    written: Fingerprint,
    known: &[Fingerprint],
) -> io::Result<Option<Header>> {
    let mut by_distance = known.to_vec();
    by_distance.sort_by_key(|fingerprint| distance(*fingerprint, written));
    let (mut found, mut wrong) = (None, 0);
    let range = 0..file.bytes()?;
    // Each frame holds the salt of its key.
    each_piece(file, range.clone(), |_, bytes, starts| {
        found = (0..starts).find_map(|at| {
            let bytes = &bytes[at..];
            // Most positions fail here, before a key is computed.
            if !matches!(frame::head(bytes, Layout::First), Head::Frame(_)) {
                return None;
            }
            let salt = frame::salt(bytes)?;
            by_distance.iter().copied().find_map(|fingerprint| {
                let layout = Layout::Keyed(segment::key(fingerprint, first, salt));
                is_whole(bytes, layout, &mut wrong).then_some(Header { fingerprint, layout })
            })
        });
        found.is_none()
    })?;
    // In the first layout only the header names the schema.
    if let (None, Some(fingerprint)) = (found, by_distance.first().copied()) {
        let header = Header { fingerprint, layout: Layout::First };
        each_piece(file, HEADER..range.end, |_, bytes, starts| {
            let whole = |at: usize| is_whole(&bytes[at..], header.layout, &mut wrong);
            found = (0..starts).any(whole).then_some(header);
            found.is_none()
        })?;
    }
    Ok(found)
}

/// Whether a file has only zeros from this offset on.
///
/// # Errors
/// An I/O error.
pub fn is_blank(file: &SegmentFile, from: u64) -> io::Result<bool> {
    let mut blank = true;
    each_piece(file, from..file.bytes()?, |_, bytes, _| {
        blank = bytes.iter().all(|byte| *byte == 0);
        blank
    })?;
    Ok(blank && !file.is_damaged())
}

fn is_whole(bytes: &[u8], layout: Layout, wrong: &mut u64) -> bool {
    let Head::Frame(head) = frame::head(bytes, layout) else { return false };
    let Some(frame) = bytes.get(..head.bytes) else { return false };
    if *wrong > WRONG_BYTES_MAX {
        return false;
    }
    let whole = frame::is_whole(frame, layout);
    *wrong += if whole { 0 } else { head.bytes as u64 };
    whole
}

fn distance(one: Fingerprint, other: Fingerprint) -> u32 {
    one.iter().zip(other).map(|(one, other)| (one ^ other).count_ones()).sum()
}

/// Passes a range of a file to `take`, piece by piece: the offset, the bytes, and how many of them are
/// positions of this piece. The other bytes belong to a frame that begins in the piece. `take` returns
/// false to end the loop.
fn each_piece(
    file: &SegmentFile,
    range: Range<u64>,
    mut take: impl FnMut(u64, &[u8], usize) -> bool,
) -> io::Result<()> {
    let (mut at, mut buffer) = (range.start, Vec::new());
    while at < range.end {
        let wanted = (range.end - at).min((PIECE + FRAME_BYTES_MAX) as u64);
        #[expect(clippy::expect_used, reason = "an internal invariant")]
        let wanted = usize::try_from(wanted).expect("a piece fits memory");
        buffer.resize(wanted, 0);
        let read = file.read_at(&mut buffer, at)?;
        let starts = read.min(PIECE);
        if starts == 0 || !take(at, &buffer[..read], starts) {
            break;
        }
        at += starts as u64;
    }
    Ok(())
}

/// The state of a search.
struct Search {
    layout: Layout,
    from: u64,
    end: u64,
    frames: Vec<SavedFrame>,
    /// The index after the last known click.
    known: u64,
    /// The index of the frame that should begin at `expected_at`.
    expected: u64,
    expected_at: u64,
    /// Where the last undamaged frame ends, and the index after it.
    whole_to: u64,
    whole_index: u64,
    /// Whether an undamaged frame did not follow the one before it directly.
    is_moved: bool,
    /// Whether other bytes than zeros follow the last undamaged frame.
    is_written: bool,
    /// Whether a frame begins there and ends after the end of the range.
    is_partial: bool,
    wrong: u64,
}

impl Search {
    fn new(layout: Layout, range: &Range<u64>, from: u64) -> Self {
        Self {
            layout,
            from,
            end: range.end,
            frames: Vec::new(),
            known: from,
            expected: from,
            expected_at: range.start,
            whole_to: range.start,
            whole_index: from,
            is_moved: false,
            is_written: false,
            is_partial: false,
            wrong: 0,
        }
    }

    /// Examines the positions of a piece, from the offset `from` on. Returns the offset to continue at.
    fn examine(&mut self, at: u64, from: u64, bytes: &[u8], starts: usize) -> u64 {
        #[expect(clippy::expect_used, reason = "an internal invariant")]
        let mut next = usize::try_from(from.saturating_sub(at)).expect("a frame fits memory");
        while next < starts {
            next += self.step(at + next as u64, &bytes[next..]);
        }
        at + next as u64
    }

    /// Examines one position. Returns how many bytes it has finished.
    fn step(&mut self, offset: u64, bytes: &[u8]) -> usize {
        let is_expected = offset == self.expected_at;
        let head = match frame::head(bytes, self.layout) {
            Head::Frame(head) => head,
            Head::Bad if is_expected && frame::was_head(bytes, self.layout) => {
                self.known = self.known.max(self.expected + 1);
                return self.skip(bytes);
            }
            Head::Bad | Head::Unknown => return self.skip(bytes),
        };
        // The first layout has no index: a frame that is not in its place means that a click is missing.
        let guess = if is_expected { self.expected } else { self.whole_index + 1 };
        let index = head.index.map_or(guess, u64::from);
        if index < self.from || index >= CLICKS_MAX {
            return self.skip(bytes);
        }
        // In the first layout any bytes may look like a head.
        let is_head = is_expected || head.index.is_some();
        let end = offset + head.bytes as u64;
        if end > self.end {
            if is_head {
                self.is_partial |= offset == self.whole_to;
                self.known = self.known.max(index);
            }
            return self.skip(bytes);
        }
        if is_whole(bytes, self.layout, &mut self.wrong) {
            self.is_moved |= offset != self.whole_to;
            self.frames.push(SavedFrame { index, offset, bytes: head.bytes });
            // Without indexes, the number of the clicks before it was a guess.
            let known = head.index.map_or(0, |_| self.known);
            self.known = known.max(index + 1);
            (self.expected, self.expected_at) = (index + 1, end);
            (self.whole_index, self.whole_to) = (index + 1, end);
            (self.is_written, self.is_partial) = (false, false);
            return head.bytes;
        }
        if is_head {
            self.known = self.known.max(index + 1);
            (self.expected, self.expected_at) = (index + 1, end);
        }
        self.skip(bytes)
    }

    fn skip(&mut self, bytes: &[u8]) -> usize {
        self.is_written |= bytes[0] != 0;
        1
    }

    fn finish(mut self) -> Salvage {
        let tail = self.end - self.whole_to;
        let is_torn = !self.is_written || self.is_partial || tail < HEAD as u64;
        let in_place = self.frames.iter().map(|frame| frame.index).eq(self.from..self.known);
        self.frames.sort_unstable_by_key(|frame| (frame.index, frame.offset));
        self.frames.dedup_by_key(|frame| frame.index);
        Salvage {
            frames: self.frames.into(),
            end: self.known,
            torn_bytes: if is_torn { tail } else { 0 },
            is_damaged: self.is_moved || !(in_place && is_torn),
        }
    }
}
