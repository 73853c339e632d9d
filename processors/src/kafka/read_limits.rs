//! Which offsets a member of a group reads, where it reads a part of the log only.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use records::replay::log_range::LogRange;
use records::replay::range_progress::RangeProgress;
use service::lock::lock;

/// Ranges of each partition that is read; the member neither reads nor commits other partitions.
#[derive(Debug)]
pub struct ReadLimits {
    ranges: Mutex<BTreeMap<i32, RangeProgress>>,
    is_paused: AtomicBool,
}

/// What follows in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadStep {
    /// A record of the range that is read.
    Record,
    /// Offsets before the next range, which are not to be read.
    Gap(LogRange),
    /// No record is left to read.
    Ended,
}

impl ReadStep {
    /// What follows at the position.
    fn of(progress: &mut RangeProgress) -> Self {
        match progress.skip() {
            Some(gap) => Self::Gap(gap),
            None if progress.has_ended() => Self::Ended,
            None => Self::Record,
        }
    }
}

impl ReadLimits {
    /// Limits of these partitions. The ranges of each are in ascending order, without a common offset.
    pub fn new(ranges: impl IntoIterator<Item = (i32, Vec<LogRange>)>) -> Self {
        let progress = |(partition, ranges)| (partition, RangeProgress::new(ranges));
        let ranges = Mutex::new(ranges.into_iter().map(progress).collect());
        Self { ranges, is_paused: AtomicBool::new(false) }
    }

    /// Whether the partition has ranges.
    pub(super) fn covers(&self, partition: i32) -> bool {
        lock(&self.ranges).contains_key(&partition)
    }

    /// Reading of a partition starts at a position.
    pub(super) fn start(&self, partition: i32, position: i64) {
        self.change(partition, |progress| progress.start(position));
    }

    /// Notes that a record was read. Returns whether it is to be processed, and what follows it; `None`: it is
    /// after the range that is read. The offsets of a gap are passed by this call.
    pub(super) fn read(&self, partition: i32, offset: i64) -> Option<(bool, ReadStep)> {
        let read = |progress: &mut RangeProgress| {
            let is_own = progress.take(offset);
            (is_own || !progress.is_beyond(offset)).then(|| (is_own, ReadStep::of(progress)))
        };
        self.change(partition, read).flatten()
    }

    /// Whether the offset is after the range that is read.
    pub(super) fn is_beyond(&self, partition: i32, offset: i64) -> bool {
        self.change(partition, |progress| progress.is_beyond(offset)).unwrap_or(true)
    }

    /// Notes that reading of a partition continues at a position.
    pub(super) fn pass(&self, partition: i32, position: i64) {
        self.change(partition, |progress| progress.pass(position));
    }

    /// Notes that no record of the range that is read follows. Returns the offsets that are passed, up to the
    /// next range.
    pub(super) fn end(&self, partition: i32) -> Option<LogRange> {
        self.change(partition, RangeProgress::end).flatten()
    }

    /// The next offset to read; `None` when no record is left to read.
    pub(super) fn next_offset(&self, partition: i32) -> Option<i64> {
        self.change(partition, |progress| progress.next_offset()).flatten()
    }

    /// Whether a log whose next offset is `high` has all records of the range.
    pub(super) fn is_within(&self, partition: i32, high: i64) -> bool {
        self.change(partition, |progress| progress.is_within(high)).unwrap_or(false)
    }

    /// Notes that the log has all records of the range, and that the member reads on from its position.
    pub(super) fn confirm_end(&self, partition: i32) {
        self.change(partition, RangeProgress::confirm_end);
    }

    /// Whether the range ends when the partition has no more records.
    pub(super) fn ends_with_log(&self, partition: i32) -> bool {
        self.change(partition, |progress| progress.ends_with_log()).unwrap_or(false)
    }

    /// Notes whether the member has paused all partitions.
    pub(super) fn set_paused(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
    }

    /// Whether the member has to resume a partition of which it starts to read again: the end of its ranges
    /// has paused it.
    pub(super) fn has_to_resume(&self, partition: i32) -> bool {
        !self.is_paused.load(Ordering::Relaxed) && !self.has_ended(partition)
    }

    /// Whether no record of the partition is read any more.
    pub(super) fn has_ended(&self, partition: i32) -> bool {
        self.change(partition, |progress| progress.has_ended()).unwrap_or(true)
    }

    /// Offsets that are left to read.
    pub(super) fn left(&self, partition: i32) -> u64 {
        self.change(partition, |progress| progress.left()).unwrap_or(0)
    }

    fn change<T>(&self, partition: i32, change: impl FnOnce(&mut RangeProgress) -> T) -> Option<T> {
        lock(&self.ranges).get_mut(&partition).map(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_each_range_follows_a_gap_and_after_the_last_one_nothing() {
        let range = |first, end| LogRange { first, end };
        let limits = ReadLimits::new([(1, vec![range(5, 9), range(20, 22)])]);
        limits.start(1, 5);
        assert_eq!(limits.read(1, 7), Some((true, ReadStep::Record)));
        assert_eq!(limits.read(1, 8), Some((true, ReadStep::Gap(range(9, 20)))));
        assert_eq!(
            (limits.read(1, 9), limits.next_offset(1)),
            (Some((false, ReadStep::Record)), Some(20))
        );
        assert_eq!(limits.read(1, 21), Some((true, ReadStep::Ended)));
        assert_eq!(
            (limits.next_offset(1), limits.read(1, 22), limits.read(0, 5)),
            (None, None, None)
        );
    }

    #[test]
    fn a_partition_whose_range_had_ended_is_resumed_after_a_reset_unless_all_are_paused() {
        let limits = ReadLimits::new([(1, vec![LogRange { first: 5, end: 9 }])]);
        limits.start(1, 5);
        assert_eq!(limits.read(1, 8), Some((true, ReadStep::Ended)));
        assert!(!limits.has_to_resume(1), "its range has ended");
        limits.start(1, 5);
        assert!(limits.has_to_resume(1) && !limits.has_to_resume(0));
        limits.set_paused(true);
        assert!(!limits.has_to_resume(1));
    }
}
