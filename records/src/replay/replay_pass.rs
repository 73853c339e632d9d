//! One pass of a replay: the ranges that a consumer group of its own reads. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::replay::log_day::LogDay;
use crate::replay::log_range::LogRange;

/// Ranges of each partition, in ascending order and without a common offset.
pub type PartitionRanges = BTreeMap<i32, Vec<LogRange>>;

/// A pass. The workers of a job begin it together, when the pass before it has been read completely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayPass {
    /// The day of log time of its records; `None`: it is the only pass of its job.
    pub day: Option<LogDay>,
    /// What is read. A partition without a range is not in the pass.
    pub ranges: PartitionRanges,
}

impl ReplayPass {
    /// Checks what the reader of the ranges relies on.
    ///
    /// # Errors
    /// A partition has no range, an empty range, or ranges that are not in ascending order; no version writes
    /// such a plan.
    pub(super) fn check_ranges(&self) -> Result<(), String> {
        for (partition, ranges) in &self.ranges {
            if ranges.is_empty() {
                return Err(format!("partition {partition} has no range"));
            }
            if let Some(empty) = ranges.iter().find(|range| range.first >= range.end) {
                return Err(format!("partition {partition} has the empty range {empty}"));
            }
            if !ranges.is_sorted_by(|one, next| one.end <= next.first) {
                return Err(format!("the ranges of partition {partition} are not in order"));
            }
        }
        Ok(())
    }

    /// Number of its ranges.
    pub fn range_count(&self) -> usize {
        self.ranges.values().map(Vec::len).sum()
    }

    /// Number of its offsets.
    pub fn offsets(&self) -> u64 {
        self.ranges.values().flatten().map(|range| range.offsets()).sum()
    }

    /// The first offset of each partition.
    pub fn starts(&self) -> BTreeMap<i32, i64> {
        let ranges = self.ranges.iter();
        ranges.filter_map(|(own, ranges)| Some((*own, ranges.first()?.first))).collect()
    }

    /// How many of its offsets precede these positions.
    pub fn done(&self, positions: &BTreeMap<i32, i64>) -> u64 {
        let done = |(partition, range): (&i32, &LogRange)| {
            let position = positions.get(partition).copied().unwrap_or(range.first);
            LogRange { end: position.min(range.end), ..*range }.offsets()
        };
        let ranges = self.ranges.iter().flat_map(|(own, all)| all.iter().map(move |it| (own, it)));
        ranges.map(done).sum()
    }

    /// Partitions whose position is before the end of their last range.
    pub fn open_partitions(&self, positions: &BTreeMap<i32, i64>) -> usize {
        let is_open = |(partition, ranges): &(&i32, &Vec<LogRange>)| {
            ranges.last().map(|range| range.end) > positions.get(partition).copied()
        };
        self.ranges.iter().filter(is_open).count()
    }

    /// Whether each range ends at or before the position of its partition.
    pub fn is_done(&self, positions: &BTreeMap<i32, i64>) -> bool {
        self.open_partitions(positions) == 0
    }
}

/// The ranges of several passes; those that touch each other are one.
pub fn joined(passes: &[ReplayPass]) -> PartitionRanges {
    let mut joined = PartitionRanges::new();
    for (partition, ranges) in passes.iter().flat_map(|pass| &pass.ranges) {
        joined.entry(*partition).or_default().extend(ranges);
    }
    for ranges in joined.values_mut() {
        ranges.sort_unstable_by_key(|range| range.first);
        ranges.dedup_by(|next, range| {
            let touches = range.end == next.first;
            if touches {
                range.end = next.end;
            }
            touches
        });
    }
    joined
}

/// The consumer group of a pass, whose number begins at 1. It is not the group of `processors run`.
pub fn group(job: &str, number: usize) -> String {
    format!("clicktrail-replay-{job}-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(ranges: &[(i32, i64, i64)]) -> ReplayPass {
        let mut all = PartitionRanges::new();
        for &(partition, first, end) in ranges {
            all.entry(partition).or_default().push(LogRange { first, end });
        }
        ReplayPass { day: None, ranges: all }
    }

    #[test]
    fn a_pass_is_done_when_the_position_of_each_partition_is_at_its_end() {
        let pass = pass(&[(0, 5, 9), (2, 1, 3)]);
        assert_eq!((pass.offsets(), pass.range_count()), (6, 2));
        for (positions, done, open) in [
            (&[][..], 0, 2),
            (&[(0, 5), (2, 1)], 0, 2),
            (&[(0, 9)], 4, 1),
            (&[(0, 8), (2, 3)], 5, 1),
            (&[(0, 9), (2, 3)], 6, 0),
            (&[(0, 2), (2, 40)], 2, 1),
            (&[(0, 12), (2, 40)], 6, 0),
        ] {
            let positions = positions.iter().copied().collect();
            assert_eq!((pass.done(&positions), pass.open_partitions(&positions)), (done, open));
            assert_eq!(pass.is_done(&positions), open == 0);
        }
    }

    #[test]
    fn several_ranges_of_a_partition_are_done_one_after_the_other() {
        let pass = pass(&[(0, 5, 9), (0, 20, 30), (2, 1, 3)]);
        assert_eq!((pass.offsets(), pass.range_count()), (16, 3));
        assert_eq!(pass.starts(), BTreeMap::from([(0, 5), (2, 1)]));
        for (position, done, is_done) in
            [(5, 2, false), (20, 6, false), (25, 11, false), (30, 16, true)]
        {
            let positions = [(0, position), (2, 3)].into();
            assert_eq!((pass.done(&positions), pass.is_done(&positions)), (done, is_done));
        }
    }

    #[test]
    fn ranges_that_are_empty_or_not_in_ascending_order_are_refused() {
        for good in [&[(0, 5, 9), (0, 9, 30)][..], &[(0, 5, 9), (1, 0, 3)], &[]] {
            assert_eq!(pass(good).check_ranges(), Ok(()));
        }
        for bad in [&[(0, 5, 5)][..], &[(0, 5, 9), (0, 8, 30)], &[(0, 20, 30), (0, 5, 9)]] {
            assert!(pass(bad).check_ranges().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ranges_of_passes_that_touch_are_one_range() {
        let passes = [pass(&[(0, 9, 12), (1, 4, 6)]), pass(&[(0, 5, 9), (0, 1, 3)])];
        let expected = pass(&[(0, 1, 3), (0, 5, 12), (1, 4, 6)]);
        assert_eq!(joined(&passes), expected.ranges);
        assert_eq!(group("j", 2), "clicktrail-replay-j-2");
    }
}
