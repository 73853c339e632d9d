//! How far the range of one partition is read, by position. Pure.
//!
//! The last offsets of a range may hold no record (control records, aborted transactions, compaction). So a
//! range ends when its position reaches its end, not when its last offset was read: that is known when a
//! record at or beyond the end is read, or when the partition has no more records.

use crate::replay::log_range::LogRange;

/// The progress of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeProgress {
    range: LogRange,
    position: i64,
    /// The log reached the end of the range before the reader read on from its position.
    is_end_confirmed: bool,
}

impl RangeProgress {
    /// A range of which nothing was read.
    pub fn new(range: LogRange) -> Self {
        Self { range, position: range.first, is_end_confirmed: false }
    }

    /// Reading starts, or starts again, at a position.
    pub fn start(&mut self, position: i64) {
        (self.position, self.is_end_confirmed) = (position, false);
    }

    /// Notes that the record of an offset was read. Returns whether it is of the range.
    pub fn take(&mut self, offset: i64) -> bool {
        let is_own = self.range.contains(offset);
        if is_own {
            self.pass(offset + 1);
        }
        is_own
    }

    /// Whether an offset is after the range.
    pub fn is_beyond(&self, offset: i64) -> bool {
        offset >= self.range.end
    }

    /// Notes that all records before a position were read or passed.
    pub fn pass(&mut self, position: i64) {
        self.position = self.position.max(position);
    }

    /// Whether a log whose next offset is `high` has all records of the range.
    pub fn is_within(&self, high: i64) -> bool {
        high >= self.range.end
    }

    /// Notes that the log has all records of the range, and that the reader reads on from its position.
    pub fn confirm_end(&mut self) {
        self.is_end_confirmed = true;
    }

    /// Whether the range ends when the partition has no more records. A leader that was just elected may
    /// report an earlier end of the partition at first, which is not the end of the range.
    pub fn ends_with_log(&self) -> bool {
        self.is_end_confirmed || self.has_ended()
    }

    /// Notes that all records before the end were read. Returns the offsets since the last record, which
    /// hold none; `None` if there are no such offsets, or the range has ended before.
    pub fn end(&mut self) -> Option<LogRange> {
        let gap = LogRange { first: self.position.max(self.range.first), end: self.range.end };
        self.pass(self.range.end);
        (gap.first < gap.end).then_some(gap)
    }

    /// Whether the range has ended.
    pub fn has_ended(&self) -> bool {
        self.position >= self.range.end
    }

    /// Offsets that are left to read.
    pub fn left(&self) -> u64 {
        LogRange { first: self.position.max(self.range.first), ..self.range }.offsets()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: LogRange = LogRange { first: 10, end: 20 };

    #[test]
    fn a_range_ends_with_its_last_offset_if_that_holds_a_record() {
        let mut progress = RangeProgress::new(RANGE);
        assert_eq!((progress.left(), progress.has_ended()), (10, false));
        assert!(!progress.take(9), "before the range");
        assert!(progress.take(10) && progress.take(18));
        assert_eq!((progress.left(), progress.has_ended()), (1, false));
        assert!(progress.take(19) && progress.has_ended());
        assert!(!progress.take(20) && progress.is_beyond(20) && !progress.is_beyond(9));
        assert_eq!((progress.end(), progress.left()), (None, 0));
    }

    #[test]
    fn offsets_without_a_record_at_the_end_are_a_gap_that_is_returned_once() {
        let mut progress = RangeProgress::new(RANGE);
        progress.take(16);
        assert_eq!(progress.end(), Some(LogRange { first: 17, end: 20 }));
        assert!(progress.has_ended());
        assert_eq!(progress.end(), None);
        // None of its offsets holds a record.
        let mut empty = RangeProgress::new(RANGE);
        assert_eq!(empty.end(), Some(RANGE));
        // A batch that cannot be read reaches beyond the end.
        let mut passed = RangeProgress::new(RANGE);
        passed.pass(25);
        assert_eq!((passed.end(), passed.has_ended()), (None, true));
    }

    #[test]
    fn the_end_of_the_log_ends_a_range_only_if_the_log_was_seen_to_reach_it_before() {
        let mut progress = RangeProgress::new(RANGE);
        progress.take(16);
        assert!(!progress.ends_with_log() && !progress.is_within(19) && progress.is_within(20));
        progress.confirm_end();
        assert!(progress.ends_with_log());
        progress.start(17);
        assert!(!progress.ends_with_log(), "a new assignment reads again");
        progress.pass(20);
        assert!(progress.ends_with_log());
    }

    #[test]
    fn a_new_assignment_continues_at_its_own_position() {
        let mut progress = RangeProgress::new(RANGE);
        progress.take(18);
        progress.start(12);
        assert_eq!(progress.left(), 8);
        progress.start(20);
        assert_eq!((progress.left(), progress.has_ended(), progress.end()), (0, true, None));
        // Retention deleted the whole range.
        progress.start(90);
        assert_eq!((progress.left(), progress.has_ended(), progress.end()), (0, true, None));
        // Another client reset the group to the start of the log.
        progress.start(0);
        assert!(!progress.take(5));
        assert_eq!((progress.left(), progress.end()), (10, Some(RANGE)));
    }
}
