//! The delivered mark: the sequence number up to which all clicks are delivered, in a file.
//!
//! Two slots are written in turn, so that a crash while one is written leaves the other. A mark that
//! is too old does no harm: clicks are sent again, under the same event ids. It is synced before a
//! segment is removed, so clicks behind it that are in no segment are missing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::private_file;

const NAME: &str = "delivered";
/// Between the two slots: each in a sector of its own.
const STRIDE: u64 = 512;
const FILE: [u8; 1024] = [0; 1024];
const BYTES: usize = 12;

/// The file, open.
#[derive(Debug)]
pub struct DeliveredMark {
    file: File,
    turn: u64,
}

impl DeliveredMark {
    /// Opens the mark of a folder: the file and the number in it, none where both slots are empty or
    /// damaged.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(folder: &Path) -> io::Result<(Self, Option<u64>)> {
        let file = private_file::open_or_create(&folder.join(NAME))?;
        // Both slots are allocated now: a disk that is full later does not stop the mark.
        if file.metadata()?.len() < FILE.len() as u64 {
            file.write_all_at(&FILE, 0)?;
        }
        let found = [read(&file, 0)?, read(&file, 1)?];
        // The older one, or the broken one, is written next.
        let turn = u64::from(found[0] > found[1]);
        Ok((Self { file, turn }, found[0].max(found[1])))
    }

    /// Writes the number. It survives the process at once, and a power loss when the system
    /// has written it.
    ///
    /// # Errors
    /// The disk's.
    pub fn set(&mut self, number: u64) -> io::Result<()> {
        let mut slot = [0; BYTES];
        let number = number.to_le_bytes();
        slot[..8].copy_from_slice(&number);
        slot[8..].copy_from_slice(&crc32fast::hash(&number).to_le_bytes());
        self.file.write_all_at(&slot, self.turn * STRIDE)?;
        self.turn = 1 - self.turn;
        Ok(())
    }

    /// Makes the number survive a power loss.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        #[cfg(test)]
        SYNCS.set(SYNCS.get() + 1);
        Ok(())
    }

    /// The mark of a folder, which cannot be written.
    #[cfg(test)]
    pub(super) fn unwritable(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(folder.join(NAME))?, turn: 0 })
    }
}

#[cfg(test)]
thread_local! {
    /// Syncs by this thread.
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
