//! What is found in the newest stretch of the log, a few thousand events at a time.

use std::collections::HashMap;

use crate::audit::entry::{Entry, Id, Place, hex};
use crate::audit::examples::Examples;

/// An event of the log and when it happened, by which the table is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Happened {
    /// Microseconds since 1970.
    pub occurred_at_us: i64,
    /// The event and its place.
    pub entry: Entry,
}

impl Happened {
    /// Bytes that are in the order of events, as long as none happened before 1970.
    pub fn to_bytes(self) -> [u8; 36] {
        let mut bytes = [0; 36];
        bytes[..8].copy_from_slice(&self.occurred_at_us.to_be_bytes());
        bytes[8..].copy_from_slice(&self.entry.to_bytes());
        bytes
    }

    /// The event that was written so.
    pub fn from_bytes(bytes: [u8; 36]) -> Self {
        let (mut occurred_at, mut entry) = ([0; 8], [0; 28]);
        occurred_at.copy_from_slice(&bytes[..8]);
        entry.copy_from_slice(&bytes[8..]);
        Self { occurred_at_us: i64::from_be_bytes(occurred_at), entry: Entry::from_bytes(entry) }
    }

    /// Whether it is the same event, in another record or not.
    pub fn is_again(&self, other: &Self) -> bool {
        self.occurred_at_us == other.occurred_at_us && self.entry.id == other.entry.id
    }
}

/// Findings of one look.
#[derive(Debug, Default)]
pub struct Window {
    /// Records of the stretch.
    pub records: u64,
    /// Those of them that are too young to be judged.
    pub young: u64,
    /// Distinct events that were judged.
    pub events: u64,
    /// Events that the view does not show.
    pub missing: u64,
    /// Rows beyond the first of an event.
    pub duplicates: u64,
    /// Records that can never be a row and that no dead letter holds.
    pub unburied: u64,
    missing_examples: Examples<(Place, Id)>,
    duplicate_examples: Examples<Id>,
    unburied_examples: Examples<Place>,
}

impl Window {
    /// Holds distinct events against how often the view shows each of them.
    pub fn judge(&mut self, asked: &[Happened], shown: &[(Id, u64)]) {
        let shown: HashMap<&Id, u64> = shown.iter().map(|(id, rows)| (id, *rows)).collect();
        for Happened { entry: Entry { id, place }, .. } in asked {
            self.events += 1;
            match shown.get(id).copied().unwrap_or(0) {
                0 => {
                    self.missing += 1;
                    self.missing_examples.offer((*place, *id));
                }
                1 => {}
                rows => {
                    self.duplicates += rows - 1;
                    self.duplicate_examples.offer(*id);
                }
            }
        }
    }

    /// A record that can never be a row, and that no dead letter holds.
    pub fn unburied(&mut self, place: Place) {
        self.unburied += 1;
        self.unburied_examples.offer(place);
    }

    /// Whether nothing is lost and nothing counted twice.
    pub fn balanced(&self) -> bool {
        self.missing == 0 && self.duplicates == 0 && self.unburied == 0
    }

    /// The first of each finding, for the log.
    pub fn examples(&self) -> String {
        let missing = self.missing_examples.texts(|(place, id)| format!("{} {place}", hex(id)));
        let unburied = self.unburied_examples.texts(Place::to_string);
        [missing, self.duplicate_examples.texts(hex), unburied].concat().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happened(occurred_at_us: i64, event: u8, offset: i64) -> Happened {
        let entry = Entry { id: [event; 16], place: Place { partition: 0, offset } };
        Happened { occurred_at_us, entry }
    }

    #[test]
    fn each_finding_is_counted_and_named() {
        let mut window = Window::default();
        window.judge(&[happened(1, 1, 0), happened(2, 2, 1)], &[([1; 16], 1), ([2; 16], 1)]);
        assert!(window.balanced());
        window.judge(&[happened(3, 3, 2), happened(4, 4, 3)], &[([4; 16], 3)]);
        window.unburied(Place { partition: 7, offset: 9 });
        assert!(!window.balanced());
        assert_eq!((window.events, window.missing), (4, 1));
        assert_eq!((window.duplicates, window.unburied), (2, 1));
        assert_eq!(
            window.examples(),
            "03030303-0303-0303-0303-030303030303 0:2, 04040404-0404-0404-0404-040404040404, 7:9"
        );
    }

    #[test]
    fn bytes_are_in_the_order_of_what_they_say() {
        let mut all = Vec::new();
        for occurred_at in [0, 255, 256, i64::MAX] {
            all.extend([(0, 9), (1, 0), (1, 1)].map(|(id, at)| happened(occurred_at, id, at)));
        }
        let bytes: Vec<_> = all.iter().map(|one| one.to_bytes()).collect();
        assert!(bytes.is_sorted());
        assert_eq!(bytes.into_iter().map(Happened::from_bytes).collect::<Vec<_>>(), all);
        assert!(all[1].is_again(&all[2]) && !all[0].is_again(&all[1]));
    }
}
