//! Reads the clicks of one segment in order, including the undamaged clicks after a damaged range.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::Path;

use crate::outbox::frame::{self, Head, Layout, StoredClick};
use crate::outbox::salvage::{self, Salvage, SavedFrame};
use crate::outbox::segment::{self, Fingerprint, HEADER, HEADER_BYTES, Header};
use crate::outbox::segment_file::SegmentFile;

/// Bytes that are read at once.
const CHUNK: u64 = 256 * 1024;

/// Reads a segment up to a length that the caller knows.
#[derive(Debug)]
pub struct FrameScanner {
    file: SegmentFile,
    header: Header,
    /// Offset of the next frame in the file.
    offset: u64,
    /// The index of the next click, if none is missing.
    index: u64,
    buffer: Vec<u8>,
    /// Bytes of the buffer that have been read.
    start: usize,
    /// The frame that was found last, in the buffer.
    found: Range<usize>,
    /// Undamaged clicks after a damaged range, which are read next.
    saved: VecDeque<SavedFrame>,
    /// What the scanner has found so far.
    content: Content,
}

/// The content of a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Content {
    /// Undamaged and lost clicks, as far as known.
    pub clicks: u64,
    /// Length of the file.
    pub bytes: u64,
    /// Bytes of a partial write at its end.
    pub torn_bytes: u64,
    /// Whether some of its bytes are not as they were written.
    pub is_damaged: bool,
}

impl FrameScanner {
    /// Opens a segment; `None` if neither its header nor an undamaged click shows that it is the segment
    /// `first`. `known` are the schemas of the folder.
    ///
    /// # Errors
    /// An I/O error.
    pub fn open(folder: &Path, first: u64, known: &[Fingerprint]) -> io::Result<Option<Self>> {
        let file = SegmentFile::open(&segment::path(folder, first))?;
        let mut bytes = [0; HEADER_BYTES];
        if file.read_at(&mut bytes, 0)? < HEADER_BYTES {
            return Ok(None);
        }
        // The first layout has no checksum that would show a damaged fingerprint.
        let own = segment::header(&bytes, first)
            .filter(|header| header.layout != Layout::First || known.contains(&header.fingerprint));
        let header = match own {
            Some(header) => header,
            None => {
                let written = segment::damaged_fingerprint(&bytes);
                match salvage::lost_header(&file, first, written, known)? {
                    Some(header) => header,
                    None => return Ok(None),
                }
            }
        };
        let content = Content { is_damaged: own.is_none(), ..Content::default() };
        // If the header is missing, a frame may begin in its place.
        let offset = match header.layout {
            Layout::Keyed(_) if own.is_none() => 0,
            Layout::Keyed(_) | Layout::First => HEADER,
        };
        Ok(Some(Self {
            file,
            header,
            offset,
            index: 0,
            buffer: Vec::new(),
            start: 0,
            found: 0..0,
            saved: VecDeque::new(),
            content,
        }))
    }

    /// The offset at which it continues, for error messages.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The schema of its clicks.
    pub fn fingerprint(&self) -> Fingerprint {
        self.header.fingerprint
    }

    /// Whether the header or a click that was read so far is damaged.
    pub fn is_damaged(&self) -> bool {
        self.content.is_damaged || self.file.is_damaged()
    }

    /// Whether all bytes before `end` have been read.
    pub fn is_at(&self, end: u64) -> bool {
        self.saved.is_empty() && self.offset >= end
    }

    /// Moves to the next undamaged click that ends at `end` or before, and returns its index; indexes only
    /// grow. `None` if there is no other click before `end`.
    ///
    /// # Errors
    /// An I/O error; another call reads again.
    pub fn next(&mut self, end: u64) -> io::Result<Option<u64>> {
        loop {
            while let Some(saved) = self.saved.front().copied() {
                self.buffer.resize(saved.bytes, 0);
                (self.start, self.found) = (saved.bytes, 0..saved.bytes);
                // If the file was cut in between, there are fewer bytes and the checksum is wrong.
                self.file.read_at(&mut self.buffer, saved.offset)?;
                self.saved.pop_front();
                if frame::is_whole(&self.buffer, self.header.layout) {
                    self.index = saved.index + 1;
                    return Ok(Some(saved.index));
                }
            }
            if self.offset >= end {
                return Ok(None);
            }
            if let Some(bytes) = self.in_place(end)? {
                self.found = self.start..self.start + bytes;
                self.start += bytes;
                self.offset += bytes as u64;
                self.index += 1;
                self.content.clicks = self.content.clicks.max(self.index);
                return Ok(Some(self.index - 1));
            }
            self.salvage(end)?;
        }
    }

    /// The click that was found last.
    pub fn click(&self) -> Option<StoredClick<'_>> {
        frame::read(self.buffer.get(self.found.clone())?, self.header.layout)
    }

    /// The length of the frame at the offset, if that frame is the expected one and undamaged.
    fn in_place(&mut self, end: u64) -> io::Result<Option<usize>> {
        loop {
            let have = &self.buffer[self.start..];
            match frame::head(have, self.header.layout) {
                Head::Bad => return Ok(None),
                Head::Frame(head) if head.index.is_some_and(|it| u64::from(it) != self.index) => {
                    return Ok(None);
                }
                Head::Frame(head) if head.bytes <= have.len() => {
                    let whole = frame::is_whole(&have[..head.bytes], self.header.layout);
                    let bytes = head.bytes as u64;
                    return Ok((whole && self.offset + bytes <= end).then_some(head.bytes));
                }
                Head::Frame(_) | Head::Unknown => {}
            }
            if !self.fill(end)? {
                return Ok(None);
            }
        }
    }

    /// Searches the remaining range up to `end` for undamaged clicks.
    fn salvage(&mut self, end: u64) -> io::Result<()> {
        let range = self.offset..end;
        let Salvage { frames, end: clicks, torn_bytes, is_damaged } =
            salvage::salvage(&self.file, self.header.layout, range, self.index)?;
        self.saved = frames;
        self.offset = end;
        self.buffer.clear();
        (self.start, self.found) = (0, 0..0);
        self.content.clicks = self.content.clicks.max(clicks);
        self.content.torn_bytes = torn_bytes;
        self.content.is_damaged |= is_damaged;
        Ok(())
    }

    /// Reads more of the file, up to `end`; false if no bytes are left.
    fn fill(&mut self, end: u64) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        (self.start, self.found) = (0, 0..0);
        let have = self.buffer.len();
        let from = self.offset + have as u64;
        #[expect(clippy::expect_used, reason = "an internal invariant")]
        let more =
            usize::try_from(end.saturating_sub(from).min(CHUNK)).expect("a chunk fits memory");
        self.buffer.resize(have + more, 0);
        let read = self.file.read_at(&mut self.buffer[have..], from);
        self.buffer.truncate(have + read.as_ref().map_or(0, |count| *count));
        Ok(read? > 0)
    }
}

/// Reads a segment to its end; `None` if it is not the segment `first`. `known` are the schemas of the
/// folder.
///
/// # Errors
/// An I/O error.
pub fn scan(folder: &Path, first: u64, known: &[Fingerprint]) -> io::Result<Option<Content>> {
    let Some(mut scanner) = FrameScanner::open(folder, first, known)? else { return Ok(None) };
    scanner.content.bytes = scanner.file.bytes()?;
    while scanner.next(scanner.content.bytes)?.is_some() {}
    Ok(Some(Content { is_damaged: scanner.is_damaged(), ..scanner.content }))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::outbox::offer::TraceHeaders;

    #[test]
    fn a_segment_is_read_up_to_the_end_that_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let mut made = segment::create(folder.path(), 7, [1; 16]).unwrap();
        let mut ends = vec![HEADER];
        for index in 0..2 {
            let (trace, mut bytes) = (TraceHeaders::default(), Vec::new());
            let datum = vec![0; index as usize * 40];
            assert!(frame::write(&StoredClick { taken_ms: 0, trace, datum: &datum }, &mut bytes));
            frame::place(&mut bytes, made.key, index);
            made.file.write_all(&bytes).unwrap();
            ends.push(ends[ends.len() - 1] + bytes.len() as u64);
        }
        let mut scanner = FrameScanner::open(folder.path(), 7, &[]).unwrap().unwrap();
        assert_eq!((scanner.fingerprint(), scanner.next(HEADER).unwrap()), ([1; 16], None));
        for index in 0..2 {
            let end = ends[index + 1];
            assert_eq!(scanner.next(end).unwrap(), Some(index as u64));
            assert_eq!(scanner.click().unwrap().datum.len(), index * 40);
            assert!(scanner.is_at(end) && !scanner.is_damaged());
            assert_eq!(scanner.next(end).unwrap(), None);
        }
        let content = Content { clicks: 2, bytes: ends[2], ..Content::default() };
        assert_eq!(scan(folder.path(), 7, &[]).unwrap(), Some(content));
        assert!(FrameScanner::open(folder.path(), 8, &[]).is_err(), "there is no such file");
    }
}
