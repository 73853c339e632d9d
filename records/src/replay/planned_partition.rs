//! What a replay reads of one partition, and what retention has deleted of it. Pure.

use crate::replay::log_range::LogRange;

/// A partition when the replay is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionFacts {
    /// What the log holds: first offset, and position after the last record.
    pub held: LogRange,
    /// What the window names. By log time, its first offset is that of the first record that is held and in
    /// the window.
    pub named: LogRange,
    /// Whether the window names offsets, so that it is known how many were deleted.
    pub names_offsets: bool,
}

/// The plan of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPartition {
    /// Partition.
    pub partition: i32,
    /// What is read, in ascending order; without a range where nothing is.
    pub ranges: Vec<LogRange>,
    /// What retention has deleted of the window.
    pub deleted: DeletedOffsets,
}

/// What retention has deleted of a window in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletedOffsets {
    /// So many offsets.
    Exactly(u64),
    /// The log begins inside the window or at its start: an unknown part of the offsets that are deleted
    /// was in the window.
    AtMost(u64),
}

impl PlannedPartition {
    /// Narrows what the window names to what the log holds.
    pub fn of(partition: i32, facts: PartitionFacts) -> Self {
        let PartitionFacts { held, named, names_offsets } = facts;
        let first = named.first.max(held.first);
        let range = LogRange { first, end: named.end.min(held.end).max(first) };
        let before = LogRange { first: named.first, end: named.end.min(held.first) };
        let deleted = match names_offsets {
            true => DeletedOffsets::Exactly(before.offsets()),
            // Records before the first one that is held may be in the window, if that one is or may be.
            false if held.first > 0 && named.first <= held.first => {
                DeletedOffsets::AtMost(held.first.unsigned_abs())
            }
            false => DeletedOffsets::Exactly(0),
        };
        let ranges = if range.offsets() > 0 { vec![range] } else { Vec::new() };
        Self { partition, ranges, deleted }
    }

    /// Ranges of offsets that the log holds.
    pub fn held(partition: i32, ranges: Vec<LogRange>) -> Self {
        Self { partition, ranges, deleted: DeletedOffsets::Exactly(0) }
    }

    /// Number of the offsets that are read.
    pub fn offsets(&self) -> u64 {
        self.ranges.iter().map(|range| range.offsets()).sum()
    }

    /// From the first range to the end of the last one; `None` without a range.
    pub fn bounds(&self) -> Option<LogRange> {
        Some(LogRange { first: self.ranges.first()?.first, end: self.ranges.last()?.end })
    }
}

impl DeletedOffsets {
    /// Whether nothing was deleted.
    pub fn is_none(self) -> bool {
        matches!(self, Self::Exactly(0))
    }

    /// The largest possible number.
    pub fn most(self) -> u64 {
        match self {
            Self::Exactly(offsets) | Self::AtMost(offsets) => offsets,
        }
    }
}

impl std::fmt::Display for DeletedOffsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(offsets) => write!(f, "{offsets}"),
            Self::AtMost(offsets) => write!(f, "at most {offsets}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The range, zeros without one, and what is deleted.
    fn planned(held: (i64, i64), named: (i64, i64), names_offsets: bool) -> (i64, i64, String) {
        let range = |(first, end)| LogRange { first, end };
        let facts = PartitionFacts { held: range(held), named: range(named), names_offsets };
        let planned = PlannedPartition::of(2, facts);
        let range = planned.bounds().unwrap_or(LogRange { first: 0, end: 0 });
        assert_eq!(planned.offsets(), range.offsets());
        (range.first, range.end, planned.deleted.to_string())
    }

    #[test]
    fn offsets_are_narrowed_to_the_log_and_the_deleted_ones_are_counted() {
        for (held, named, expected) in [
            ((0, 100), (10, 20), (10, 20, "0")),
            ((0, 100), (90, 200), (90, 100, "0")),
            ((15, 100), (10, 20), (15, 20, "5")),
            ((50, 100), (10, 20), (0, 0, "10")),
            ((0, 5), (10, 20), (0, 0, "0")),
        ] {
            let (first, end, deleted) = planned(held, named, true);
            assert_eq!((first, end, deleted.as_str()), expected, "{held:?} {named:?}");
        }
    }

    #[test]
    fn of_a_time_only_a_bound_of_what_is_deleted_is_known() {
        for (held, named, expected) in [
            ((0, 100), (0, 20), (0, 20, "0")),
            ((15, 100), (15, 20), (15, 20, "at most 15")),
            // A record that is older than the window is held.
            ((15, 100), (16, 20), (16, 20, "0")),
        ] {
            let (first, end, deleted) = planned(held, named, false);
            assert_eq!((first, end, deleted.as_str()), expected, "{held:?} {named:?}");
        }
        assert!(DeletedOffsets::Exactly(0).is_none() && !DeletedOffsets::AtMost(3).is_none());
        assert_eq!(DeletedOffsets::AtMost(3).most(), 3);
    }
}
