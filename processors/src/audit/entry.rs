//! Entries and report of the comparison of log and table. Pure.
//!
//! The comparison counts by `event_id`, because an offset does not name an event: a resend has another
//! offset, and a replayed row a newer one.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::audit::difference_offsets::DifferenceOffsets;

/// An event's id.
pub type Id = [u8; 16];

/// An id as text.
pub fn hex(id: &Id) -> String {
    uuid::Uuid::from_bytes(*id).to_string()
}

/// The position of a record in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPosition {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

impl LogPosition {
    /// Bytes whose order is that of the positions.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.partition.to_be_bytes());
        bytes[4..].copy_from_slice(&self.offset.to_be_bytes());
        bytes
    }

    /// The position that such bytes encode.
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        let (mut partition, mut offset) = ([0; 4], [0; 8]);
        partition.copy_from_slice(&bytes[..4]);
        offset.copy_from_slice(&bytes[4..]);
        Self { partition: i32::from_be_bytes(partition), offset: i64::from_be_bytes(offset) }
    }
}

impl std::fmt::Display for LogPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

/// The records that one dead letter stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetterRange {
    /// The first of them.
    pub first: LogPosition,
    /// Offset of the last one: another than the first only of a batch that could not be read.
    pub last_offset: i64,
}

impl DeadLetterRange {
    /// Bytes whose order is that of the first positions.
    pub fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..12].copy_from_slice(&self.first.to_bytes());
        bytes[12..].copy_from_slice(&self.last_offset.to_be_bytes());
        bytes
    }

    /// The range that such bytes encode.
    pub fn from_bytes(bytes: [u8; 20]) -> Self {
        let (mut first, mut last_offset) = ([0; 12], [0; 8]);
        first.copy_from_slice(&bytes[..12]);
        last_offset.copy_from_slice(&bytes[12..]);
        let first = LogPosition::from_bytes(first);
        Self { first, last_offset: i64::from_be_bytes(last_offset) }
    }
}

/// An event, and the position of its record, or the position in the columns of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditEntry {
    /// The event.
    pub id: Id,
    /// The position.
    pub position: LogPosition,
}

impl AuditEntry {
    /// Bytes whose order is that of the ids, then of the positions.
    pub fn to_bytes(self) -> [u8; 28] {
        let mut bytes = [0; 28];
        bytes[..16].copy_from_slice(&self.id);
        bytes[16..].copy_from_slice(&self.position.to_bytes());
        bytes
    }

    /// The entry that such bytes encode.
    pub fn from_bytes(bytes: [u8; 28]) -> Self {
        let (mut id, mut position) = ([0; 16], [0; 12]);
        id.copy_from_slice(&bytes[..16]);
        position.copy_from_slice(&bytes[16..]);
        Self { id, position: LogPosition::from_bytes(position) }
    }
}

/// One partition of the log, and what the comparison found in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PartitionReport {
    /// First offset. Earlier records have expired and cannot be read.
    pub low: i64,
    /// Position after the last offset that was read.
    pub high: i64,
    /// End of the log after the audit had read the view: rows of offsets from `high` to this one were
    /// inserted while the audit read.
    pub end: i64,
    /// Records read.
    pub records: u64,
    /// Events whose first record is in this partition.
    pub events: u64,
    /// Records whose event has an earlier record (by partition and offset).
    pub resends: u64,
    /// Records that cannot become a row.
    pub undecodable: u64,
    /// Those of them that the dead-letter topic does not hold.
    pub undecodable_without_dead_letter: u64,
    /// Missing events whose first record without a dead letter is here.
    pub missing: u64,
}

/// The result of the comparison. `--json` prints it with these field names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Records in the log.
    pub log_records: u64,
    /// Distinct events among them.
    pub log_events: u64,
    /// Records whose event has an earlier record.
    pub resends: u64,
    /// Records that cannot become a row.
    pub undecodable: u64,
    /// Those of them that the dead-letter topic does not hold.
    pub undecodable_without_dead_letter: u64,
    /// Rows that the view shows, except `newer`.
    pub clicks: u64,
    /// Rows of records that were appended after the audit took the log's length.
    pub newer: u64,
    /// Rows beyond the first of an event.
    pub duplicates: u64,
    /// Rows on another shard than the one that their event ids name.
    pub misplaced: u64,
    /// Events of the log that the view does not show, and of which a record has no dead letter.
    pub missing: u64,
    /// Events of the log that the view does not show, and records that cannot become a row and have no dead
    /// letter, at or beyond the position of the group: it has still to process them.
    pub lagging: u64,
    /// The same, in the gap of a skip whose job is not done.
    pub in_job: u64,
    /// The same, by job.
    pub in_jobs: BTreeMap<String, u64>,
    /// Those of these jobs that have ended without being done: nothing processes their gaps.
    pub ended_jobs: BTreeSet<String>,
    /// Events of the log that the view does not show, and whose records all have dead letters: a redrive
    /// would make them rows, because what made them dead letters was corrected.
    pub dead_lettered: u64,
    /// Events of the view that the log does not hold.
    pub surplus: u64,
    /// Those of them whose record has expired, by the offset in the row.
    pub surplus_expired: u64,
    /// Whether records of the log have expired.
    pub log_expired: bool,
    /// The first missing events, `id partition:offset`.
    pub missing_examples: Vec<String>,
    /// The first events that the view shows more than once.
    pub duplicate_examples: Vec<String>,
    /// The first misplaced rows, `id on shard N instead of N`.
    pub misplaced_examples: Vec<String>,
    /// The first surplus events whose record has not expired.
    pub surplus_examples: Vec<String>,
    /// The first records without a dead letter, `partition:offset`.
    pub undecodable_examples: Vec<String>,
    /// The counts by partition, of those that belong to one.
    pub partitions: BTreeMap<i32, PartitionReport>,
    /// The first lagging record without a row and a dead letter, by partition.
    #[serde(skip)]
    pub lagging_from: BTreeMap<i32, i64>,
    /// The records that have neither a row nor a dead letter and are not pending, or wait for a job that has ended.
    #[serde(skip)]
    pub differences: DifferenceOffsets,
}

impl AuditReport {
    /// Whether no event is lost or counted twice. What a job is to process is not lost, unless the job has ended.
    pub fn balanced(&self) -> bool {
        let lacks_rows = self.missing > 0
            || self.undecodable_without_dead_letter > 0
            || !self.ended_jobs.is_empty();
        !lacks_rows && self.lacks_rows_only()
    }

    /// Whether it finds at most a lack of rows: `differences` has the records of these findings, and of no other one.
    pub fn lacks_rows_only(&self) -> bool {
        self.duplicates == 0 && self.misplaced == 0 && self.surplus == self.surplus_expired
    }

    /// Whether waiting may balance it: rows or dead letters may not be stored yet.
    pub fn may_still_come(&self) -> bool {
        self.missing > 0 || self.undecodable_without_dead_letter > 0 || self.lagging > 0
    }

    /// Those in the gaps of skips whose jobs have ended without being done.
    fn left_by_ended_jobs(&self) -> u64 {
        let ended = self.in_jobs.iter().filter(|(id, _)| self.ended_jobs.contains(*id));
        ended.map(|(_, count)| count).sum()
    }

    fn write_pending(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.lagging > 0 {
            writeln!(f, "lagging  {}: the group has still to process them", self.lagging)?;
        }
        for (id, count) in &self.in_jobs {
            match self.ended_jobs.contains(id) {
                false => writeln!(f, "in job   {count}: skipped; replay {id} is to process them")?,
                true => writeln!(
                    f,
                    "in job   {count}: skipped, and replay {id} has ended without them; run it with: \
                     processors replay run {id}"
                )?,
            }
        }
        Ok(())
    }

    fn write_findings(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let surplus = self.surplus - self.surplus_expired;
        let findings = [
            ("missing", self.missing, &self.missing_examples, "in the log, not in clicks"),
            (
                "duplicate",
                self.duplicates,
                &self.duplicate_examples,
                "rows beyond the first of an event",
            ),
            (
                "misplaced",
                self.misplaced,
                &self.misplaced_examples,
                "on another shard than their own, so that the next version of a click does not replace its row \
                 (RUNBOOK.md#rows-on-a-wrong-shard)",
            ),
            ("surplus", surplus, &self.surplus_examples, "in clicks, not in the log"),
            (
                "without dead letter",
                self.undecodable_without_dead_letter,
                &self.undecodable_examples,
                "undecodable, and no dead letter holds them",
            ),
        ];
        for (name, count, examples, what) in findings {
            if count > 0 {
                writeln!(f, "{name:8} {count}: {what}; first: {}", examples.join(", "))?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for AuditReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "log      records {}, events {}, resends {}, undecodable {}",
            self.log_records, self.log_events, self.resends, self.undecodable
        )?;
        for (number, partition) in &self.partitions {
            let PartitionReport { low, high, records, missing, .. } = partition;
            let expired = if *low > 0 { ", earlier records have expired" } else { "" };
            writeln!(
                f,
                "  {number:<6} from {low} to {high}: records {records}, missing {missing}{expired}"
            )?;
        }
        let newer = match self.newer {
            0 => String::new(),
            newer => format!(", newer than the audit {newer}"),
        };
        writeln!(f, "clicks   shown {}, duplicates {}{newer}", self.clicks, self.duplicates)?;
        if self.dead_lettered > 0 {
            writeln!(
                f,
                "dead letter {}: in the log, not in clicks, and dead letters hold them; \
                 `processors dlq redrive` sends them again",
                self.dead_lettered
            )?;
        }
        self.write_pending(f)?;
        if self.surplus_expired > 0 {
            writeln!(
                f,
                "expired  {}: in clicks, and their records have expired",
                self.surplus_expired
            )?;
        }
        self.write_findings(f)?;
        write!(f, "audit: {}", if self.balanced() { "balanced" } else { "OUT OF BALANCE" })?;
        // What an ended job has left is a cause of the imbalance; the rest of the pending ones are no finding.
        let left = self.left_by_ended_jobs();
        if left > 0 {
            write!(f, ", with {left} in jobs that have ended without them")?;
        }
        match self.lagging + self.in_job - left {
            0 => Ok(()),
            pending if self.balanced() => {
                write!(f, ", except {pending} that are lagging or in a job")
            }
            pending => write!(f, "; {pending} more are lagging or in a job"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_on_a_wrong_shard_is_out_of_balance_and_named_with_the_way_out() {
        let report = AuditReport::default();
        assert!(report.balanced() && !report.to_string().contains("misplaced"), "{report}");
        let misplaced_examples = vec!["a on shard 2 instead of 1".to_owned()];
        let report = AuditReport { misplaced: 1, misplaced_examples, ..report };
        let text = report.to_string();
        assert!(!report.balanced() && !report.may_still_come() && text.ends_with("OUT OF BALANCE"));
        assert!(text.contains("\nmisplaced 1: on another shard than their own"), "{text}");
        assert!(text.contains("(RUNBOOK.md#rows-on-a-wrong-shard); first: a on shard 2"), "{text}");
    }
}
