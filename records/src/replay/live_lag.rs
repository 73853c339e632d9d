//! How late live processing is, by the committed positions of its group. Pure.

use crate::replay::log_range::LogRange;

/// One partition of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivePartition {
    /// What the log holds: first offset, and position after the last record.
    pub held: LogRange,
    /// The committed position of the group.
    pub committed: Option<i64>,
    /// The first offset whose record may still wait; those before it are late.
    pub late_end: i64,
}

/// What live processing has not committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LiveLag {
    /// Offsets.
    pub records: u64,
    /// The late ones of the partition that has most of them: the last offsets of each may hold no record, and
    /// no position passes those.
    pub late: u64,
    /// The group has a position. A group without any does not process this log, and is not late.
    pub has_positions: bool,
}

impl LiveLag {
    /// The lag in all partitions. A group that has a position reads each other partition from its start.
    pub fn of(partitions: &[LivePartition]) -> Self {
        if partitions.iter().all(|own| own.committed.is_none()) {
            return Self::default();
        }
        let left = |own: &LivePartition, end: i64| {
            let first = own.committed.unwrap_or(own.held.first).max(own.held.first);
            LogRange { first, end: end.min(own.held.end) }.offsets()
        };
        Self {
            records: partitions.iter().map(|own| left(own, own.held.end)).sum(),
            late: partitions.iter().map(|own| left(own, own.late_end)).max().unwrap_or_default(),
            has_positions: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(committed: Option<i64>, late_end: i64) -> LivePartition {
        LivePartition { held: LogRange { first: 10, end: 100 }, committed, late_end }
    }

    #[test]
    fn late_offsets_are_those_before_a_time_that_the_group_has_not_committed() {
        for (committed, late_end, records, late) in
            [(100, 100, 0, 0), (90, 95, 10, 5), (90, 80, 10, 0), (5, 200, 90, 90), (120, 100, 0, 0)]
        {
            let lag = LiveLag::of(&[partition(Some(committed), late_end)]);
            assert_eq!((lag.records, lag.late), (records, late), "{committed} {late_end}");
        }
    }

    #[test]
    fn a_partition_without_a_position_is_late_only_if_another_has_one() {
        let unread = partition(None, 60);
        assert_eq!(LiveLag::of(&[unread, unread]), LiveLag::default());
        let lag = LiveLag::of(&[unread, partition(Some(100), 60)]);
        assert_eq!(lag, LiveLag { records: 90, late: 50, has_positions: true });
    }
}
