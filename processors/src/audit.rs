//! Log against table, event by event. Pure: it is fed by whoever reads them.
//!
//! It counts by `event_id`, because offsets lie: a re-send has another offset, a
//! replayed row a newer one. It does not look at our own books.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;

/// How many examples of each finding a report names.
const EXAMPLES_MAX: usize = 20;

/// An event's id.
pub type Id = [u8; 16];

/// What the log holds.
#[derive(Debug, Default)]
pub struct LogBooks {
    records: u64,
    resends: u64,
    first_seen: HashMap<Id, (i32, i64)>,
    undecodable: BTreeSet<(i32, i64)>,
    expired: bool,
}

/// What the table shows.
#[derive(Debug, Default)]
pub struct TableBooks {
    /// Ids that the view `clicks` shows, as often as it shows them.
    pub ids: Vec<Id>,
}

/// The comparison. Serialized as it is by `--json`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Records in the log.
    pub log_records: u64,
    /// Distinct events among them.
    pub log_events: u64,
    /// Records whose event was in the log before.
    pub resends: u64,
    /// Records that can never be a row.
    pub undecodable: u64,
    /// Those of them that the dead-letter topic does not hold.
    pub undecodable_without_dead_letter: u64,
    /// Rows that the view shows.
    pub clicks: u64,
    /// Rows beyond the first of an event.
    pub duplicates: u64,
    /// Events of the log that the view does not show.
    pub missing: u64,
    /// Events of the view that the log does not hold. Explained when the log has expired records.
    pub surplus: u64,
    /// Whether the log's start has moved, so that a surplus is to be expected.
    pub log_expired: bool,
    /// The first missing events, `id partition:offset`.
    pub missing_examples: Vec<String>,
    /// The first surplus events.
    pub surplus_examples: Vec<String>,
    /// The first records without a dead letter, `partition:offset`.
    pub undecodable_examples: Vec<String>,
}

impl LogBooks {
    /// Notes the bounds of a partition: `low` is its first offset.
    pub fn partition(&mut self, low: i64) {
        self.expired |= low > 0;
    }

    /// Notes a record: its event, or that it can never be one.
    pub fn record(&mut self, place: (i32, i64), event: Option<Id>) {
        self.records += 1;
        match event {
            None => {
                self.undecodable.insert(place);
            }
            Some(id) => match self.first_seen.entry(id) {
                std::collections::hash_map::Entry::Occupied(_) => self.resends += 1,
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(place);
                }
            },
        }
    }

    /// Holds the log against the view and the dead letters.
    pub fn balance(&self, table: &TableBooks, dead: &BTreeSet<(i32, i64)>) -> Report {
        let shown: HashSet<&Id> = table.ids.iter().collect();
        let missing: BTreeMap<(i32, i64), &Id> = self
            .first_seen
            .iter()
            .filter(|(id, _)| !shown.contains(id))
            .map(|(id, place)| (*place, id))
            .collect();
        let surplus: BTreeSet<&Id> =
            shown.iter().filter(|id| !self.first_seen.contains_key(**id)).copied().collect();
        let buried: Vec<_> = self.undecodable.difference(dead).collect();
        Report {
            log_records: self.records,
            log_events: self.first_seen.len() as u64,
            resends: self.resends,
            undecodable: self.undecodable.len() as u64,
            undecodable_without_dead_letter: buried.len() as u64,
            clicks: table.ids.len() as u64,
            duplicates: (table.ids.len() - shown.len()) as u64,
            missing: missing.len() as u64,
            surplus: surplus.len() as u64,
            log_expired: self.expired,
            missing_examples: examples(missing.iter(), |((partition, offset), id)| {
                format!("{} {partition}:{offset}", hex(id))
            }),
            surplus_examples: examples(surplus.iter(), |id| hex(id)),
            undecodable_examples: examples(buried.iter(), |(partition, offset)| {
                format!("{partition}:{offset}")
            }),
        }
    }
}

impl Report {
    /// Whether nothing is lost and nothing counted twice.
    pub fn balanced(&self) -> bool {
        self.missing == 0
            && self.duplicates == 0
            && self.undecodable_without_dead_letter == 0
            && (self.surplus == 0 || self.log_expired)
    }

    /// Whether waiting may balance it: rows or dead letters that have not come yet.
    pub fn may_still_come(&self) -> bool {
        self.missing > 0 || self.undecodable_without_dead_letter > 0
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "log      records {}, events {}, resends {}, undecodable {}",
            self.log_records, self.log_events, self.resends, self.undecodable
        )?;
        writeln!(f, "clicks   shown {}, more than once {}", self.clicks, self.duplicates)?;
        let findings = [
            ("missing", self.missing, &self.missing_examples, "in the log, not in clicks"),
            (
                "surplus",
                self.surplus,
                &self.surplus_examples,
                if self.log_expired {
                    "in clicks, not in the log (whose start has expired)"
                } else {
                    "in clicks, not in the log"
                },
            ),
            (
                "unburied",
                self.undecodable_without_dead_letter,
                &self.undecodable_examples,
                "undecodable, and no dead letter holds it",
            ),
        ];
        for (name, count, examples, what) in findings {
            if count > 0 {
                writeln!(f, "{name:8} {count}: {what}; first: {}", examples.join(", "))?;
            }
        }
        write!(f, "audit: {}", if self.balanced() { "balanced" } else { "OUT OF BALANCE" })
    }
}

fn examples<T>(all: impl Iterator<Item = T>, text: impl Fn(T) -> String) -> Vec<String> {
    all.take(EXAMPLES_MAX).map(text).collect()
}

fn hex(id: &Id) -> String {
    uuid::Uuid::from_bytes(*id).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(events: &[u8]) -> LogBooks {
        let mut books = LogBooks::default();
        books.partition(0);
        for (offset, event) in (0..).zip(events) {
            books.record((0, offset), Some([*event; 16]));
        }
        books
    }

    fn table(events: &[u8]) -> TableBooks {
        TableBooks { ids: events.iter().map(|event| [*event; 16]).collect() }
    }

    #[test]
    fn each_way_to_be_wrong_is_found() {
        let none = BTreeSet::new();
        let report = log(&[1, 2, 2, 3]).balance(&table(&[1, 2, 3]), &none);
        assert!(report.balanced());
        assert_eq!((report.log_records, report.log_events, report.resends), (4, 3, 1));

        let report = log(&[1, 2, 3]).balance(&table(&[1, 3]), &none);
        assert!(!report.balanced() && report.may_still_come());
        assert_eq!(report.missing, 1);
        assert_eq!(report.missing_examples, ["02020202-0202-0202-0202-020202020202 0:1"]);

        let report = log(&[1, 2]).balance(&table(&[1, 2, 2]), &none);
        assert!(!report.balanced() && !report.may_still_come());
        assert_eq!(report.duplicates, 1);

        let report = log(&[1]).balance(&table(&[1, 9]), &none);
        assert!(!report.balanced());
        assert_eq!(report.surplus, 1);
    }

    #[test]
    fn a_surplus_is_explained_by_a_log_that_expired() {
        let mut books = log(&[2]);
        books.partition(5);
        assert!(books.balance(&table(&[1, 2]), &BTreeSet::new()).balanced());
    }

    #[test]
    fn what_cannot_be_decoded_has_to_be_buried() {
        let mut books = log(&[1]);
        books.record((0, 7), None);
        assert!(!books.balance(&table(&[1]), &BTreeSet::new()).balanced());
        assert!(books.balance(&table(&[1]), &BTreeSet::from([(0, 7)])).balanced());
    }
}
