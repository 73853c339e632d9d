//! Up to where each partition is read, by the library's statistics. Pure.
//!
//! That is the offset after the last record that the library returned to the reader. Later offsets may hold
//! no record for it: the marker at the end of a transaction, and the records of an aborted one. The library
//! fetches them and returns nothing, so that the partition seems to have unread records. They count as read
//! once the library has fetched up to the end of the partition and has returned no record for three seconds.

use std::collections::BTreeMap;

use rdkafka::statistics::Partition;

/// Microseconds after which a fetched offset holds no record if the library returned none: a reader that is
/// throttled takes no record for two seconds.
const SETTLED_US: i64 = 3_000_000;

/// What the library reported last of each partition.
#[derive(Debug, Default)]
pub(super) struct ReadPositions(BTreeMap<i32, Reported>);

#[derive(Debug, Clone, Copy)]
struct Reported {
    /// The offset that the library fetches next, and the one after the last record that it returned.
    offsets: (i64, i64),
    /// Since when it reports these, by its clock.
    since_us: i64,
}

impl ReadPositions {
    /// Takes new statistics of a partition. Returns the position up to which it was read, if it is known.
    pub(super) fn note(
        &mut self,
        now_us: i64,
        partition: i32,
        reported: &Partition,
    ) -> Option<i64> {
        let offsets @ (next, returned) = (reported.next_offset, reported.app_offset);
        let known = self.0.get(&partition).filter(|known| known.offsets == offsets);
        let since_us = known.map_or(now_us, |known| known.since_us);
        self.0.insert(partition, Reported { offsets, since_us });
        let is_at_end = reported.ls_offset >= 0 && next >= reported.ls_offset;
        let position = if is_at_end && now_us - since_us >= SETTLED_US { next } else { returned };
        // Negative values say that the library does not know the offset yet.
        (position >= 0).then_some(position)
    }

    /// Starts again: the reader is paused or resumed, or the group has assigned partitions again.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The positions at each half second, if the library reports (next, returned, end) so.
    fn positions(reported: impl IntoIterator<Item = (i64, i64, i64)>) -> Vec<Option<i64>> {
        let mut positions = ReadPositions::default();
        let note = |(half, (next_offset, app_offset, ls_offset)): (i64, (i64, i64, i64))| {
            let reported = Partition { next_offset, app_offset, ls_offset, ..Partition::default() };
            positions.note(half * 500_000, 0, &reported)
        };
        (0..).zip(reported).map(note).collect()
    }

    #[test]
    fn offsets_without_a_record_at_the_end_of_a_partition_count_as_read() {
        let marker = positions([(8, 7, 8); 8]);
        assert_eq!(marker[..6], [Some(7); 6], "the record may wait for the reader");
        assert_eq!(marker[6..], [Some(8); 2]);
        let only_markers = positions([(8, -1001, 8); 8]);
        assert_eq!((only_markers[5], only_markers[7]), (None, Some(8)));
    }

    #[test]
    fn records_that_were_not_returned_do_not_count_as_read() {
        // Nothing is fetched, not all is fetched, and the end is not known.
        for (next, end) in [(7, 9), (8, 9), (8, -1001)] {
            assert_eq!(positions([(next, 7, end); 20]), [Some(7); 20], "{next} of {end}");
        }
        assert_eq!(positions([(-1001, -1001, -1001); 20]), [None; 20]);
        let steps = (0..20).map(|half| (20, half, 20));
        assert_eq!(positions(steps), (0..20).map(Some).collect::<Vec<_>>());
    }
}
