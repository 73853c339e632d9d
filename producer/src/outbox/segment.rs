//! A segment: a file of clicks in order, named by the sequence number of the first.
//!
//! Segments are only appended to, and read up to a length that the outbox knows. The checksum of
//! each frame shows a partial write at the end.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::outbox::frame::{self, Length, StoredClick};
use crate::private_file;

/// Bytes before the first frame: magic, the schema's fingerprint, the number of the first click.
pub const HEADER: u64 = 32;
/// The last byte is the version of the layout.
const MAGIC: [u8; 8] = *b"CLKTOUT1";
const SUFFIX: &str = ".clicks";
/// Bytes that are read at once.
const CHUNK: u64 = 256 * 1024;

/// Names the schema of a segment's clicks: the start of its SHA-256.
pub type Fingerprint = [u8; 16];

/// The file whose first click has this number.
pub fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}{SUFFIX}"))
}

/// The numbers of all segments in a folder, in order.
///
/// # Errors
/// The folder cannot be read.
pub fn list(folder: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        firsts.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Makes an empty segment, in place of one that holds no click. Nothing is left of one that could
/// not be made.
///
/// # Errors
/// The disk's.
pub fn create(folder: &Path, first: u64, fingerprint: Fingerprint) -> io::Result<File> {
    let path = path(folder, first);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = private_file::create_new(&path)?;
    let mut header = Vec::from(MAGIC);
    header.extend_from_slice(&fingerprint);
    header.extend_from_slice(&first.to_le_bytes());
    file.write_all(&header).inspect_err(|_| {
        // It holds nothing, and its bytes are needed.
        std::fs::remove_file(&path).ok();
    })?;
    Ok(file)
}

/// Reads the clicks of one segment, one after the other.
#[derive(Debug)]
pub struct Frames {
    file: File,
    /// The schema of its clicks.
    pub fingerprint: Fingerprint,
    /// Where the next frame begins in the file.
    pub offset: u64,
    buffer: Vec<u8>,
    start: usize,
}

/// What comes next in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// A click, in a frame of so many bytes.
    Click(usize),
    /// Nothing before the given end.
    End,
    /// Bytes that are no click, or less of one than there should be.
    Partial,
}

impl Frames {
    /// Opens a segment; none if its header is not that of the segment `first`.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(folder: &Path, first: u64) -> io::Result<Option<Self>> {
        let file = File::open(path(folder, first))?;
        let mut header = [0; 32];
        match file.read_exact_at(&mut header, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut fingerprint = Fingerprint::default();
        fingerprint.copy_from_slice(&header[8..24]);
        let own = header[..8] == MAGIC && header[24..] == first.to_le_bytes();
        let frames = Self { file, fingerprint, offset: HEADER, buffer: Vec::new(), start: 0 };
        Ok(own.then_some(frames))
    }

    /// Whether a whole click comes next, that ends at `end` or before.
    ///
    /// # Errors
    /// The disk's; another call reads again.
    pub fn ready(&mut self, end: u64) -> io::Result<Ready> {
        loop {
            let have = &self.buffer[self.start..];
            match frame::length(have) {
                Length::Bad => return Ok(Ready::Partial),
                Length::Known(bytes) if bytes <= have.len() => {
                    let good = frame::read(&have[..bytes]).is_some();
                    return Ok(if good { Ready::Click(bytes) } else { Ready::Partial });
                }
                Length::Known(_) | Length::Unknown => {}
            }
            let nothing = have.is_empty();
            if !self.fill(end)? {
                return Ok(if nothing { Ready::End } else { Ready::Partial });
            }
        }
    }

    /// The click that is ready; goes on behind it.
    pub fn take(&mut self, bytes: usize) -> Option<StoredClick<'_>> {
        let from = self.start;
        self.start += bytes;
        self.offset += bytes as u64;
        frame::read(self.buffer.get(from..from + bytes)?)
    }

    /// Reads more of the file, up to `end`; false if there is no more.
    fn fill(&mut self, end: u64) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
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

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Whole clicks.
    pub clicks: u64,
    /// Where they end; a partial write may follow.
    pub end: u64,
    /// Length of the file.
    pub bytes: u64,
}

/// Counts the whole clicks of a segment; those of one without its header are none.
///
/// # Errors
/// The disk's.
pub fn scan(folder: &Path, first: u64) -> io::Result<Content> {
    let bytes = std::fs::metadata(path(folder, first))?.len();
    let Some(mut frames) = Frames::open(folder, first)? else {
        return Ok(Content { clicks: 0, end: 0, bytes });
    };
    let mut clicks = 0;
    while let Ready::Click(frame) = frames.ready(bytes)? {
        frames.take(frame);
        clicks += 1;
    }
    Ok(Content { clicks, end: frames.offset, bytes })
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;
    use crate::outbox::offer::TraceHeaders;

    fn filled(folder: &Path, clicks: u8) -> u64 {
        let mut file = create(folder, 7, [1; 16]).unwrap();
        let mut bytes = Vec::new();
        for click in 0..clicks {
            let datum = vec![click; usize::from(click) * 40];
            let trace = TraceHeaders::default();
            assert!(frame::write(&StoredClick { taken_ms: 0, trace, datum: &datum }, &mut bytes));
        }
        file.write_all(&bytes).unwrap();
        HEADER + bytes.len() as u64
    }

    #[test]
    fn wherever_a_segment_is_cut_the_clicks_before_the_cut_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let length = filled(folder, 12);
        let whole = scan(folder, 7).unwrap();
        assert_eq!(whole, Content { clicks: 12, end: length, bytes: length });
        let file = OpenOptions::new().write(true).open(path(folder, 7)).unwrap();
        let mut last = whole.clicks;
        for cut in (0..length).rev() {
            file.set_len(cut).unwrap();
            let content = scan(folder, 7).unwrap();
            assert!(content.end <= cut && content.clicks <= last, "{cut}: {content:?}");
            assert!(content.clicks + 1 >= last, "{cut}: {content:?}");
            last = content.clicks;
        }
        assert_eq!(last, 0);
    }

    #[test]
    fn zeros_at_the_end_are_no_clicks() {
        let folder = tempfile::tempdir().unwrap();
        let length = filled(folder.path(), 3);
        let file = OpenOptions::new().write(true).open(path(folder.path(), 7)).unwrap();
        file.set_len(length + 4096).unwrap();
        let content = scan(folder.path(), 7).unwrap();
        assert_eq!(content, Content { clicks: 3, end: length, bytes: length + 4096 });
    }

    #[test]
    fn a_segment_is_read_up_to_the_end_that_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let length = filled(folder.path(), 2);
        let mut frames = Frames::open(folder.path(), 7).unwrap().unwrap();
        assert_eq!(frames.fingerprint, [1; 16]);
        assert_eq!(frames.ready(HEADER).unwrap(), Ready::End);
        for bytes in [0, 40] {
            let Ready::Click(frame) = frames.ready(length).unwrap() else { panic!() };
            assert_eq!(frames.take(frame).unwrap().datum.len(), bytes);
        }
        assert_eq!(frames.ready(length).unwrap(), Ready::End);
    }

    #[test]
    fn another_file_under_a_segments_name_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(path(folder.path(), 7), vec![b'x'; 100]).unwrap();
        std::fs::write(path(folder.path(), 8), b"").unwrap();
        for first in [7, 8] {
            assert!(Frames::open(folder.path(), first).unwrap().is_none());
            assert_eq!(scan(folder.path(), first).unwrap().clicks, 0);
        }
        assert_eq!(list(folder.path()).unwrap(), [7, 8]);
    }
}
