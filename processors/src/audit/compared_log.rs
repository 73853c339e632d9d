//! Which part of the log a run of the continuous audit has compared, by offset and by log time. Pure.

use std::collections::BTreeMap;

use crate::audit::entry::LogPosition;

/// Log times that are kept of each partition at most, for a window of any length.
const TIMES_MAX: i64 = 1_000;

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
    /// Log times by ascending offset, as many as `TIMES_MAX` allows.
    times: Vec<(i64, i64)>,
}

impl ComparedPartition {
    /// The log time of the record at `offset`, or of one before it.
    fn logged_at_ms(&self, offset: i64) -> Option<i64> {
        let after = self.times.partition_point(|(first, _)| *first <= offset);
        self.times[..after].last().map(|(_, logged_at_ms)| *logged_at_ms)
    }
}

/// What a run has compared so far.
#[derive(Debug)]
pub struct ComparedLog {
    since_ms: i64,
    until_ms: i64,
    partitions: BTreeMap<i32, ComparedPartition>,
}

impl ComparedLog {
    /// Nothing is compared yet. The run compares the records that were logged from `since_ms` until `until_ms`, of each
    /// partition from an offset on.
    pub fn new(since_ms: i64, until_ms: i64, firsts: impl Iterator<Item = (i32, i64)>) -> Self {
        let partition = |first| ComparedPartition {
            offsets: ComparedOffsets { first, end: first },
            is_closed: false,
            unreadable: None,
            times: Vec::new(),
        };
        let partitions = firsts.map(|(number, first)| (number, partition(first))).collect();
        Self { since_ms, until_ms, partitions }
    }

    /// A record is compared, or passed because it is too new. Records come in the order of their offsets.
    pub fn add(&mut self, position: LogPosition, logged_at_ms: i64) {
        let step_ms = (self.until_ms - self.since_ms) / TIMES_MAX;
        let until_ms = self.until_ms;
        let Some(own) = self.partitions.get_mut(&position.partition) else { return };
        own.is_closed |= logged_at_ms > until_ms;
        if own.is_closed {
            return;
        }
        own.offsets.end = position.offset + 1;
        if own.times.last().is_none_or(|(_, last_ms)| logged_at_ms > last_ms + step_ms) {
            own.times.push((position.offset, logged_at_ms));
        }
    }

    /// An unreadable batch is too new to be compared, and may be older than the records behind it.
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
                let logged_at_ms = own.logged_at_ms(offset).unwrap_or(self.since_ms);
                until_ms = until_ms.min(logged_at_ms - 1);
            }
            (*number, ComparedOffsets { first, end })
        });
        let offsets = offsets.collect();
        ProcessedLog { from_ms: self.since_ms, until_ms: until_ms.max(self.since_ms), offsets }
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
    fn a_bounded_number_of_times_is_kept_and_a_time_is_never_too_late() {
        let day_ms = 86_400_000;
        let mut log = ComparedLog::new(0, day_ms, [(0, 0)].into_iter());
        let records = 20_000;
        let time = |n: i64| n * day_ms / records;
        (0..records).for_each(|n| log.add(at(0, n), time(n)));
        let kept = log.partitions[&0].times.len();
        assert!((500..=1_001).contains(&kept), "{kept}");
        for n in [1, 2, 999, 10_000, records - 1] {
            let (until_ms, _) = processed(&log, &[(0, n)]);
            assert!(until_ms < time(n), "{n}: {until_ms}");
            assert!(until_ms > time(n) - day_ms / 400, "{n}: {until_ms}");
        }
    }
}
