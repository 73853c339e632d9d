//! Which records of the log differ from the table, by partition: the first and the last offset. Pure.

use std::collections::BTreeMap;

/// Offsets of one partition; both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DifferingOffsets {
    /// First record with a difference.
    pub first: i64,
    /// Last record with one.
    pub last: i64,
}

/// The differences of which the record is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DifferenceOffsets {
    partitions: BTreeMap<i32, DifferingOffsets>,
}

impl DifferenceOffsets {
    /// The record at this offset has a difference.
    pub fn note(&mut self, partition: i32, offset: i64) {
        let new = DifferingOffsets { first: offset, last: offset };
        let own = self.partitions.entry(partition).or_insert(new);
        *own = DifferingOffsets { first: own.first.min(offset), last: own.last.max(offset) };
    }

    /// The offsets of each partition that has a difference.
    pub fn iter(&self) -> impl Iterator<Item = (i32, DifferingOffsets)> {
        self.partitions.iter().map(|(partition, offsets)| (*partition, *offsets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_difference_of_a_partition_are_kept() {
        let mut found = DifferenceOffsets::default();
        assert_eq!(found.iter().count(), 0);
        for (partition, offset) in [(1, 7), (0, 5), (1, 3), (1, 4)] {
            found.note(partition, offset);
        }
        let offsets = |first, last| DifferingOffsets { first, last };
        assert_eq!(found.iter().collect::<Vec<_>>(), [(0, offsets(5, 5)), (1, offsets(3, 7))]);
    }
}
