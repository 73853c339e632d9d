//! The file of a segment, with zeros in place of each block that the disk cannot read.
//!
//! Such a block counts as damage like any other: to read it again without end would stop all clicks after
//! it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

/// Size of the range that becomes zeros when a part of it cannot be read.
const BLOCK: usize = 4096;

/// An open file.
#[derive(Debug)]
pub struct SegmentFile {
    file: File,
    is_damaged: AtomicBool,
}

impl SegmentFile {
    /// Opens a file.
    ///
    /// # Errors
    /// An I/O error.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, is_damaged: AtomicBool::new(false) })
    }

    /// Length of the file.
    ///
    /// # Errors
    /// An I/O error.
    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether the disk could not read a block.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// Reads into a buffer until it is full or the file ends; returns how many bytes.
    ///
    /// # Errors
    /// An I/O error, except for a block that the disk cannot read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_some(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match read_file(&self.file, buffer, offset) {
            Err(error) if is_of_disk(&error) => {}
            read => return read,
        }
        #[expect(clippy::expect_used, reason = "an internal invariant")]
        let within = usize::try_from(offset % BLOCK as u64).expect("a block fits memory");
        let rest = buffer.len().min(BLOCK - within);
        let block = &mut buffer[..rest];
        match read_file(&self.file, block, offset) {
            Err(error) if is_of_disk(&error) => {
                self.is_damaged.store(true, Ordering::Relaxed);
                block.fill(0);
                Ok(rest)
            }
            read => read,
        }
    }
}

/// Whether the cause is the disk, or a checksum of the file system.
fn is_of_disk(error: &io::Error) -> bool {
    let causes = [Errno::IO, Errno::BADMSG];
    error.raw_os_error().is_some_and(|code| causes.iter().any(|it| it.raw_os_error() == code))
}

#[cfg(not(test))]
fn read_file(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buffer, offset)
}

#[cfg(test)]
thread_local! {
    /// Offsets that cannot be read, in every segment.
    pub(super) static UNREADABLE: std::cell::RefCell<std::ops::Range<u64>> = const { std::cell::RefCell::new(0..0) };
}

#[cfg(test)]
fn read_file(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let bad = UNREADABLE.with_borrow(Clone::clone);
    if offset < bad.end && bad.start < offset + buffer.len() as u64 {
        return Err(Errno::IO.into());
    }
    file.read_at(buffer, offset)
}
