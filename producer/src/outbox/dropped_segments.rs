//! The list of clicks that were dropped for newer ones, by sequence number: no reader expects them.
//!
//! A small file holds the list until delivery has passed these clicks. They are counted as lost already,
//! and a later process must not count them again as clicks that cannot be read.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::Path;

use crate::private_file;

const NAME: &str = "dropped";

/// Start of the line with the checksum of all lines before it. A list of an earlier version has none.
const SUM: &str = "crc32 ";

/// Ranges of sequence numbers, in order and with a gap between any two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DroppedSegments(VecDeque<Range<u64>>);

impl DroppedSegments {
    /// Reads the list of a folder. A damaged list is ignored: it is better to count its clicks as lost a
    /// second time than to take other clicks for dropped ones.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let path = folder.join(NAME);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        Ok(String::from_utf8(bytes).ok().and_then(|text| Self::parse(&text)).unwrap_or_else(|| {
            let (code, path) = ("outbox_dropped", path.display());
            tracing::error!(code, %path, "the list of dropped clicks is damaged and was ignored");
            Self::default()
        }))
    }

    fn parse(text: &str) -> Option<Self> {
        let lines = match text.rsplit_once(SUM) {
            Some((lines, sum)) if sum == sum_line(lines) => lines,
            Some(_) => return None,
            None => text,
        };
        let mut dropped = Self::default();
        for line in lines.lines() {
            let (start, end) = line.split_once(' ')?;
            let (start, end) = (start.parse().ok()?, end.parse().ok()?);
            if start >= end || start < dropped.end() {
                return None;
            }
            dropped.add(start..end);
        }
        Some(dropped)
    }

    /// The number after the last dropped click.
    pub(super) fn end(&self) -> u64 {
        self.0.back().map_or(0, |numbers| numbers.end)
    }

    /// Writes the list to a folder. It survives a power loss: a later process would count clicks that are
    /// not in the list a second time.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let lines = self.0.iter().map(|numbers| format!("{} {}\n", numbers.start, numbers.end));
        let mut lines = lines.collect::<String>();
        if !lines.is_empty() {
            let sum = sum_line(&lines);
            lines.extend([SUM, &sum]);
        }
        private_file::replace(&folder.join(NAME), |mut file| file.write_all(lines.as_bytes()))
    }

    /// Adds numbers after all others.
    pub(super) fn add(&mut self, numbers: Range<u64>) {
        match self.0.back_mut() {
            Some(last) if last.end == numbers.start => last.end = numbers.end,
            Some(_) | None => self.0.push_back(numbers),
        }
    }

    /// How many clicks in a row were dropped, from this number on.
    pub(super) fn from(&self, number: u64) -> Option<u64> {
        let within = self.0.iter().find(|numbers| numbers.contains(&number));
        within.map(|numbers| numbers.end - number)
    }

    /// The first dropped number after this one.
    pub(super) fn behind(&self, number: u64) -> Option<u64> {
        self.0.iter().map(|numbers| numbers.start).find(|start| *start > number)
    }

    /// How many of these numbers were dropped.
    pub(super) fn count(&self, of: &Range<u64>) -> u64 {
        let common = |numbers: &Range<u64>| {
            numbers.end.min(of.end).saturating_sub(numbers.start.max(of.start))
        };
        self.0.iter().map(common).sum()
    }

    /// Removes the ranges before a number; false if there was none.
    pub(super) fn forget(&mut self, before: u64) -> bool {
        let had = self.0.len();
        while self.0.pop_front_if(|numbers| numbers.end <= before).is_some() {}
        self.0.len() < had
    }
}

fn sum_line(lines: &str) -> String {
    format!("{:08x}\n", crc32fast::hash(lines.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private_file::{STEPS, Step};

    #[test]
    fn h12_a_list_with_any_bit_turned_drops_nothing_and_one_that_is_cut_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut dropped = DroppedSegments::default();
        [5..10, 30..31, 700..800].into_iter().for_each(|numbers| dropped.add(numbers));
        dropped.write(folder.path()).unwrap();
        let file = folder.path().join(NAME);
        let written = std::fs::read(&file).unwrap();
        for bit in 0..written.len() * 8 {
            let mut turned = written.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&file, turned).unwrap();
            let read = DroppedSegments::read(folder.path()).unwrap();
            assert_eq!(read, DroppedSegments::default(), "bit {bit}");
        }
        // As an earlier version wrote it.
        for (text, expected) in [("5 10\n30 31\n", vec![5..10, 30..31]), ("5 10\n3", vec![])] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(DroppedSegments::read(folder.path()).unwrap().0, expected, "{text:?}");
        }
    }

    #[test]
    fn l15_the_list_is_synced_before_it_is_renamed_and_the_folder_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let mut dropped = DroppedSegments::default();
        for numbers in [5..10, 30..31] {
            dropped.add(numbers);
            STEPS.take();
            dropped.write(folder.path()).unwrap();
            assert_eq!(STEPS.take(), [Step::SyncFile, Step::Rename, Step::SyncFolder]);
            assert_eq!(DroppedSegments::read(folder.path()).unwrap(), dropped);
        }
    }

    #[test]
    fn the_next_process_knows_the_exact_numbers_of_dropped_clicks() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(DroppedSegments::read(folder.path()).unwrap(), DroppedSegments::default());
        let mut dropped = DroppedSegments::default();
        for numbers in [5..10, 10..20, 30..31] {
            dropped.add(numbers);
        }
        dropped.write(folder.path()).unwrap();
        let mut dropped = DroppedSegments::read(folder.path()).unwrap();
        assert_eq!(dropped.0, [5..20, 30..31]);
        assert_eq!(
            [4, 5, 19, 20, 30].map(|number| dropped.from(number)),
            [None, Some(15), Some(1), None, Some(1)]
        );
        assert_eq!([4, 5, 30].map(|number| dropped.behind(number)), [Some(5), Some(30), None]);
        assert_eq!([0..5, 0..6, 19..31, 6..7].map(|of| dropped.count(&of)), [0, 1, 2, 1]);
        assert!(!dropped.forget(19));
        assert!(dropped.forget(20));
        assert_eq!((dropped.0.len(), dropped.from(30)), (1, Some(1)));
    }
}
