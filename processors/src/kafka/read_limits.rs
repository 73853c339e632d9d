//! Which offsets a member of a group reads, where it reads a part of the log only.

use std::collections::BTreeMap;
use std::sync::Mutex;

use records::replay::log_range::LogRange;
use records::replay::range_progress::RangeProgress;
use service::lock::lock;

/// A range of each partition that is read; the member neither reads nor commits other partitions.
#[derive(Debug)]
pub struct ReadLimits(Mutex<BTreeMap<i32, RangeProgress>>);

impl ReadLimits {
    /// Limits of these partitions.
    pub fn new(ranges: impl IntoIterator<Item = (i32, LogRange)>) -> Self {
        let progress = |(partition, range)| (partition, RangeProgress::new(range));
        Self(Mutex::new(ranges.into_iter().map(progress).collect()))
    }

    /// Whether the partition has a range.
    pub(super) fn covers(&self, partition: i32) -> bool {
        lock(&self.0).contains_key(&partition)
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

    /// Whether no record of the partition is read any more.
    pub(super) fn has_ended(&self, partition: i32) -> bool {
        self.change(partition, |progress| progress.has_ended()).unwrap_or(true)
    }

    /// Offsets that are left to read.
    pub(super) fn left(&self, partition: i32) -> u64 {
        self.change(partition, |progress| progress.left()).unwrap_or(0)
    }

    fn change<T>(&self, partition: i32, change: impl FnOnce(&mut RangeProgress) -> T) -> Option<T> {
        lock(&self.0).get_mut(&partition).map(change)
    }
}
