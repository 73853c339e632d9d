//! The offsets that a block or a batch covers, by partition. When it is durable, the ends of its ranges
//! may be committed.

use std::collections::BTreeMap;

/// Offsets of one partition, read under one assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetRange {
    /// Epoch of the assignment under which they were read.
    pub epoch: u64,
    /// First offset.
    pub first: i64,
    /// Position after the last: what may be committed once all are durable. Offsets have gaps
    /// (compaction, transactions), so not every one in between holds a record.
    pub next: i64,
}

/// At most one range of each partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetRanges(BTreeMap<i32, OffsetRange>);

impl OffsetRanges {
    /// Adds the offsets that were read next of `partition`.
    ///
    /// A range of another epoch, or one that starts before the end, replaces the present range: the
    /// earlier records are inserted nevertheless, which is harmless, and their offsets are never
    /// committed.
    pub fn add(&mut self, partition: i32, read: OffsetRange) {
        debug_assert!(read.first < read.next, "a range covers an offset");
        let range = self.0.entry(partition).or_insert(read);
        if range.epoch != read.epoch || read.first < range.next {
            *range = read;
        }
        range.next = read.next;
    }

    /// Adds the ranges that were read after these.
    pub fn extend(&mut self, later: &Self) {
        later.iter().for_each(|(partition, range)| self.add(partition, range));
    }

    /// Whether no offset is covered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By partition, in order.
    pub fn iter(&self) -> impl Iterator<Item = (i32, OffsetRange)> {
        self.0.iter().map(|(partition, range)| (*partition, *range))
    }
}

impl std::fmt::Display for OffsetRanges {
    /// Partition, first and last offset of each.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, (partition, range)) in self.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{partition}:{}-{}", range.first, range.next - 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(read: &[(i32, u64, i64)]) -> OffsetRanges {
        let mut ranges = OffsetRanges::default();
        for &(partition, epoch, offset) in read {
            ranges.add(partition, OffsetRange { epoch, first: offset, next: offset + 1 });
        }
        ranges
    }

    #[test]
    fn a_range_ends_after_its_last_record_and_may_have_gaps() {
        let read = ranges(&[(0, 1, 5), (0, 1, 6), (0, 1, 40), (1, 1, 0)]);
        let expected = [
            (0, OffsetRange { epoch: 1, first: 5, next: 41 }),
            (1, OffsetRange { epoch: 1, first: 0, next: 1 }),
        ];
        assert_eq!(read.iter().collect::<Vec<_>>(), expected);
        let mut joined = ranges(&[(0, 1, 2)]);
        joined.extend(&read);
        assert_eq!(joined.0[&0], OffsetRange { epoch: 1, first: 2, next: 41 });
    }

    #[test]
    fn after_a_new_assignment_no_offset_of_the_old_one_is_committed() {
        let read = ranges(&[(0, 1, 500), (0, 2, 3)]);
        assert_eq!(read.0[&0], OffsetRange { epoch: 2, first: 3, next: 4 });
        let mut joined = read.clone();
        joined.extend(&ranges(&[(0, 2, 1)]));
        assert_eq!(joined.0[&0], OffsetRange { epoch: 2, first: 1, next: 2 });
    }
}
