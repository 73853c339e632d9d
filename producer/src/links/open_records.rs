//! The queue of link records whose schema is not known yet. They wait while the follower reads later
//! records: links have versions, so the order in which their records are applied does not matter.
//!
//! Pure: the time is an argument.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use schemas::SchemaId;

/// Most waiting records.
const RECORDS_MAX: usize = 1_000;
/// Most bytes of the keys and values of waiting records, except that the last record may exceed it.
const BYTES_MAX: usize = 4 << 20;
/// How long the follower asks the registry for an id that it does not have: it may receive an id late.
const WAIT: Duration = Duration::from_secs(5);

/// A waiting record.
#[derive(Debug)]
pub(super) struct OpenRecord {
    pub(super) id: SchemaId,
    pub(super) key: Option<Vec<u8>>,
    /// The value of the record, with the registry's frame.
    pub(super) value: Vec<u8>,
    /// Whether the registry has answered that it does not have the id.
    pub(super) is_asked: bool,
    since: Instant,
    number: u64,
}

impl OpenRecord {
    /// The registry has answered that it does not have the id. The time of the record begins with the first
    /// such answer: a request may take as long as the record waits.
    pub(super) fn note_answer(&mut self, now: Instant) {
        if !self.is_asked {
            (self.is_asked, self.since) = (true, now);
        }
    }

    /// Begins the wait again: the registry that has the id does not answer now.
    pub(super) fn restart(&mut self, now: Instant) {
        (self.since, self.is_asked) = (now, false);
    }

    /// Whether the record has waited for its whole time.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WAIT
    }

    fn bytes(&self) -> usize {
        self.value.len() + self.key.as_ref().map_or(0, Vec::len)
    }
}

/// The waiting records, in the order in which they were read.
#[derive(Debug, Default)]
pub(super) struct OpenRecords {
    records: VecDeque<OpenRecord>,
    bytes: usize,
    pushed: u64,
}

impl OpenRecords {
    /// Adds a record that was just read.
    pub(super) fn push(&mut self, id: SchemaId, key: Option<&[u8]>, value: &[u8], now: Instant) {
        self.pushed += 1;
        let (key, value) = (key.map(<[u8]>::to_vec), value.to_vec());
        let (is_asked, number) = (false, self.pushed);
        self.keep(OpenRecord { id, key, value, is_asked, since: now, number });
    }

    /// Puts a record back that was taken.
    pub(super) fn keep(&mut self, record: OpenRecord) {
        self.bytes += record.bytes();
        self.records.push_back(record);
    }

    /// Takes all records.
    pub(super) fn take(&mut self) -> VecDeque<OpenRecord> {
        self.bytes = 0;
        std::mem::take(&mut self.records)
    }

    /// Takes the first record.
    pub(super) fn take_first(&mut self) -> Option<OpenRecord> {
        let record = self.records.pop_front()?;
        self.bytes -= record.bytes();
        Some(record)
    }

    /// Restarts the time of all records, because the registry did not answer: after an outage it may not have
    /// its ids yet.
    pub(super) fn restart(&mut self, now: Instant) {
        self.records.iter_mut().for_each(|record| record.restart(now));
    }

    /// Whether the registry has answered for the first record.
    pub(super) fn is_first_asked(&self) -> bool {
        self.records.front().is_some_and(|record| record.is_asked)
    }

    /// The schema ids of the waiting records.
    pub(super) fn ids(&self) -> BTreeSet<SchemaId> {
        self.records.iter().map(|record| record.id).collect()
    }

    /// Whether the queue is full.
    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= RECORDS_MAX || self.bytes >= BYTES_MAX
    }

    /// Whether no record waits.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Number of records that were added so far.
    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Whether one of the first `pushed` records still waits.
    pub(super) fn has_one_of(&self, pushed: u64) -> bool {
        self.records.iter().any(|record| record.number <= pushed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test starts at the time of its process")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn h5_records_that_wait_are_bounded_by_number_and_by_bytes() {
        let now = start();
        for (value, expected) in [(0, RECORDS_MAX), (16 << 10, 256)] {
            let mut open = OpenRecords::default();
            while !open.is_full() {
                open.push(SchemaId(1), None, &vec![0; value], now);
            }
            assert_eq!(open.records.len(), expected);
            assert!(open.take_first().is_some() && !open.is_full());
            assert_eq!((open.take().len(), open.bytes), (expected - 1, 0));
        }
    }

    #[test]
    fn h5_each_record_has_its_time_and_an_outage_gives_it_back() {
        let now = start();
        let mut open = OpenRecords::default();
        open.push(SchemaId(1), Some(b"a"), b"v", now);
        open.push(SchemaId(2), None, b"v", now + WAIT / 2);
        let overdue = |open: &OpenRecords, at: Instant| {
            open.records.iter().map(|record| record.is_overdue(at)).collect::<Vec<_>>()
        };
        assert_eq!(overdue(&open, now + WAIT), [true, false]);
        open.restart(now + WAIT);
        assert_eq!(overdue(&open, now + WAIT + WAIT / 2), [false, false]);
        assert_eq!(overdue(&open, now + WAIT * 2), [true, true]);
        assert_eq!(open.ids(), BTreeSet::from([SchemaId(1), SchemaId(2)]));
        // The number of a record shows whether the follower read it before a given moment, also after `keep`.
        let mark = open.pushed();
        for record in open.take() {
            open.keep(record);
        }
        open.push(SchemaId(3), None, b"v", now);
        assert!(open.has_one_of(mark));
        assert!(open.take_first().is_some() && open.take_first().is_some());
        assert!(!open.has_one_of(mark) && !open.is_empty());
    }
}
