//! Sorts more items than memory holds: writes sorted runs to an unnamed file, and merges them while they
//! are read.
//!
//! Items are byte strings of one length, sorted as bytes: the caller chooses the order by the encoding
//! of an item. The sorter uses no more memory than the caller allows. The file has no name, so the
//! kernel removes it when the process ends.

use broker::ServerError;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{Error, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Bytes of the smallest read from a run.
const PIECE_MIN: usize = 4 << 10;
/// Bytes of the largest read: larger reads are not faster.
const PIECE_MAX: usize = 1 << 20;

/// Takes items in any order.
#[derive(Debug)]
pub struct Sorter<const N: usize> {
    folder: PathBuf,
    memory: usize,
    items: Vec<[u8; N]>,
    spilled: Option<Spilled>,
}

/// Sorted items, which can be read any number of times.
#[derive(Debug)]
pub struct Sorted<const N: usize> {
    folder: PathBuf,
    memory: usize,
    items: Vec<[u8; N]>,
    spilled: Option<Spilled>,
}

/// A file of runs, each sorted.
#[derive(Debug)]
struct Spilled {
    file: File,
    runs: Vec<Range<u64>>,
}

impl<const N: usize> Sorter<N> {
    /// A sorter that holds at most `memory` bytes and writes the rest to a file in `folder`.
    pub fn new(folder: &Path, memory: usize) -> Self {
        let items = Vec::with_capacity((memory / N).max(1));
        Self { folder: folder.to_owned(), memory, items, spilled: None }
    }

    /// Adds an item.
    ///
    /// # Errors
    /// The disk of the folder is full or refuses the write.
    pub fn push(&mut self, item: [u8; N]) -> Result<(), ServerError> {
        if self.items.len() == self.items.capacity() {
            self.spill()?;
        }
        self.items.push(item);
        Ok(())
    }

    /// All items that were pushed, sorted.
    ///
    /// # Errors
    /// As [`Sorter::push`].
    pub fn sorted(mut self) -> Result<Sorted<N>, ServerError> {
        if self.spilled.is_none() {
            self.items.sort_unstable();
        } else {
            self.spill()?;
            // Reading the runs needs the memory.
            self.items = Vec::new();
        }
        let Self { folder, memory, items, spilled } = self;
        Ok(Sorted { folder, memory, items, spilled })
    }

    fn spill(&mut self) -> Result<(), ServerError> {
        self.items.sort_unstable();
        let spilled = match self.spilled.take() {
            Some(spilled) => spilled,
            None => {
                let file = tempfile::tempfile_in(&self.folder);
                let file = file.map_err(|error| failed(&self.folder, &error))?;
                Spilled { file, runs: Vec::new() }
            }
        };
        let spilled = self.spilled.insert(spilled);
        let bytes = self.items.as_flattened();
        spilled.file.write_all(bytes).map_err(|error| failed(&self.folder, &error))?;
        let start = spilled.runs.last().map_or(0, |run| run.end);
        spilled.runs.push(start..start + bytes.len() as u64);
        self.items.clear();
        Ok(())
    }
}

impl<const N: usize> Sorted<N> {
    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.spilled.is_none()
    }

    /// Iterates in order. An item that was pushed twice is returned twice.
    pub fn iter(&self) -> Items<'_, N> {
        let runs = match &self.spilled {
            None => vec![Run::Memory(self.items.iter())],
            Some(Spilled { file, runs }) => {
                let piece = (self.memory / runs.len()).clamp(PIECE_MIN, PIECE_MAX) / N * N;
                let run = |left: &Range<u64>| Run::File {
                    file,
                    left: left.clone(),
                    piece,
                    held: Vec::new(),
                    next: 0,
                };
                runs.iter().map(run).collect()
            }
        };
        // Each run's first item is still to be read.
        let unread = (0..runs.len()).collect();
        Items { folder: &self.folder, runs, unread, heads: BinaryHeap::new() }
    }
}

/// The items in order, merged from the runs.
#[derive(Debug)]
pub struct Items<'s, const N: usize> {
    folder: &'s Path,
    runs: Vec<Run<'s, N>>,
    /// Runs whose next item is not among `heads`.
    unread: Vec<usize>,
    heads: BinaryHeap<Reverse<([u8; N], usize)>>,
}

#[derive(Debug)]
enum Run<'s, const N: usize> {
    Memory(std::slice::Iter<'s, [u8; N]>),
    File { file: &'s File, left: Range<u64>, piece: usize, held: Vec<u8>, next: usize },
}

impl<const N: usize> Iterator for Items<'_, N> {
    type Item = Result<[u8; N], ServerError>;

    fn next(&mut self) -> Option<Self::Item> {
        // One run needs no merging.
        if let [Run::Memory(items)] = self.runs.as_mut_slice() {
            return items.next().copied().map(Ok);
        }
        while let Some(index) = self.unread.pop() {
            match self.runs[index].next() {
                Ok(None) => {}
                Ok(Some(item)) => self.heads.push(Reverse((item, index))),
                Err(error) => return Some(Err(failed(self.folder, &error))),
            }
        }
        let Reverse((item, index)) = self.heads.pop()?;
        self.unread.push(index);
        Some(Ok(item))
    }
}

impl<const N: usize> Run<'_, N> {
    fn next(&mut self) -> Result<Option<[u8; N]>, Error> {
        match self {
            Self::Memory(items) => Ok(items.next().copied()),
            Self::File { file, left, piece, held, next } => {
                if *next == held.len() {
                    let rest = left.end - left.start;
                    // The rest may be too long for `usize`; a piece is not.
                    held.resize(usize::try_from(rest).map_or(*piece, |rest| rest.min(*piece)), 0);
                    file.read_exact_at(held, left.start)?;
                    left.start += held.len() as u64;
                    *next = 0;
                }
                let item = held[*next..].first_chunk().copied();
                *next += if item.is_some() { N } else { 0 };
                Ok(item)
            }
        }
    }
}

fn failed(folder: &Path, error: &Error) -> ServerError {
    let text = format!(
        "{}: {error}; free space there, or name another folder with --scratch-dir or TMPDIR",
        folder.display()
    );
    ServerError::fatal("scratch_disk", text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(items: &[[u8; 3]], memory: usize) -> Sorted<3> {
        let mut sorter = Sorter::new(&std::env::temp_dir(), memory);
        items.iter().for_each(|item| sorter.push(*item).unwrap());
        sorter.sorted().unwrap()
    }

    proptest! {
        #[test]
        fn any_amount_of_memory_gives_the_same_order(
            mut items: Vec<[u8; 3]>, memory in 0_usize..100,
        ) {
            let sorted = sorted(&items, memory);
            items.sort_unstable();
            prop_assert_eq!(sorted.is_empty(), items.is_empty());
            for _ in 0..2 {
                let out: Result<Vec<_>, _> = sorted.iter().collect();
                prop_assert_eq!(&out.unwrap(), &items);
            }
        }
    }

    #[test]
    fn runs_longer_than_a_piece_are_read_to_their_end() {
        let items: Vec<[u8; 3]> =
            (0..20_000_u32).map(|n| [n.to_be_bytes()[3], n.to_be_bytes()[2], 0]).collect();
        let sorted = sorted(&items, 30_000);
        assert_eq!(sorted.spilled.as_ref().unwrap().runs.len(), 2);
        assert_eq!(sorted.iter().map(Result::unwrap).collect::<Vec<_>>().len(), 20_000);
        assert!(sorted.iter().map(Result::unwrap).is_sorted());
    }

    #[test]
    fn a_sorter_holds_no_more_memory_than_it_was_given() {
        let mut sorter = Sorter::<16>::new(&std::env::temp_dir(), 1600);
        for n in 0..1000_u128 {
            sorter.push(n.to_le_bytes()).unwrap();
            assert!(sorter.items.capacity() <= 100);
        }
        assert_eq!(sorter.sorted().unwrap().items.capacity(), 0);
    }

    #[test]
    fn a_disk_that_refuses_writes_is_reported_with_a_fix() {
        let mut sorter = Sorter::<1>::new(Path::new("/nowhere"), 1);
        sorter.push([0]).unwrap();
        let error = sorter.push([0]).unwrap_err();
        assert_eq!(error.code, "scratch_disk");
        assert!(error.message.contains("--scratch-dir"), "{error}");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut sorter = Sorter::<1>::new(Path::new("/dev"), 1);
        sorter.spilled = Some(Spilled { file: full, runs: Vec::new() });
        sorter.push([0]).unwrap();
        assert!(sorter.push([0]).unwrap_err().message.contains("No space left"));
    }
}
