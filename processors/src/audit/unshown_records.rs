//! The records of events that the view does not show. They are found in the order of the events, compared
//! with the dead letters in the order of their positions, and counted in the order of the events.

use broker::ServerError;

use crate::audit::dead_letter_merge::without_dead_letter;
use crate::audit::entry::{AuditEntry, DeadLetterRange, LogPosition};
use crate::audit::external_sort::{Sorted, Sorter};

/// Bytes of a position and an id.
const BYTES: usize = 28;
/// Bytes of the position.
const POSITION_BYTES: usize = 12;

/// Sorts them on disk beyond the memory of the two sorters.
#[derive(Debug)]
pub struct UnshownRecords {
    /// All of them.
    pub by_position: Sorter<BYTES>,
    /// Those without a dead letter.
    pub by_event: Sorter<BYTES>,
}

impl UnshownRecords {
    /// Adds a record.
    ///
    /// # Errors
    /// The disk is full.
    pub fn push(&mut self, record: AuditEntry) -> Result<(), ServerError> {
        self.by_position.push(position_first(record))
    }

    /// The records of which no dead letter is in `dead`, sorted as entries.
    ///
    /// # Errors
    /// The disk is full, or cannot be read.
    pub fn without_dead_letter(self, dead: &Sorted<20>) -> Result<Sorted<BYTES>, ServerError> {
        let (records, mut lacking) = (self.by_position.sorted()?, self.by_event);
        let records = records.iter().map(|bytes| bytes.map(entry));
        let dead = dead.iter().map(|bytes| bytes.map(DeadLetterRange::from_bytes));
        without_dead_letter(
            records,
            |record| record.position,
            dead,
            |record| lacking.push(record.to_bytes()),
        )?;
        lacking.sorted()
    }
}

/// Bytes whose order is that of the positions, then of the ids.
fn position_first(record: AuditEntry) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..POSITION_BYTES].copy_from_slice(&record.position.to_bytes());
    bytes[POSITION_BYTES..].copy_from_slice(&record.id);
    bytes
}

/// The entry that such bytes encode.
fn entry(bytes: [u8; BYTES]) -> AuditEntry {
    let (mut position, mut id) = ([0; POSITION_BYTES], [0; 16]);
    position.copy_from_slice(&bytes[..POSITION_BYTES]);
    id.copy_from_slice(&bytes[POSITION_BYTES..]);
    AuditEntry { id, position: LogPosition::from_bytes(position) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_without_a_dead_letter_remain_whatever_the_memory(
            events in prop::collection::vec((0_u8..5, 0_i32..3), 0..40),
            dead in prop::collection::btree_set((0_i32..3, 0_i64..40), 0..40),
            memory in 0_usize..200,
        ) {
            let folder = std::env::temp_dir();
            let (by_position, by_event) = (Sorter::new(&folder, memory), Sorter::new(&folder, memory));
            let mut unshown = UnshownRecords { by_position, by_event };
            let mut letters = Sorter::new(&folder, memory);
            for (partition, offset) in &dead {
                let first = LogPosition { partition: *partition, offset: *offset };
                let range = DeadLetterRange { first, last_offset: *offset };
                letters.push(range.to_bytes()).unwrap();
            }
            let mut expected = BTreeSet::new();
            for (offset, (event, partition)) in (0_i64..).zip(events) {
                let position = LogPosition { partition, offset };
                let record = AuditEntry { id: [event; 16], position };
                unshown.push(record).unwrap();
                if !dead.contains(&(partition, offset)) {
                    expected.insert(record);
                }
            }
            let lacking = unshown.without_dead_letter(&letters.sorted().unwrap()).unwrap();
            let lacking: Vec<_> =
                lacking.iter().map(|bytes| AuditEntry::from_bytes(bytes.unwrap())).collect();
            prop_assert_eq!(lacking, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
