//! The delivered mark: a file with the sequence number up to which all clicks are delivered.
//!
//! It has two slots that are written in turn, so that a crash during a write leaves the other slot. A mark
//! that is too low does no harm: the relay sends clicks again, with the same event ids. The mark is synced
//! before a segment is removed, so clicks after the mark that are in no segment are missing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::private_file;

const NAME: &str = "delivered";
/// Bytes from one slot to the other: each has its own sector.
const STRIDE: u64 = 512;
const FILE: [u8; 1024] = [0; 1024];
const BYTES: usize = 12;

/// The open file.
#[derive(Debug)]
pub struct DeliveredMark {
    file: File,
    turn: u64,
}

impl DeliveredMark {
    /// Opens the mark of a folder. Returns the file and its number; `None` if both slots are empty or
    /// damaged.
    ///
    /// # Errors
    /// An I/O error.
    pub fn open(folder: &Path) -> io::Result<(Self, Option<u64>)> {
        let file = private_file::open_or_create(&folder.join(NAME))?;
        // Allocates both slots now, so that the mark can be written on a full disk.
        if file.metadata()?.len() < FILE.len() as u64 {
            file.write_all_at(&FILE, 0)?;
        }
        let found = [read(&file, 0)?, read(&file, 1)?];
        // The next write goes to the older or damaged slot.
        let turn = u64::from(found[0] > found[1]);
        Ok((Self { file, turn }, found[0].max(found[1])))
    }

    /// Writes the number. It survives the process at once, and a power loss after the system has written
    /// it to the disk.
    ///
    /// # Errors
    /// An I/O error.
    pub fn set(&mut self, number: u64) -> io::Result<()> {
        let mut slot = [0; BYTES];
        let number = number.to_le_bytes();
        slot[..8].copy_from_slice(&number);
        slot[8..].copy_from_slice(&crc32fast::hash(&number).to_le_bytes());
        self.file.write_all_at(&slot, self.turn * STRIDE)?;
        self.turn = 1 - self.turn;
        Ok(())
    }

    /// Syncs the number, so that it survives a power loss.
    ///
    /// # Errors
    /// An I/O error.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        #[cfg(test)]
        SYNCS.set(SYNCS.get() + 1);
        Ok(())
    }

    /// The mark of a folder, opened without the right to write.
    #[cfg(test)]
    pub(super) fn unwritable(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(folder.join(NAME))?, turn: 0 })
    }
}

#[cfg(test)]
thread_local! {
    /// How many syncs this thread has made.
    pub(super) static SYNCS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

fn read(file: &File, turn: u64) -> io::Result<Option<u64>> {
    let mut slot = [0; BYTES];
    file.read_exact_at(&mut slot, turn * STRIDE)?;
    let (number, sum) = slot.split_at(8);
    let number: [u8; 8] = number.try_into().map_err(io::Error::other)?;
    let good = crc32fast::hash(&number).to_le_bytes() == sum;
    Ok(good.then_some(u64::from_le_bytes(number)))
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn the_last_mark_is_read_and_a_partial_one_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (mut mark, number) = DeliveredMark::open(folder.path()).unwrap();
        assert_eq!(number, None);
        for number in 1..=5 {
            mark.set(number).unwrap();
            assert_eq!(DeliveredMark::open(folder.path()).unwrap().1, Some(number));
        }
        for (torn, left) in [(0, 4), (1, 5)] {
            let other = tempfile::tempdir().unwrap();
            std::fs::copy(folder.path().join(NAME), other.path().join(NAME)).unwrap();
            let file = OpenOptions::new().write(true).open(other.path().join(NAME)).unwrap();
            file.write_all_at(&[9; 3], torn * STRIDE).unwrap();
            let (mut mark, number) = DeliveredMark::open(other.path()).unwrap();
            assert_eq!(number, Some(left));
            // The good one is not written over.
            mark.set(9).unwrap();
            file.write_all_at(&[9; 3], torn * STRIDE).unwrap();
            assert_eq!(DeliveredMark::open(other.path()).unwrap().1, Some(left));
        }
    }
}
