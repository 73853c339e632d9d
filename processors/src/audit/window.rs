//! What the continuous audit finds in its window, the newest part of the log.

use std::collections::{BTreeMap, HashMap};

use crate::audit::difference_offsets::DifferenceOffsets;
use crate::audit::entry::{AuditEntry, Id, LogPosition, hex};
use crate::audit::examples::Examples;
use crate::audit::misplaced_clicks::MisplacedClicks;
use crate::audit::pending_offsets::{PendingCause, PendingCounts, PendingOffsets};

/// An event of the log with its time, by which the table is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimedEntry {
    /// Microseconds since 1970.
    pub occurred_at_us: i64,
    /// The event and its position.
    pub entry: AuditEntry,
}

impl TimedEntry {
    /// Bytes whose order is that of the events, for times since 1970.
    pub fn to_bytes(self) -> [u8; 36] {
        let mut bytes = [0; 36];
        bytes[..8].copy_from_slice(&self.occurred_at_us.to_be_bytes());
        bytes[8..].copy_from_slice(&self.entry.to_bytes());
        bytes
    }

    /// The event that such bytes encode.
    pub fn from_bytes(bytes: [u8; 36]) -> Self {
        let (mut occurred_at, mut entry) = ([0; 8], [0; 28]);
        occurred_at.copy_from_slice(&bytes[..8]);
        entry.copy_from_slice(&bytes[8..]);
        Self {
            occurred_at_us: i64::from_be_bytes(occurred_at),
            entry: AuditEntry::from_bytes(entry),
        }
    }

    /// Whether `other` is the same event, in the same record or another.
    pub fn is_same_event(&self, other: &Self) -> bool {
        self.occurred_at_us == other.occurred_at_us && self.entry.id == other.entry.id
    }
}

/// Findings of one run.
#[derive(Debug, Default)]
pub struct WindowReport {
    /// Records of the window.
    pub records: u64,
    /// Those of them that are within the grace period and were not compared.
    pub within_grace: u64,
    /// Distinct events that were compared.
    pub events: u64,
    /// Events that the view does not show, and of which a record has no dead letter.
    pub missing: u64,
    /// Events that the view does not show, and whose records all have dead letters.
    pub dead_lettered: u64,
    /// Rows beyond the first of an event.
    pub duplicates: u64,
    /// Rows on another shard than the one that their event ids name, and the first of them.
    pub misplaced: MisplacedClicks,
    /// Records that cannot become a row and have no dead letter.
    pub undecodable_without_dead_letter: u64,
    /// Events without a row, and records that cannot become one, that are not processed yet.
    pub pending: PendingCounts,
    /// The first lagging record without a row and a dead letter, by partition.
    pub lagging_from: BTreeMap<i32, i64>,
    /// The records with differences.
    pub differences: DifferenceOffsets,
    missing_examples: Examples<(LogPosition, Id)>,
    duplicate_examples: Examples<Id>,
    undecodable_examples: Examples<LogPosition>,
}

impl WindowReport {
    /// Compares distinct events with how often the shards show each of them. Calls `unshown` with each
    /// event that it does not show, which counts as dead-lettered until [`WindowReport::add_missing`].
    ///
    /// # Errors
    /// The first error of `unshown`.
    pub fn compare<E>(
        &mut self,
        events: &[TimedEntry],
        shown: &[(Id, u64)],
        mut unshown: impl FnMut(TimedEntry) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rows_of = HashMap::<&Id, u64>::with_capacity(shown.len());
        shown.iter().for_each(|(id, rows)| *rows_of.entry(id).or_insert(0) += rows);
        for event in events {
            self.events += 1;
            let id = event.entry.id;
            match rows_of.get(&id).copied().unwrap_or(0) {
                0 => {
                    self.dead_lettered += 1;
                    unshown(*event)?;
                }
                1 => {}
                rows => {
                    self.duplicates += rows - 1;
                    self.duplicate_examples.offer(id);
                    let LogPosition { partition, offset } = event.entry.position;
                    self.differences.note(partition, offset);
                }
            }
        }
        Ok(())
    }

    /// Counts the events of `lacking`, the sorted records that have neither a row nor a dead letter.
    ///
    /// # Errors
    /// The first error of the stream.
    pub fn add_missing<E>(
        &mut self,
        pending: &PendingOffsets,
        lacking: impl Iterator<Item = Result<AuditEntry, E>>,
    ) -> Result<(), E> {
        let mut lagging_from = std::mem::take(&mut self.lagging_from);
        let added = pending.for_each_event(lacking, &mut lagging_from, |event| {
            self.dead_lettered -= 1;
            if event.pending.as_ref().is_none_or(PendingCause::is_abandoned) {
                self.differences.note(event.position.partition, event.position.offset);
            }
            match event.pending {
                Some(cause) => self.pending.add(cause),
                None => {
                    self.missing += 1;
                    self.missing_examples.offer((event.position, event.id));
                }
            }
        });
        self.lagging_from = lagging_from;
        added
    }

    /// Adds a record that cannot become a row and has no dead letter.
    pub fn add_undecodable(&mut self, pending: &PendingOffsets, position: LogPosition) {
        pending.note_lagging(position, &mut self.lagging_from);
        let cause = pending.cause(position);
        if cause.as_ref().is_none_or(PendingCause::is_abandoned) {
            self.differences.note(position.partition, position.offset);
        }
        match cause {
            Some(cause) => self.pending.add(cause),
            None => {
                self.undecodable_without_dead_letter += 1;
                self.undecodable_examples.offer(position);
            }
        }
    }

    /// Whether no event is lost or counted twice. What a job is to process is not lost, unless the job has ended.
    pub fn balanced(&self) -> bool {
        self.missing == 0
            && self.pending.ended_jobs.is_empty()
            && self.duplicates == 0
            && self.misplaced.rows() == 0
            && self.undecodable_without_dead_letter == 0
    }

    /// The first examples of each finding, for a log line.
    pub fn examples(&self) -> String {
        let missing =
            self.missing_examples.texts(|(position, id)| format!("{} {position}", hex(id)));
        let undecodable = self.undecodable_examples.texts(LogPosition::to_string);
        let duplicates = self.duplicate_examples.texts(hex);
        [missing, duplicates, self.misplaced.texts(), undecodable].concat().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use records::replay::log_range::LogRange;

    use super::*;
    use crate::audit::pending_offsets::ReplayRanges;
    use crate::jobs::job::JobState;

    fn timed_entry(occurred_at_us: i64, event: u8, offset: i64) -> TimedEntry {
        let entry = AuditEntry { id: [event; 16], position: LogPosition { partition: 0, offset } };
        TimedEntry { occurred_at_us, entry }
    }

    #[test]
    fn each_finding_is_counted_and_has_an_example() {
        let (mut window, mut unshown) = (WindowReport::default(), Vec::new());
        let mut compare =
            |window: &mut WindowReport, events: &[TimedEntry], shown: &[(Id, u64)]| {
                let push = |event| {
                    unshown.push(event);
                    Ok::<_, ()>(())
                };
                window.compare(events, shown, push).unwrap();
            };
        let shown = [([1; 16], 1), ([2; 16], 1)];
        compare(&mut window, &[timed_entry(1, 1, 0), timed_entry(2, 2, 1)], &shown);
        assert!(window.balanced());
        let events = [timed_entry(3, 3, 2), timed_entry(4, 4, 3), timed_entry(5, 5, 4)];
        // Two shards show event 4.
        compare(&mut window, &events, &[([4; 16], 2), ([4; 16], 1)]);
        let pending = PendingOffsets::new([(0, 20), (7, 20)].into(), Vec::new());
        window.add_undecodable(&pending, LogPosition { partition: 7, offset: 9 });
        window.add_undecodable(&pending, LogPosition { partition: 7, offset: 20 });
        assert_eq!((window.dead_lettered, unshown.len()), (2, 2));
        // Two records of event 3 have no dead letter; those of event 5 have some.
        let lacking = [timed_entry(3, 3, 2), timed_entry(3, 3, 8)];
        let lacking = lacking.iter().map(|event| Ok::<_, ()>(event.entry));
        window.add_missing(&pending, lacking).unwrap();
        assert!(!window.balanced());
        assert_eq!((window.events, window.missing, window.dead_lettered), (5, 1, 1));
        assert_eq!(window.pending.lagging, 1);
        assert_eq!(window.lagging_from, BTreeMap::from([(7, 20)]));
        assert_eq!((window.duplicates, window.undecodable_without_dead_letter), (2, 1));
        assert_eq!(
            window.examples(),
            "03030303-0303-0303-0303-030303030303 0:2, 04040404-0404-0404-0404-040404040404, 7:9"
        );
    }

    #[test]
    fn records_of_an_ended_job_are_out_of_balance_and_those_of_an_open_job_are_not() {
        let window = |state| {
            let ranges = [(0, vec![LogRange { first: 1, end: 2 }])].into();
            let job = ReplayRanges { id: "j".to_owned(), state, has_gap: true, ranges };
            let mut window = WindowReport::default();
            let pending = PendingOffsets::new([(0, 20)].into(), vec![job]);
            window.add_undecodable(&pending, LogPosition { partition: 0, offset: 1 });
            (window.balanced(), window.pending.in_job())
        };
        assert_eq!(window(JobState::Planned), (true, 1));
        assert_eq!(window(JobState::Failed), (false, 1));
    }

    #[test]
    fn encoded_events_sort_as_events() {
        let mut all = Vec::new();
        for occurred_at in [0, 255, 256, i64::MAX] {
            all.extend([(0, 9), (1, 0), (1, 1)].map(|(id, at)| timed_entry(occurred_at, id, at)));
        }
        let bytes: Vec<_> = all.iter().map(|one| one.to_bytes()).collect();
        assert!(bytes.is_sorted());
        assert_eq!(bytes.into_iter().map(TimedEntry::from_bytes).collect::<Vec<_>>(), all);
        assert!(all[1].is_same_event(&all[2]) && !all[0].is_same_event(&all[1]));
    }
}
