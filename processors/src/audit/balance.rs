//! The comparison: merges four sorted streams. It holds counts by partition and a few examples, so its
//! memory does not depend on the length of the streams.

use std::collections::BTreeMap;

use broker::ServerError;

use crate::audit::dead_letter_merge::{head, next_if, without_dead_letter};
use crate::audit::entry::{
    AuditEntry, AuditReport, DeadLetterRange, Id, LogPosition, PartitionReport, hex,
};
use crate::audit::examples::Examples;
use crate::audit::external_sort::Sorted;
use crate::audit::pending_offsets::{PendingCause, PendingCounts, PendingOffsets};
use crate::audit::unshown_records::UnshownRecords;

/// The streams to compare, each sorted.
#[derive(Debug)]
pub struct SortedInputs<'d, L, S, U> {
    /// Records of the log that can become rows.
    pub log: L,
    /// Rows that the view shows, each with the position in its columns.
    pub shown: S,
    /// Records of the log that cannot become rows.
    pub undecodable: U,
    /// The records in the dead-letter topic, as ranges.
    pub dead: &'d Sorted<20>,
    /// The records that need no row yet.
    pub pending: &'d PendingOffsets,
}

/// Compares the log with the view and the dead letters. `partitions` holds the log's bounds, `records`
/// and `undecodable`; this function counts the rest. `unshown` sorts the records of the events that the
/// view does not show.
///
/// # Errors
/// The first error of a stream; the disk is full.
pub fn balance(
    partitions: BTreeMap<i32, PartitionReport>,
    inputs: SortedInputs<
        '_,
        impl Iterator<Item = Result<AuditEntry, ServerError>>,
        impl Iterator<Item = Result<AuditEntry, ServerError>>,
        impl Iterator<Item = Result<LogPosition, ServerError>>,
    >,
    mut unshown: UnshownRecords,
) -> Result<AuditReport, ServerError> {
    let mut report = AuditReport { partitions, ..AuditReport::default() };
    events(&mut report, inputs.log, inputs.shown, |record| unshown.push(record))?;
    let lacking = unshown.without_dead_letter(inputs.dead)?;
    let mut counts = PendingCounts::default();
    let lacking = lacking.iter().map(|bytes| bytes.map(AuditEntry::from_bytes));
    missing(&mut report, (inputs.pending, &mut counts), lacking)?;
    let mut examples = Examples::default();
    let dead = inputs.dead.iter().map(|bytes| bytes.map(DeadLetterRange::from_bytes));
    without_dead_letter(
        inputs.undecodable,
        |position| *position,
        dead,
        |position| {
            let cause = inputs.pending.cause(position);
            inputs.pending.note_lagging(position, &mut report.lagging_from);
            report.note_difference(position, cause.as_ref());
            match cause {
                Some(cause) => counts.add(cause),
                None => {
                    examples.offer(position);
                    report.partition(position).undecodable_without_dead_letter += 1;
                }
            }
            Ok(())
        },
    )?;
    (report.lagging, report.in_job) = (counts.lagging, counts.in_job());
    (report.in_jobs, report.ended_jobs) = (counts.in_jobs, counts.ended_jobs);
    report.undecodable_examples = examples.texts(LogPosition::to_string);
    for partition in report.partitions.values() {
        report.log_records += partition.records;
        report.log_events += partition.events;
        report.resends += partition.resends;
        report.undecodable += partition.undecodable;
        report.undecodable_without_dead_letter += partition.undecodable_without_dead_letter;
        report.missing += partition.missing;
        report.log_expired |= partition.low > 0;
    }
    Ok(report)
}

/// Calls `unshown` with each record of an event that the view does not show. Such an event counts as
/// dead-lettered, until [`missing`] finds a record of it without a dead letter.
fn events<E>(
    report: &mut AuditReport,
    log: impl Iterator<Item = Result<AuditEntry, E>>,
    shown: impl Iterator<Item = Result<AuditEntry, E>>,
    mut unshown: impl FnMut(AuditEntry) -> Result<(), E>,
) -> Result<(), E> {
    let (mut log, mut shown) = (log.peekable(), shown.peekable());
    let (mut twice, mut surplus) = (Examples::default(), Examples::default());
    while let Some(id) = least([head(&mut log)?, head(&mut shown)?]) {
        let mut rows = 0;
        // Why rows have no record: the worst cause among the rows of the event.
        let mut surplus_cause = SurplusCause::Newer;
        while let Some(row) = next_if(&mut shown, |entry| entry.id == id)? {
            rows += 1;
            surplus_cause = surplus_cause.max(report.surplus_cause(row.position));
        }
        let mut is_in_log = false;
        while let Some(record) = next_if(&mut log, |entry| entry.id == id)? {
            let partition = report.partition(record.position);
            if is_in_log {
                partition.resends += 1;
            } else {
                partition.events += 1;
            }
            is_in_log = true;
            if rows == 0 {
                unshown(record)?;
            }
        }
        match (is_in_log, rows) {
            (true, 0) => {
                report.dead_lettered += 1;
                continue;
            }
            (false, rows) if surplus_cause == SurplusCause::Newer => {
                report.newer += rows;
                continue;
            }
            (true, _) => {}
            (false, _) if surplus_cause == SurplusCause::Expired => {
                report.surplus += 1;
                report.surplus_expired += 1;
            }
            (false, _) => {
                report.surplus += 1;
                surplus.offer(id);
            }
        }
        report.clicks += rows;
        report.duplicates += rows - 1;
        if rows > 1 {
            twice.offer(id);
        }
    }
    report.duplicate_examples = twice.texts(hex);
    report.surplus_examples = surplus.texts(hex);
    Ok(())
}

/// Counts the events of `lacking`, the sorted records that have neither a row nor a dead letter.
fn missing<E>(
    report: &mut AuditReport,
    (pending, counts): (&PendingOffsets, &mut PendingCounts),
    lacking: impl Iterator<Item = Result<AuditEntry, E>>,
) -> Result<(), E> {
    let mut examples = Examples::default();
    let mut lagging_from = std::mem::take(&mut report.lagging_from);
    pending.for_each_event(lacking, &mut lagging_from, |event| {
        report.dead_lettered -= 1;
        report.note_difference(event.position, event.pending.as_ref());
        match event.pending {
            Some(cause) => counts.add(cause),
            None => {
                report.partition(event.position).missing += 1;
                examples.offer((event.position, event.id));
            }
        }
    })?;
    report.lagging_from = lagging_from;
    report.missing_examples = examples.texts(|(position, id)| format!("{} {position}", hex(id)));
    Ok(())
}

/// Why the log may not hold the record of a row, from harmless to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum SurplusCause {
    Newer,
    Expired,
    Unexplained,
}

impl AuditReport {
    /// Notes a record that has neither a row nor a dead letter, unless the group or a job is to process it.
    fn note_difference(&mut self, position: LogPosition, cause: Option<&PendingCause>) {
        if cause.is_none_or(PendingCause::is_abandoned) {
            self.differences.note(position.partition, position.offset);
        }
    }

    fn partition(&mut self, position: LogPosition) -> &mut PartitionReport {
        self.partitions.entry(position.partition).or_default()
    }

    fn surplus_cause(&self, position: LogPosition) -> SurplusCause {
        match self.partitions.get(&position.partition) {
            Some(known) if position.offset < known.low => SurplusCause::Expired,
            Some(known) if (known.high..known.end).contains(&position.offset) => {
                SurplusCause::Newer
            }
            Some(_) | None => SurplusCause::Unexplained,
        }
    }
}

fn least(ids: [Option<Id>; 2]) -> Option<Id> {
    ids.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use super::*;
    use crate::audit::external_sort::Sorter;
    use crate::audit::pending_offsets::ReplayRanges;
    use crate::jobs::job::JobState;
    use proptest::prelude::*;
    use records::replay::log_range::LogRange;

    fn position((partition, offset): (i32, i64)) -> LogPosition {
        LogPosition { partition, offset }
    }

    fn entry(event: u8, at: (i32, i64)) -> AuditEntry {
        AuditEntry { id: [event; 16], position: position(at) }
    }

    fn sorted<T: Ord>(
        items: impl IntoIterator<Item = T>,
    ) -> impl Iterator<Item = Result<T, ServerError>> {
        let mut items: Vec<T> = items.into_iter().collect();
        items.sort_unstable();
        items.into_iter().map(Ok)
    }

    fn sorter<const N: usize>() -> Sorter<N> {
        Sorter::new(&std::env::temp_dir(), 1_000)
    }

    fn unshown() -> UnshownRecords {
        UnshownRecords { by_position: sorter(), by_event: sorter() }
    }

    fn letters(dead: &[(i32, i64)]) -> Sorted<20> {
        let mut letters = sorter();
        for at in dead {
            let (first, last_offset) = (position(*at), at.1);
            letters.push(DeadLetterRange { first, last_offset }.to_bytes()).unwrap();
        }
        letters.sorted().unwrap()
    }

    /// Compares a log of partition 0, one event in each record, with rows of these offsets.
    fn compare(bounds: [i64; 3], log: &[(u8, i64)], rows: &[(u8, i64)]) -> AuditReport {
        compare_with(bounds, log, rows, &[])
    }

    /// As [`compare`], with dead letters of these offsets.
    fn compare_with(
        bounds: [i64; 3],
        log: &[(u8, i64)],
        rows: &[(u8, i64)],
        dead: &[i64],
    ) -> AuditReport {
        compare_pending(bounds, log, rows, (dead, &PendingOffsets::default()))
    }

    /// As [`compare_with`], with records that need no row yet.
    fn compare_pending(
        bounds: [i64; 3],
        log: &[(u8, i64)],
        rows: &[(u8, i64)],
        (dead, pending): (&[i64], &PendingOffsets),
    ) -> AuditReport {
        let [low, high, end] = bounds;
        let records = log.len() as u64;
        let partition = PartitionReport { low, high, end, records, ..PartitionReport::default() };
        let entries = |all: &[(u8, i64)]| {
            sorted(
                all.iter().map(|(event, offset)| entry(*event, (0, *offset))).collect::<Vec<_>>(),
            )
        };
        let dead = letters(&dead.iter().map(|offset| (0, *offset)).collect::<Vec<_>>());
        let (log, shown, undecodable) = (entries(log), entries(rows), sorted(Vec::new()));
        let inputs = SortedInputs { log, shown, undecodable, dead: &dead, pending };
        balance(BTreeMap::from([(0, partition)]), inputs, unshown()).unwrap()
    }

    #[test]
    fn each_kind_of_difference_is_found() {
        let bounds = [0, 4, 4];
        let report = compare(bounds, &[(1, 0), (2, 1), (2, 2), (3, 3)], &[(1, 0), (2, 2), (3, 3)]);
        assert!(report.balanced());
        assert_eq!((report.log_records, report.log_events, report.resends), (4, 3, 1));

        let report = compare(bounds, &[(1, 0), (2, 1), (3, 2)], &[(1, 0), (3, 2)]);
        assert!(!report.balanced() && report.may_still_come());
        assert_eq!((report.missing, report.partitions[&0].missing), (1, 1));
        assert_eq!(report.missing_examples, ["02020202-0202-0202-0202-020202020202 0:1"]);

        let report = compare(bounds, &[(1, 0), (2, 1)], &[(1, 0), (2, 1), (2, 1)]);
        assert!(!report.balanced() && !report.may_still_come());
        assert_eq!((report.duplicates, report.duplicate_examples.len()), (1, 1));

        let report = compare(bounds, &[(1, 0)], &[(1, 0), (9, 2)]);
        assert!(!report.balanced());
        assert_eq!((report.surplus, report.surplus_examples.len()), (1, 1));
    }

    #[test]
    fn a_record_that_the_group_or_a_job_has_to_process_is_not_missing() {
        let skip = |state| ReplayRanges {
            id: "j".to_owned(),
            state,
            has_gap: true,
            ranges: BTreeMap::from([(0, vec![LogRange { first: 1, end: 2 }])]),
        };
        let pending = |state| PendingOffsets::new(BTreeMap::from([(0, 3)]), vec![skip(state)]);
        let (pending, ended) = (pending(JobState::Planned), pending(JobState::Cancelled));
        let log = [(1, 0), (2, 1), (3, 2), (4, 3)];
        // Of one event, a record in the gap, and a lagging one.
        let resent = compare_pending([0, 4, 4], &[(2, 1), (2, 3)], &[], (&[], &pending));
        assert_eq!((resent.in_job, resent.lagging_from), (1, BTreeMap::from([(0, 3)])));
        let report = compare_pending([0, 4, 4], &log, &[(1, 0), (3, 2)], (&[], &pending));
        assert!(report.balanced() && report.may_still_come());
        assert_eq!((report.missing, report.lagging, report.in_job), (0, 1, 1));
        assert_eq!(report.in_jobs, BTreeMap::from([("j".to_owned(), 1)]));
        let text = report.to_string();
        assert!(text.ends_with("audit: balanced, except 2 that are lagging or in a job"), "{text}");
        assert!(text.contains("in job   1: skipped; replay j is to process them"), "{text}");
        let left = compare_pending([0, 4, 4], &log, &[(1, 0), (3, 2)], (&[], &ended));
        assert_eq!(
            (left.balanced(), left.missing, left.in_job),
            (false, 0, 1),
            "its job has ended"
        );
        let text = left.to_string();
        assert!(
            text.contains("has ended without them; run it with: processors replay run j"),
            "{text}"
        );
        let last = "audit: OUT OF BALANCE, with 1 in jobs that have ended without them; \
                    1 more are lagging or in a job";
        assert_eq!(text.lines().last(), Some(last));
        let report = compare_pending([0, 4, 4], &log, &[(1, 0)], (&[], &pending));
        assert_eq!((report.missing, report.missing_examples.len(), report.lagging), (1, 1, 1));
        assert!(!report.balanced());
        let last = "audit: OUT OF BALANCE; 2 more are lagging or in a job";
        assert_eq!(report.to_string().lines().last(), Some(last));
    }

    #[test]
    fn an_event_whose_records_are_all_dead_letters_is_not_missing() {
        let bounds = [0, 4, 4];
        // Event 1 is at 0 and in a redriven copy at 2, event 2 at 1.
        let log = [(1, 0), (1, 2), (2, 1)];
        for (dead, rows, dead_lettered, missing) in [
            (&[][..], &[][..], 0, 2),
            (&[0], &[], 0, 2),
            (&[0, 2], &[], 1, 1),
            (&[0, 1, 2], &[], 2, 0),
            (&[0, 1, 2, 3], &[(1, 2)], 1, 0),
            (&[0, 1], &[(1, 2)], 1, 0),
            (&[0], &[(1, 2), (2, 1)], 0, 0),
        ] {
            let report = compare_with(bounds, &log, rows, dead);
            let found = (report.dead_lettered, report.missing);
            assert_eq!(found, (dead_lettered, missing), "{dead:?} {rows:?}");
            assert_eq!(report.balanced(), missing == 0, "{dead:?} {rows:?}");
        }
        let report = compare_with(bounds, &log, &[], &[0, 1]);
        assert_eq!(report.missing_examples, ["01010101-0101-0101-0101-010101010101 0:2"]);
        assert!(report.to_string().contains("dead letter 1: "), "{report}");
    }

    #[test]
    fn a_row_without_a_record_is_valid_only_if_its_record_expired_or_is_newer() {
        let report = compare([5, 8, 10], &[(2, 5)], &[(1, 4), (2, 5), (3, 8), (4, 9)]);
        assert!(report.balanced() && report.log_expired);
        assert_eq!((report.surplus, report.surplus_expired, report.newer), (1, 1, 2));
        assert_eq!(report.clicks, 2);
        for offset in [5, 7, 10] {
            let report = compare([5, 8, 10], &[(2, 5)], &[(1, offset), (2, 5)]);
            assert!(!report.balanced(), "{offset}");
        }
        // A duplicate counts, whatever the offsets of its rows.
        let report = compare([5, 8, 10], &[], &[(1, 4), (1, 4)]);
        assert_eq!((report.surplus_expired, report.duplicates), (1, 1));
        let report = compare([0, 8, 10], &[(1, 0)], &[(1, 0), (1, 9)]);
        assert_eq!(report.duplicates, 1);
    }

    #[test]
    fn encoded_entries_sort_as_entries() {
        let mut entries = Vec::new();
        for (event, partition) in [(0, 0), (0, 1), (1, 0), (1, 300), (255, 0)] {
            entries.extend([0, 1, 255, 256, i64::MAX].map(|at| entry(event, (partition, at))));
        }
        let bytes: Vec<_> = entries.iter().map(|entry| entry.to_bytes()).collect();
        assert!(bytes.is_sorted());
        let back: Vec<_> = bytes.into_iter().map(AuditEntry::from_bytes).collect();
        assert_eq!(back, entries);
    }

    #[test]
    fn an_error_of_a_stream_fails_the_audit() {
        type Stream<'a, T> = &'a [Option<T>];
        fn stream<T: Copy>(items: Stream<'_, T>) -> impl Iterator<Item = Result<T, ServerError>> {
            items.iter().map(|item| item.ok_or_else(|| ServerError::fatal("scratch_disk", "full")))
        }
        let fails = |log: Stream<'_, AuditEntry>,
                     shown: Stream<'_, AuditEntry>,
                     undecodable: Stream<'_, LogPosition>| {
            let (log, shown, undecodable) = (stream(log), stream(shown), stream(undecodable));
            let dead = letters(&[(0, 1)]);
            let pending = PendingOffsets::default();
            let inputs = SortedInputs { log, shown, undecodable, dead: &dead, pending: &pending };
            balance(BTreeMap::new(), inputs, unshown()).is_err()
        };
        let (event, at) = (Some(entry(1, (0, 1))), Some(position((0, 1))));
        assert!(!fails(&[event], &[event], &[at]));
        assert!(fails(&[event, None], &[event], &[at]));
        assert!(fails(&[event], &[event, None], &[at]));
        assert!(fails(&[event], &[event], &[at, None]));
    }

    proptest! {
        /// Counts with everything in memory.
        #[test]
        fn the_comparison_agrees_with_counting_in_memory(
            log in prop::collection::vec((0_u8..20, 0_i32..3), 0..60),
            rows in prop::collection::vec((0_u8..25, 0_i32..3, 0_i64..8), 0..60),
            bad in prop::collection::btree_set((0_i32..3, 0_i64..20), 0..20),
            dead in prop::collection::vec((0_i32..3, 0_i64..60), 0..60),
        ) {
            let (low, high, end) = (2, 5, 7);
            let bounds = PartitionReport { low, high, end, ..PartitionReport::default() };
            let mut partitions: BTreeMap<_, _> = (0..3).map(|p| (p, bounds)).collect();
            let mut records = Vec::new();
            for (offset, (event, partition)) in (0..).zip(&log) {
                partitions.get_mut(partition).unwrap().records += 1;
                records.push(entry(*event, (*partition, offset)));
            }
            for (partition, _) in &bad {
                partitions.get_mut(partition).unwrap().records += 1;
                partitions.get_mut(partition).unwrap().undecodable += 1;
            }
            let shown: Vec<_> =
                rows.iter().map(|(event, p, offset)| entry(*event, (*p, *offset))).collect();
            let held = letters(&dead);
            let report = balance(partitions, SortedInputs {
                log: sorted(records.clone()),
                shown: sorted(shown.clone()),
                undecodable: sorted(bad.iter().copied().map(position)),
                dead: &held,
                pending: &PendingOffsets::default(),
            }, unshown()).unwrap();

            let events: BTreeSet<Id> = records.iter().map(|record| record.id).collect();
            let mut by_id: HashMap<Id, Vec<i64>> = HashMap::new();
            for row in &shown {
                by_id.entry(row.id).or_default().push(row.position.offset);
            }
            by_id.retain(|id, offsets| {
                events.contains(id) || offsets.iter().any(|at| !(high..end).contains(at))
            });
            let surplus: Vec<_> = by_id.iter().filter(|(id, _)| !events.contains(*id)).collect();
            let expired = |offsets: &[i64]| offsets.iter().all(|at| *at < low || (high..end).contains(at));
            let clicks: usize = by_id.values().map(Vec::len).sum();
            prop_assert_eq!(report.log_records, (log.len() + bad.len()) as u64);
            prop_assert_eq!(report.log_events, events.len() as u64);
            prop_assert_eq!(report.resends, (log.len() - events.len()) as u64);
            prop_assert_eq!(report.clicks, clicks as u64);
            prop_assert_eq!(report.newer, (rows.len() - clicks) as u64);
            prop_assert_eq!(report.duplicates, (clicks - by_id.len()) as u64);
            let unshown = events.iter().filter(|id| !by_id.contains_key(*id)).count();
            let is_dead = |at: LogPosition| dead.contains(&(at.partition, at.offset));
            let lacking = records.iter().filter(|record| !is_dead(record.position));
            let lacking: BTreeSet<Id> = lacking.map(|record| record.id).collect();
            let missing = lacking.iter().filter(|id| !by_id.contains_key(*id)).count();
            prop_assert_eq!(report.missing, missing as u64);
            prop_assert_eq!(report.dead_lettered, (unshown - missing) as u64);
            prop_assert_eq!(report.surplus, surplus.len() as u64);
            let expired = surplus.iter().filter(|(_, offsets)| expired(offsets)).count();
            prop_assert_eq!(report.surplus_expired, expired as u64);
            let lacking = bad.iter().filter(|at| !dead.contains(at)).count();
            prop_assert_eq!(report.undecodable_without_dead_letter, lacking as u64);
            for (number, partition) in &report.partitions {
                let events = partition.events + partition.resends + partition.undecodable;
                prop_assert_eq!(events, partition.records, "partition {}", number);
            }
        }
    }
}
