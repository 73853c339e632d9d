//! Which offsets a member of a group reads, where it reads a part of the log only.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use records::replay::log_range::LogRange;
use records::replay::range_progress::RangeProgress;
use service::lock::lock;

/// A range of each partition that is read; the member neither reads nor commits other partitions.
#[derive(Debug)]
pub struct ReadLimits {
    ranges: Mutex<BTreeMap<i32, RangeProgress>>,
    is_paused: AtomicBool,
}

impl ReadLimits {
    /// Limits of these partitions.
    pub fn new(ranges: impl IntoIterator<Item = (i32, LogRange)>) -> Self {
        let progress = |(partition, range)| (partition, RangeProgress::new(range));
        let ranges = Mutex::new(ranges.into_iter().map(progress).collect());
        Self { ranges, is_paused: AtomicBool::new(false) }
    }

    /// Whether the partition has a range.
    pub(super) fn covers(&self, partition: i32) -> bool {
        lock(&self.ranges).contains_key(&partition)
    }

    /// Reading of a partition starts at a position.
    pub(super) fn start(&self, partition: i32, position: i64) {
        self.change(partition, |progress| progress.start(position));
    }

    /// Notes that a record was read; `false` if it is not to be processed.
    pub(super) fn take(&self, partition: i32, offset: i64) -> bool {
        self.change(partition, |progress| progress.take(offset)).unwrap_or(false)
    }

    /// Whether the offset is after the range.
    pub(super) fn is_beyond(&self, partition: i32, offset: i64) -> bool {
        self.change(partition, |progress| progress.is_beyond(offset)).unwrap_or(true)
    }

    /// Notes that reading of a partition continues at a position.
    pub(super) fn pass(&self, partition: i32, position: i64) {
        self.change(partition, |progress| progress.pass(position));
    }

    /// Notes that no record of the range follows. Returns the offsets at its end that hold none.
    pub(super) fn end(&self, partition: i32) -> Option<LogRange> {
        self.change(partition, RangeProgress::end).flatten()
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

    /// Whether the member has to resume a partition of which it starts to read again: the end of the range
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
    fn a_partition_whose_range_had_ended_is_resumed_after_a_reset_unless_all_are_paused() {
        let limits = ReadLimits::new([(1, LogRange { first: 5, end: 9 })]);
        limits.start(1, 5);
        assert!(limits.take(1, 8) && !limits.has_to_resume(1), "its range has ended");
        limits.start(1, 5);
        assert!(limits.has_to_resume(1) && !limits.has_to_resume(0));
        limits.set_paused(true);
        assert!(!limits.has_to_resume(1));
    }
}
