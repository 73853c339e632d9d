//! Rows of the window of a replay that no record of its ranges has replaced, by cause.
//!
//! Such a row is of the time before the replay, and its click is not among the clicks of the ranges. It keeps
//! the rules of then: nothing is deleted. A click of the ranges whose row is old is no orphan: the verdict
//! counts it as missing or as dead-lettered.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use broker::ServerError;
use records::replay::log_range::LogRange;

use crate::audit::entry::{Id, LogPosition, hex};
use crate::audit::examples::Examples;
use crate::audit::external_sort::{Sorted, Sorter};
use crate::audit::window::TimedEntry;

/// Bytes of a position, a time and an id.
const BYTES: usize = 36;
const POSITION_BYTES: usize = 12;

/// A row of the window that is older than the replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OldRow {
    pub(crate) occurred_at_us: i64,
    pub(crate) event_id: Id,
    /// Whether it names the topic of the plan.
    pub(crate) is_of_topic: bool,
    /// The record that it names.
    pub(crate) position: LogPosition,
}

/// How many rows are orphaned, by cause.
#[derive(Debug, Default)]
pub(crate) struct OrphanedRows {
    /// The log no longer holds the record that the row names.
    pub(crate) expired: u64,
    /// The record that the row names cannot become a row now.
    pub(crate) undecodable: u64,
    /// The row names a record of another topic.
    pub(crate) other_topic: u64,
    /// The log holds another click, or none, where the row names its record: the topic was recreated, or
    /// another program inserts into the table.
    pub(crate) not_in_log: u64,
    not_in_log_examples: Examples<Id>,
}

impl OrphanedRows {
    /// The first rows without an explanation.
    pub(crate) fn examples(&self) -> Vec<String> {
        self.not_in_log_examples.texts(hex)
    }
}

/// The rows of a window that may be orphaned.
#[derive(Debug)]
pub(crate) struct OldRows {
    found: OrphanedRows,
    ranges: BTreeMap<i32, Vec<LogRange>>,
    lows: BTreeMap<i32, i64>,
    by_position: Sorter<BYTES>,
    by_event: Sorter<BYTES>,
    /// No row has to be compared with the log.
    is_explained: bool,
}

impl OldRows {
    /// None yet. `lows` are the first offsets of the ranges that the log holds.
    pub(crate) fn new(
        ranges: BTreeMap<i32, Vec<LogRange>>,
        lows: BTreeMap<i32, i64>,
        [by_position, by_event]: [Sorter<BYTES>; 2],
    ) -> Self {
        let found = OrphanedRows::default();
        Self { found, ranges, lows, by_position, by_event, is_explained: true }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// The disk is full.
    pub(crate) fn push(&mut self, row: OldRow) -> Result<(), ServerError> {
        let LogPosition { partition, offset } = row.position;
        if !row.is_of_topic {
            self.found.other_topic += 1;
            return Ok(());
        }
        let ranges = self.ranges.get(&partition).map(Vec::as_slice).unwrap_or_default();
        let next = ranges.partition_point(|range| range.end <= offset);
        let is_own = ranges.get(next).is_some_and(|range| range.contains(offset));
        // A partition without a range, and the log before the first one, held no record of the window when
        // the replay was planned. Between two ranges, no row was selected.
        if self.lows.get(&partition).is_none_or(|low| offset < *low) {
            self.found.expired += u64::from(is_own || next == 0);
            return Ok(());
        }
        if is_own {
            self.is_explained = false;
            return self.by_position.push(position_first(row));
        }
        Ok(())
    }

    /// Compares the rows with the records of the ranges, both sorted. Blocks.
    ///
    /// # Errors
    /// The disk is full, or cannot be read.
    pub(crate) fn orphaned(
        self,
        events: &Sorted<36>,
        undecodable: &Sorted<12>,
    ) -> Result<OrphanedRows, ServerError> {
        let Self { mut found, by_position, mut by_event, is_explained, .. } = self;
        if is_explained {
            return Ok(found);
        }
        let (rows, bad) = (by_position.sorted()?, undecodable.iter());
        let at = |row: &[u8; BYTES], bad: &[u8; 12]| row[..POSITION_BYTES].cmp(bad);
        for_each_unmatched(rows.iter(), bad, at, |row, is_matched| {
            if is_matched {
                found.undecodable += 1;
                return Ok(());
            }
            by_event.push(event_first(row))
        })?;
        let (rows, events) = (by_event.sorted()?, events.iter());
        // Time and id.
        let of = |row: &[u8; BYTES], event: &[u8; BYTES]| row[..24].cmp(&event[..24]);
        for_each_unmatched(rows.iter(), events, of, |row, is_matched| {
            if !is_matched {
                found.not_in_log += 1;
                found.not_in_log_examples.offer(TimedEntry::from_bytes(row).entry.id);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// Calls `take` with each of `items`, and whether one of `others` equals it. Both are in the order of `compare`.
fn for_each_unmatched<T, O>(
    items: impl Iterator<Item = Result<T, ServerError>>,
    mut others: impl Iterator<Item = Result<O, ServerError>>,
    compare: impl Fn(&T, &O) -> Ordering,
    mut take: impl FnMut(T, bool) -> Result<(), ServerError>,
) -> Result<(), ServerError> {
    let mut other = others.next().transpose()?;
    for item in items {
        let item = item?;
        while other.as_ref().is_some_and(|other| compare(&item, other).is_gt()) {
            other = others.next().transpose()?;
        }
        let is_matched = other.as_ref().is_some_and(|other| compare(&item, other).is_eq());
        take(item, is_matched)?;
    }
    Ok(())
}

/// Bytes whose order is that of the positions.
fn position_first(row: OldRow) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..POSITION_BYTES].copy_from_slice(&row.position.to_bytes());
    bytes[POSITION_BYTES..20].copy_from_slice(&row.occurred_at_us.to_be_bytes());
    bytes[20..].copy_from_slice(&row.event_id);
    bytes
}

/// The same, as a [`TimedEntry`] encodes it.
fn event_first(bytes: [u8; BYTES]) -> [u8; BYTES] {
    let mut event = [0; BYTES];
    event[..24].copy_from_slice(&bytes[POSITION_BYTES..]);
    event[24..].copy_from_slice(&bytes[..POSITION_BYTES]);
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::entry::AuditEntry;

    fn sorter<const N: usize>() -> Sorter<N> {
        Sorter::new(&std::env::temp_dir(), 100)
    }

    #[test]
    fn each_old_row_has_one_cause_and_a_click_of_the_ranges_is_no_orphan() {
        let position = |partition, offset| LogPosition { partition, offset };
        let ranges = BTreeMap::from([(0, vec![LogRange { first: 10, end: 30 }])]);
        // Retention deleted the offsets below 12 since the plan.
        let lows = BTreeMap::from([(0, 12)]);
        let mut rows = OldRows::new(ranges, lows, [sorter(), sorter()]);
        let row = |event: u8, partition, offset| OldRow {
            occurred_at_us: i64::from(event),
            event_id: [event; 16],
            is_of_topic: true,
            position: position(partition, offset),
        };
        let all = [
            row(1, 0, 11),
            row(2, 1, 500),
            OldRow { is_of_topic: false, ..row(3, 0, 20) },
            // Not in the ranges.
            row(4, 0, 30),
            row(5, 0, 21),
            row(6, 0, 22),
            row(7, 0, 23),
            row(8, 0, 24),
        ];
        all.into_iter().for_each(|row| rows.push(row).unwrap());
        let (mut events, mut undecodable) = (sorter(), sorter());
        for (event, offset) in [(1, 13), (6, 22), (9, 14)] {
            let entry = AuditEntry { id: [event; 16], position: position(0, offset) };
            let occurred_at_us = i64::from(event);
            events.push(TimedEntry { occurred_at_us, entry }.to_bytes()).unwrap();
        }
        for offset in [15, 21, 25] {
            undecodable.push(position(0, offset).to_bytes()).unwrap();
        }
        let found = rows.orphaned(&events.sorted().unwrap(), &undecodable.sorted().unwrap());
        let found = found.unwrap();
        assert_eq!((found.expired, found.other_topic), (2, 1));
        assert_eq!((found.undecodable, found.not_in_log), (1, 2));
        assert_eq!(found.examples()[0], "07070707-0707-0707-0707-070707070707");
    }
    #[test]
    fn a_row_between_two_ranges_is_no_orphan_though_retention_has_passed_it() {
        let range = |first, end| LogRange { first, end };
        let ranges = BTreeMap::from([(0, vec![range(100, 120), range(20_000, 20_020)])]);
        let mut rows = OldRows::new(ranges, BTreeMap::from([(0, 20_000)]), [sorter(), sorter()]);
        for (event, offset) in [(1, 50), (2, 119), (3, 120), (4, 19_999)] {
            let row = OldRow {
                occurred_at_us: 1,
                event_id: [event; 16],
                is_of_topic: true,
                position: LogPosition { partition: 0, offset },
            };
            rows.push(row).unwrap();
        }
        assert_eq!(rows.found.expired, 2);
    }
}
