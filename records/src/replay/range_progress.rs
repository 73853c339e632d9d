//! How far the ranges of one partition are read, by position. Pure.
//!
//! The last offsets of a range may hold no record (control records, aborted transactions, compaction). So a
//! range ends when its position reaches its end, not when its last offset was read: that is known when a
//! record at or beyond the end is read, or when the partition has no more records. The offsets between two
//! ranges are passed like offsets without a record.

use crate::replay::log_range::LogRange;

/// The progress of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeProgress {
    /// In ascending order, without a common offset.
    ranges: Vec<LogRange>,
    /// Number of the ranges that end at or before the position.
    ended: usize,
    position: i64,
    /// The log reached the end of the current range before the reader read on from its position.
    is_end_confirmed: bool,
}

impl RangeProgress {
    /// Ranges of which nothing was read.
    pub fn new(ranges: Vec<LogRange>) -> Self {
        debug_assert!(ranges.is_sorted_by(|one, next| one.end <= next.first), "{ranges:?}");
        let position = ranges.first().map_or(0, |range| range.first);
        Self { ranges, ended: 0, position, is_end_confirmed: false }
    }

    /// Reading starts, or starts again, at a position.
    pub fn start(&mut self, position: i64) {
        self.ended = self.ranges.partition_point(|range| range.end <= position);
        (self.position, self.is_end_confirmed) = (position, false);
    }

    /// The range that is read: the first one that has not ended.
    fn current(&self) -> Option<LogRange> {
        self.ranges.get(self.ended).copied()
    }

    /// Notes that the record of an offset was read. Returns whether it is of a range, and was not read before.
    pub fn take(&mut self, offset: i64) -> bool {
        let is_own = self.current().is_some_and(|range| range.contains(offset));
        let is_own = is_own && offset >= self.position;
        if is_own {
            // The end was one of a former leader.
            self.is_end_confirmed = false;
            self.pass(offset + 1);
        }
        is_own
    }

    /// Whether an offset is after the current range.
    pub fn is_beyond(&self, offset: i64) -> bool {
        self.current().is_none_or(|range| offset >= range.end)
    }

    /// Notes that all records before a position were read or passed.
    pub fn pass(&mut self, position: i64) {
        self.position = self.position.max(position);
        while self.current().is_some_and(|range| range.end <= self.position) {
            (self.ended, self.is_end_confirmed) = (self.ended + 1, false);
        }
    }

    /// Whether a log whose next offset is `high` has all records of the current range.
    pub fn is_within(&self, high: i64) -> bool {
        self.current().is_none_or(|range| high >= range.end)
    }

    /// Notes that the log has all records of the current range, and that the reader reads on from its position.
    pub fn confirm_end(&mut self) {
        self.is_end_confirmed = true;
    }

    /// Whether the current range ends when the partition has no more records. A leader that was just elected
    /// may report an earlier end of the partition at first, which is not the end of the range.
    pub fn ends_with_log(&self) -> bool {
        self.is_end_confirmed || self.has_ended()
    }

    /// Notes that all records of the current range were read. Returns the offsets since the last record up to
    /// the next range, which are not to be read; `None` if there are no such offsets, or all ranges have ended.
    pub fn end(&mut self) -> Option<LogRange> {
        let range = self.current()?;
        let first = self.position.max(range.first);
        self.pass(range.end);
        let end = self.skip().map_or(range.end, |gap| gap.end);
        (first < end).then_some(LogRange { first, end })
    }

    /// Passes the offsets between the position and the current range, and returns them; `None` if there are
    /// none.
    pub fn skip(&mut self) -> Option<LogRange> {
        let gap = LogRange { first: self.position, end: self.current()?.first };
        self.pass(gap.end);
        (gap.first < gap.end).then_some(gap)
    }

    /// The next offset to read; `None` when all ranges have ended.
    pub fn next_offset(&self) -> Option<i64> {
        self.current().map(|range| self.position.max(range.first))
    }

    /// Whether all ranges have ended.
    pub fn has_ended(&self) -> bool {
        self.current().is_none()
    }

    /// Offsets of the ranges that are left to read.
    pub fn left(&self) -> u64 {
        let left = |range: &LogRange| LogRange { first: self.position.max(range.first), ..*range };
        self.ranges.iter().skip(self.ended).map(|range| left(range).offsets()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: LogRange = LogRange { first: 10, end: 20 };
    const NEXT: LogRange = LogRange { first: 30, end: 40 };

    fn one() -> RangeProgress {
        RangeProgress::new(vec![RANGE])
    }

    fn two() -> RangeProgress {
        RangeProgress::new(vec![RANGE, NEXT])
    }

    #[test]
    fn a_range_ends_with_its_last_offset_if_that_holds_a_record() {
        let mut progress = one();
        assert_eq!((progress.left(), progress.has_ended()), (10, false));
        assert!(!progress.take(9), "before the range");
        assert!(progress.take(10) && progress.take(18));
        assert_eq!((progress.left(), progress.has_ended()), (1, false));
        assert!(!progress.take(18), "read before");
        assert!(progress.take(19) && progress.has_ended());
        assert!(!progress.take(20) && progress.is_beyond(20));
        assert_eq!((progress.end(), progress.skip(), progress.next_offset()), (None, None, None));
        assert_eq!(progress.left(), 0);
    }

    #[test]
    fn after_a_range_the_offsets_up_to_the_next_one_are_a_gap() {
        let mut progress = two();
        assert_eq!(
            (progress.left(), progress.skip(), progress.next_offset()),
            (20, None, Some(10))
        );
        assert!(progress.take(19) && !progress.has_ended());
        assert_eq!(progress.skip(), Some(LogRange { first: 20, end: 30 }));
        assert_eq!(
            (progress.skip(), progress.next_offset(), progress.left()),
            (None, Some(30), 10)
        );
        assert!(!progress.take(25) && !progress.is_beyond(25), "fetched before the reader went on");
        assert!(progress.take(30) && progress.is_beyond(40) && progress.take(39));
        assert!(progress.has_ended());
        // The last offsets of the first range hold no record.
        let mut progress = two();
        progress.take(16);
        assert!(progress.is_beyond(27));
        assert_eq!(progress.end(), Some(LogRange { first: 17, end: 30 }));
        assert_eq!((progress.next_offset(), progress.end()), (Some(30), Some(NEXT)));
        assert_eq!((progress.end(), progress.has_ended()), (None, true));
        // A batch that cannot be read reaches into the second range.
        let mut progress = two();
        progress.pass(33);
        assert_eq!((progress.skip(), progress.next_offset(), progress.left()), (None, Some(33), 7));
    }

    #[test]
    fn the_end_of_one_range_does_not_confirm_the_end_of_the_next() {
        let mut progress = two();
        assert!(progress.is_within(20) && !progress.is_within(19));
        progress.confirm_end();
        progress.end();
        assert!(!progress.ends_with_log() && !progress.is_within(39));
    }

    #[test]
    fn offsets_without_a_record_at_the_end_are_a_gap_that_is_returned_once() {
        let mut progress = one();
        progress.take(16);
        assert_eq!(progress.end(), Some(LogRange { first: 17, end: 20 }));
        assert!(progress.has_ended());
        assert_eq!(progress.end(), None);
        // None of its offsets holds a record.
        let mut empty = one();
        assert_eq!(empty.end(), Some(RANGE));
        // A batch that cannot be read reaches beyond the end.
        let mut passed = one();
        passed.pass(25);
        assert_eq!((passed.end(), passed.has_ended()), (None, true));
    }

    #[test]
    fn the_end_of_the_log_ends_a_range_only_if_the_log_was_seen_to_reach_it_before() {
        let mut progress = one();
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
        let mut progress = one();
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
        let mut progress = two();
        progress.start(25);
        assert_eq!((progress.left(), progress.next_offset()), (10, Some(30)));
        assert_eq!(progress.skip(), Some(LogRange { first: 25, end: 30 }));
        progress.start(5);
        assert_eq!(progress.skip(), Some(LogRange { first: 5, end: 10 }));
    }
}
