//! Which part of the log an audit has compared, by offset and by log time. Pure.

use std::collections::BTreeMap;

use crate::audit::difference_offsets::DifferenceOffsets;
use crate::audit::entry::LogPosition;
use crate::audit::log_times::{LogTimeRange, LogTimes};

/// Steps into which a window of any length is divided, to sample its log times.
const STEPS: i64 = 1_000;

/// Offsets of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComparedOffsets {
    /// First offset of the window.
    pub first: i64,
    /// Offset after the last one that was compared.
    pub end: i64,
}

/// The part of the log up to which nothing is left to process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessedLog {
    /// Log time of its begin, milliseconds since 1970.
    pub from_ms: i64,
    /// Log time of its end; `from_ms` where it is empty.
    pub until_ms: i64,
    /// Its offsets, by partition.
    pub offsets: BTreeMap<i32, ComparedOffsets>,
}

impl ProcessedLog {
    /// Whether it holds no time.
    pub fn is_empty(&self) -> bool {
        self.until_ms <= self.from_ms
    }
}

#[derive(Debug)]
struct ComparedPartition {
    offsets: ComparedOffsets,
    /// A record was reached that is too new to be compared.
    is_closed: bool,
    /// An unreadable batch that is too new to be compared.
    unreadable: Option<i64>,
    times: LogTimes,
}

impl ComparedPartition {
    fn new(first: i64, step_ms: i64) -> Self {
        Self {
            offsets: ComparedOffsets { first, end: first },
            is_closed: false,
            unreadable: None,
            times: LogTimes::new(step_ms),
        }
    }
}

/// What an audit has compared so far.
#[derive(Debug)]
pub struct ComparedLog {
    since_ms: i64,
    until_ms: i64,
    /// All records are compared, and the oldest one is the begin.
    is_whole: bool,
    partitions: BTreeMap<i32, ComparedPartition>,
}

impl ComparedLog {
    /// Nothing is compared yet. The run compares the records that were logged from `since_ms` until `until_ms`, of each
    /// partition from an offset on.
    pub fn new(since_ms: i64, until_ms: i64, firsts: impl Iterator<Item = (i32, i64)>) -> Self {
        let step_ms = (until_ms - since_ms) / STEPS;
        let partition = |(number, first)| (number, ComparedPartition::new(first, step_ms));
        Self { since_ms, until_ms, is_whole: false, partitions: firsts.map(partition).collect() }
    }

    /// Likewise, of an audit that compares all records which the log holds at `until_ms`.
    pub fn whole(until_ms: i64, firsts: impl Iterator<Item = (i32, i64)>) -> Self {
        let partition = |(number, first)| (number, ComparedPartition::new(first, 0));
        let partitions = firsts.map(partition).collect();
        Self { since_ms: until_ms, until_ms, is_whole: true, partitions }
    }

    /// A record is compared, or passed because it is too new. Records come in the order of their offsets.
    pub fn add(&mut self, position: LogPosition, logged_at_ms: i64) {
        let Some(own) = self.partitions.get_mut(&position.partition) else { return };
        if self.is_whole {
            self.since_ms = self.since_ms.min(logged_at_ms);
        } else {
            own.is_closed |= logged_at_ms > self.until_ms;
        }
        if !own.is_closed {
            own.offsets.end = position.offset + 1;
            own.times.add(position.offset, logged_at_ms);
        }
    }

    /// An unreadable batch is too new to be compared, and may be older than the records after it.
    pub fn add_new_batch(&mut self, first: LogPosition) {
        if let Some(own) = self.partitions.get_mut(&first.partition) {
            own.unreadable = Some(own.unreadable.map_or(first.offset, |it| it.min(first.offset)));
        }
    }

    /// The first offset of the window, by partition.
    pub fn firsts(&self) -> impl Iterator<Item = (i32, i64)> {
        self.partitions.iter().map(|(number, own)| (*number, own.offsets.first))
    }

    /// The part before the first record of each partition that is left to process.
    pub fn before(&self, lagging: &BTreeMap<i32, i64>) -> ProcessedLog {
        let mut until_ms = self.until_ms;
        let offsets = self.partitions.iter().map(|(number, own)| {
            let left = lagging.get(number).copied();
            let left = left.into_iter().chain(own.unreadable).min();
            let left = left.filter(|offset| *offset < own.offsets.end || !own.is_closed);
            let ComparedOffsets { first, mut end } = own.offsets;
            if let Some(offset) = left {
                end = end.min(offset).max(first);
                let logged_at_ms = own.times.before(offset).unwrap_or(self.since_ms);
                until_ms = until_ms.min(logged_at_ms - 1);
            }
            (*number, ComparedOffsets { first, end })
        });
        let offsets = offsets.collect();
        ProcessedLog { from_ms: self.since_ms, until_ms: until_ms.max(self.since_ms), offsets }
    }

    /// The times of all that is compared.
    pub fn times(&self) -> LogTimeRange {
        LogTimeRange { from_ms: self.since_ms, until_ms: self.until_ms.max(self.since_ms) }
    }

    /// The log times of records with differences, at most some steps too wide; `None` without one.
    pub fn times_of(&self, differences: &DifferenceOffsets) -> Option<LogTimeRange> {
        let all = self.times();
        let ranges = differences.iter().map(|(number, offsets)| {
            let times = self.partitions.get(&number).map(|own| &own.times);
            let from = times.and_then(|times| times.before(offsets.first));
            let until = times.and_then(|times| times.after(offsets.last));
            LogTimeRange {
                from_ms: from.unwrap_or(all.from_ms).clamp(all.from_ms, all.until_ms),
                until_ms: until.unwrap_or(all.until_ms).clamp(all.from_ms, all.until_ms),
            }
        });
        ranges.reduce(LogTimeRange::joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32, offset: i64) -> LogPosition {
        LogPosition { partition, offset }
    }

    fn processed(log: &ComparedLog, lagging: &[(i32, i64)]) -> (i64, Vec<(i64, i64)>) {
        let found = log.before(&lagging.iter().copied().collect());
        let offsets = found.offsets.values().map(|it| (it.first, it.end)).collect();
        (found.until_ms, offsets)
    }

    /// Partition 0 has a record each 10 ms from offset 5 on, and partition 1 none.
    fn log() -> ComparedLog {
        let mut log = ComparedLog::new(1_000, 2_000, [(0, 5), (1, 9)].into_iter());
        (0..150).for_each(|n| log.add(at(0, 5 + n), 1_000 + 10 * n));
        log.add(at(7, 1), 1_000);
        log
    }

    #[test]
    fn all_records_up_to_the_end_of_the_window_are_compared_and_none_after_it() {
        // Record 105 is logged at 2,000, and 106 after the window.
        assert_eq!(processed(&log(), &[]), (2_000, vec![(5, 106), (9, 9)]));
        assert_eq!(log().firsts().collect::<Vec<_>>(), [(0, 5), (1, 9)]);
    }

    #[test]
    fn the_processed_part_ends_before_the_first_lagging_record() {
        assert_eq!(processed(&log(), &[(0, 55)]), (1_499, vec![(5, 55), (9, 9)]));
        assert_eq!(processed(&log(), &[(0, 5)]), (1_000, vec![(5, 5), (9, 9)]));
        assert!(log().before(&[(0, 5)].into()).is_empty());
        // A record that was not compared is in no range.
        assert_eq!(processed(&log(), &[(0, 140)]), (2_000, vec![(5, 106), (9, 9)]));
    }

    #[test]
    fn an_unreadable_batch_that_is_too_new_ends_it_too() {
        let mut log = log();
        log.add_new_batch(at(0, 60));
        log.add_new_batch(at(0, 90));
        assert_eq!(processed(&log, &[]), (1_549, vec![(5, 60), (9, 9)]));
        assert_eq!(processed(&log, &[(0, 55)]), (1_499, vec![(5, 55), (9, 9)]));
        // Of a batch before all records, the time is not known.
        log.add_new_batch(at(1, 9));
        assert_eq!(processed(&log, &[]).0, 1_000);
    }

    #[test]
    fn the_times_of_differences_hold_their_records() {
        let log = log();
        let times = |offsets: &[(i32, i64)]| {
            let mut differences = DifferenceOffsets::default();
            offsets.iter().for_each(|(partition, offset)| differences.note(*partition, *offset));
            log.times_of(&differences).map(|it| (it.from_ms, it.until_ms))
        };
        assert_eq!(times(&[]), None);
        assert_eq!(times(&[(0, 6)]), Some((1_010, 1_010)));
        assert_eq!(times(&[(0, 90), (0, 10)]), Some((1_050, 1_850)));
        // Of a record after the last one, and of a partition without records, the time is not known.
        assert_eq!(times(&[(0, 110)]), Some((2_000, 2_000)));
        assert_eq!(times(&[(1, 9), (0, 6)]), Some((1_000, 2_000)));
    }

    #[test]
    fn a_whole_log_begins_with_its_oldest_record_and_has_no_record_that_is_too_new() {
        let empty = ComparedLog::whole(9_000, [(0, 0)].into_iter());
        assert_eq!((empty.times().from_ms, empty.times().until_ms), (9_000, 9_000));
        let mut log = ComparedLog::whole(9_000, [(0, 5), (1, 0)].into_iter());
        (0..100).for_each(|n| log.add(at(0, 5 + n), 1_000 + 100 * n));
        log.add(at(1, 0), 700);
        assert_eq!((log.times().from_ms, log.times().until_ms), (700, 9_000));
        assert_eq!(processed(&log, &[]), (9_000, vec![(5, 105), (0, 1)]));
        assert_eq!(processed(&log, &[(0, 15)]), (1_999, vec![(5, 15), (0, 1)]));
    }

    #[test]
    fn a_bounded_number_of_times_is_kept_and_a_time_is_never_too_late() {
        let day_ms = 86_400_000;
        let mut log = ComparedLog::new(0, day_ms, [(0, 0)].into_iter());
        let records = 20_000;
        let time = |n: i64| n * day_ms / records;
        (0..records).for_each(|n| log.add(at(0, n), time(n)));
        let kept = log.partitions[&0].times.kept();
        assert!((500..=1_001).contains(&kept), "{kept}");
        for n in [1, 2, 999, 10_000, records - 1] {
            let (until_ms, _) = processed(&log, &[(0, n)]);
            assert!(until_ms < time(n), "{n}: {until_ms}");
            assert!(until_ms > time(n) - day_ms / 400, "{n}: {until_ms}");
        }
    }
}
