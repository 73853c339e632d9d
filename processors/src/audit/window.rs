//! What the continuous audit finds in its window, the newest part of the log.

use std::collections::HashMap;

use crate::audit::entry::{AuditEntry, Id, LogPosition, hex};
use crate::audit::examples::Examples;

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
    /// Events that the view does not show.
    pub missing: u64,
    /// Rows beyond the first of an event.
    pub duplicates: u64,
    /// Records that cannot become a row and have no dead letter.
    pub undecodable_without_dead_letter: u64,
    missing_examples: Examples<(LogPosition, Id)>,
    duplicate_examples: Examples<Id>,
    undecodable_examples: Examples<LogPosition>,
}

impl WindowReport {
    /// Compares distinct events with how often the view shows each of them.
    pub fn compare(&mut self, events: &[TimedEntry], shown: &[(Id, u64)]) {
        let shown: HashMap<&Id, u64> = shown.iter().map(|(id, rows)| (id, *rows)).collect();
        for TimedEntry { entry: AuditEntry { id, position }, .. } in events {
            self.events += 1;
            match shown.get(id).copied().unwrap_or(0) {
                0 => {
                    self.missing += 1;
                    self.missing_examples.offer((*position, *id));
                }
                1 => {}
                rows => {
                    self.duplicates += rows - 1;
                    self.duplicate_examples.offer(*id);
                }
            }
        }
    }

    /// Adds a record that cannot become a row and has no dead letter.
    pub fn add_undecodable(&mut self, position: LogPosition) {
        self.undecodable_without_dead_letter += 1;
        self.undecodable_examples.offer(position);
    }

    /// Whether no event is lost or counted twice.
    pub fn balanced(&self) -> bool {
        self.missing == 0 && self.duplicates == 0 && self.undecodable_without_dead_letter == 0
    }

    /// The first examples of each finding, for a log line.
    pub fn examples(&self) -> String {
        let missing =
            self.missing_examples.texts(|(position, id)| format!("{} {position}", hex(id)));
        let undecodable = self.undecodable_examples.texts(LogPosition::to_string);
        [missing, self.duplicate_examples.texts(hex), undecodable].concat().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed_entry(occurred_at_us: i64, event: u8, offset: i64) -> TimedEntry {
        let entry = AuditEntry { id: [event; 16], position: LogPosition { partition: 0, offset } };
        TimedEntry { occurred_at_us, entry }
    }

    #[test]
    fn each_finding_is_counted_and_has_an_example() {
        let mut window = WindowReport::default();
        window
            .compare(&[timed_entry(1, 1, 0), timed_entry(2, 2, 1)], &[([1; 16], 1), ([2; 16], 1)]);
        assert!(window.balanced());
        window.compare(&[timed_entry(3, 3, 2), timed_entry(4, 4, 3)], &[([4; 16], 3)]);
        window.add_undecodable(LogPosition { partition: 7, offset: 9 });
        assert!(!window.balanced());
        assert_eq!((window.events, window.missing), (4, 1));
        assert_eq!((window.duplicates, window.undecodable_without_dead_letter), (2, 1));
        assert_eq!(
            window.examples(),
            "03030303-0303-0303-0303-030303030303 0:2, 04040404-0404-0404-0404-040404040404, 7:9"
        );
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
