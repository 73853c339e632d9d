//! Log against table, event by event. Pure: whoever reads them feeds it, in order.
//!
//! It counts by `event_id`, because offsets lie: a re-send has another offset, a
//! replayed row a newer one. It does not look at our own books.

use std::collections::BTreeMap;

use serde::Serialize;

/// An event's id.
pub type Id = [u8; 16];

/// An id as people write it.
pub fn hex(id: &Id) -> String {
    uuid::Uuid::from_bytes(*id).to_string()
}

/// Where a record stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

impl Place {
    /// Bytes that are in the order of places.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.partition.to_be_bytes());
        bytes[4..].copy_from_slice(&self.offset.to_be_bytes());
        bytes
    }

    /// The place that was written so.
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        let (mut partition, mut offset) = ([0; 4], [0; 8]);
        partition.copy_from_slice(&bytes[..4]);
        offset.copy_from_slice(&bytes[4..]);
        Self { partition: i32::from_be_bytes(partition), offset: i64::from_be_bytes(offset) }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

/// An event, and a place where it stands or from where it was processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The event.
    pub id: Id,
    /// The place.
    pub place: Place,
}

impl Entry {
    /// Bytes that are in the order of ids, and of places within one.
    pub fn to_bytes(self) -> [u8; 28] {
        let mut bytes = [0; 28];
        bytes[..16].copy_from_slice(&self.id);
        bytes[16..].copy_from_slice(&self.place.to_bytes());
        bytes
    }

    /// The entry that was written so.
    pub fn from_bytes(bytes: [u8; 28]) -> Self {
        let (mut id, mut place) = ([0; 16], [0; 12]);
        id.copy_from_slice(&bytes[..16]);
        place.copy_from_slice(&bytes[16..]);
        Self { id, place: Place::from_bytes(place) }
    }
}

/// One partition of the log, and what became of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// First offset. What stood before it has expired and cannot be looked at.
    pub low: i64,
    /// Position after the last offset that was looked at.
    pub high: i64,
    /// Where the log ended when the view had been read: rows of offsets from `high` to here came
    /// while the audit was reading.
    pub end: i64,
    /// Records read.
    pub records: u64,
    /// Events whose first record stands here.
    pub events: u64,
    /// Records whose event stands earlier in the log (by partition and offset).
    pub resends: u64,
    /// Records that can never be a row.
    pub undecodable: u64,
    /// Those of them that the dead-letter topic does not hold.
    pub undecodable_without_dead_letter: u64,
    /// Events that stand here first and that the view does not show.
    pub missing: u64,
}

/// The comparison. Serialized as it is by `--json`.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
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
    /// Rows that the view shows, without the newer ones.
    pub clicks: u64,
    /// Rows of records that were appended after the audit took the log's length.
    pub newer: u64,
    /// Rows beyond the first of an event.
    pub duplicates: u64,
    /// Events of the log that the view does not show.
    pub missing: u64,
    /// Events of the view that the log does not hold.
    pub surplus: u64,
    /// Those of them whose record has expired, by the offset that the row names.
    pub surplus_expired: u64,
    /// Whether the log's start has moved.
    pub log_expired: bool,
    /// The first missing events, `id partition:offset`.
    pub missing_examples: Vec<String>,
    /// The first events that are shown more than once.
    pub duplicate_examples: Vec<String>,
    /// The first surplus events whose record has not expired.
    pub surplus_examples: Vec<String>,
    /// The first records without a dead letter, `partition:offset`.
    pub undecodable_examples: Vec<String>,
    /// The same by partition, as far as it can be said of one.
    pub partitions: BTreeMap<i32, Partition>,
}

impl Report {
    /// Whether nothing is lost and nothing counted twice.
    pub fn balanced(&self) -> bool {
        self.missing == 0
            && self.duplicates == 0
            && self.undecodable_without_dead_letter == 0
            && self.surplus == self.surplus_expired
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
        for (number, partition) in &self.partitions {
            let Partition { low, high, records, missing, .. } = partition;
            let expired = if *low > 0 { ", what was before has expired" } else { "" };
            writeln!(
                f,
                "  {number:<6} from {low} to {high}: records {records}, missing {missing}{expired}"
            )?;
        }
        let newer = match self.newer {
            0 => String::new(),
            newer => format!(", newer than this audit {newer}"),
        };
        writeln!(f, "clicks   shown {}, more than once {}{newer}", self.clicks, self.duplicates)?;
        if self.surplus_expired > 0 {
            writeln!(f, "expired  {}: in clicks, expired in the log", self.surplus_expired)?;
        }
        let surplus = self.surplus - self.surplus_expired;
        let buried = "undecodable, and no dead letter holds it";
        let findings = [
            ("missing", self.missing, &self.missing_examples, "in the log, not in clicks"),
            ("twice", self.duplicates, &self.duplicate_examples, "in clicks more than once"),
            ("surplus", surplus, &self.surplus_examples, "in clicks, not in the log"),
            ("unburied", self.undecodable_without_dead_letter, &self.undecodable_examples, buried),
        ];
        for (name, count, examples, what) in findings {
            if count > 0 {
                writeln!(f, "{name:8} {count}: {what}; first: {}", examples.join(", "))?;
            }
        }
        write!(f, "audit: {}", if self.balanced() { "balanced" } else { "OUT OF BALANCE" })
    }
}
