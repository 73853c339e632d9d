//! Joins the offsets of selected rows to ranges, each of which costs the reader a seek. Pure.

use std::collections::BTreeMap;

use crate::replay::log_range::LogRange;

/// Two offsets that are closer are in one range; a cell has this many offsets.
pub const CELL_OFFSETS: i64 = 10_000;
/// Most ranges of a plan. Its job holds them, and each report of the job stores them again.
pub const RANGES_MAX: usize = 1_000;

/// The selected rows of one partition whose offsets have the same quotient by [`CELL_OFFSETS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SelectedOffsets {
    /// Partition.
    pub partition: i32,
    /// Smallest offset.
    pub first: i64,
    /// Largest offset.
    pub last: i64,
}

/// The ranges of all selected offsets, by partition. Offsets are in one range where they are closer than
/// [`CELL_OFFSETS`], or a power of two of it where there would be more than [`RANGES_MAX`] ranges.
pub fn joined(mut selected: Vec<SelectedOffsets>) -> BTreeMap<i32, Vec<LogRange>> {
    selected.sort_unstable();
    let mut distance = CELL_OFFSETS;
    loop {
        let ranges = joined_within(&selected, distance);
        let count: usize = ranges.values().map(Vec::len).sum();
        if count <= RANGES_MAX || count == ranges.len() {
            return ranges;
        }
        distance = distance.saturating_mul(2);
    }
}

fn joined_within(selected: &[SelectedOffsets], distance: i64) -> BTreeMap<i32, Vec<LogRange>> {
    let mut ranges = BTreeMap::<i32, Vec<LogRange>>::new();
    for &SelectedOffsets { partition, first, last } in selected {
        let ranges = ranges.entry(partition).or_default();
        match ranges.last_mut() {
            Some(range) if first - (range.end - 1) < distance => {
                range.end = range.end.max(last + 1);
            }
            Some(_) | None => ranges.push(LogRange { first, end: last + 1 }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(selected: &[(i32, i64, i64)]) -> Vec<(i32, i64, i64)> {
        let selected = selected.iter();
        let selected =
            selected.map(|&(partition, first, last)| SelectedOffsets { partition, first, last });
        let joined = joined(selected.collect()).into_iter();
        let all = joined.flat_map(|(own, ranges)| ranges.into_iter().map(move |it| (own, it)));
        all.map(|(own, LogRange { first, end })| (own, first, end)).collect()
    }

    #[test]
    fn offsets_that_are_closer_than_a_cell_are_in_one_range() {
        assert_eq!(ranges(&[]), []);
        assert_eq!(ranges(&[(0, 5, 5)]), [(0, 5, 6)]);
        let closer = [(0, 100, 200), (0, 10_199, 10_199), (0, 20_198, 20_500)];
        assert_eq!(ranges(&closer), [(0, 100, 20_501)]);
        let apart = [(0, 10_200, 10_300), (1, 0, 7), (0, 100, 200)];
        assert_eq!(ranges(&apart), [(0, 100, 201), (0, 10_200, 10_301), (1, 0, 8)]);
    }

    #[test]
    fn a_plan_has_a_bounded_number_of_ranges() {
        let scattered: Vec<_> = (0..4_000).map(|cell| (0, cell * 25_000, cell * 25_000)).collect();
        let found = ranges(&scattered);
        assert!(found.len() <= RANGES_MAX && !found.is_empty(), "{}", found.len());
        let read: i64 = found.iter().map(|(_, first, end)| end - first).sum();
        assert!(read >= 4_000);
        assert!(
            found.is_sorted_by(|one, next| one.2 <= next.1),
            "in order, without a common offset"
        );
        let partitions: Vec<_> = (0..1_100).map(|partition| (partition, 0, 0)).collect();
        assert_eq!(ranges(&partitions).len(), 1_100, "partitions have no common range");
    }
}
