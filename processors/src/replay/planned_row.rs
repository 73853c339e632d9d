//! The row that a replay would write of one record, and how it differs from the row that the view shows. Pure.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::audit::entry::Id;

/// Bytes of the key.
const KEY_BYTES: usize = 24;
/// Bytes of a compared row.
pub(crate) const BYTES: usize = KEY_BYTES + 8 + 16;

/// Time and id of a click: the key of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClickKey {
    /// Microseconds since 1970.
    pub(crate) occurred_at_us: i64,
    pub(crate) event_id: Id,
}

impl ClickKey {
    /// Bytes whose order is that of the keys, for times since 1970.
    pub(crate) fn to_bytes(self) -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        bytes[..8].copy_from_slice(&self.occurred_at_us.to_be_bytes());
        bytes[8..].copy_from_slice(&self.event_id);
        bytes
    }
}

/// The row of one record.
#[derive(Debug)]
pub(crate) struct PlannedRow {
    pub(crate) key: ClickKey,
    /// Of the compared columns, in their order.
    pub(crate) texts: Vec<String>,
}

/// Which columns of a row would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowDifference(u128);

impl RowDifference {
    /// The view shows no row of the click.
    pub(crate) const NEW: Self = Self(1 << 127);

    /// The difference of the compared columns of two rows.
    pub(crate) fn of(planned: &[String], current: &[String]) -> Self {
        debug_assert!(planned.len() == current.len() && planned.len() < 127);
        let pairs = (0_u32..).zip(planned.iter().zip(current));
        let differing = pairs.filter(|(_, (planned, current))| planned != current);
        Self(differing.map(|(column, _)| 1_u128 << column).sum())
    }

    /// Whether the column of this index would change.
    pub(crate) fn has(self, column: usize) -> bool {
        (self.0 >> column) & 1 == 1
    }
}

/// A row that was compared. Copies of a click are compared by their fingerprints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ComparedRow {
    pub(crate) key: ClickKey,
    /// Hash of the texts.
    pub(crate) fingerprint: u64,
    pub(crate) difference: RowDifference,
}

impl ComparedRow {
    /// Compares a row with the one that the view shows.
    pub(crate) fn of(planned: &PlannedRow, current: Option<&[String]>) -> Self {
        let mut hasher = DefaultHasher::new();
        planned.texts.hash(&mut hasher);
        let difference = match current {
            None => RowDifference::NEW,
            Some(current) => RowDifference::of(&planned.texts, current),
        };
        Self { key: planned.key, fingerprint: hasher.finish(), difference }
    }

    /// Bytes whose order is that of the keys.
    pub(crate) fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..KEY_BYTES].copy_from_slice(&self.key.to_bytes());
        bytes[KEY_BYTES..32].copy_from_slice(&self.fingerprint.to_be_bytes());
        bytes[32..].copy_from_slice(&self.difference.0.to_be_bytes());
        bytes
    }

    /// The row that such bytes encode.
    pub(crate) fn from_bytes(bytes: [u8; BYTES]) -> Self {
        let (mut time, mut event_id) = ([0; 8], [0; 16]);
        let (mut fingerprint, mut difference) = ([0; 8], [0; 16]);
        time.copy_from_slice(&bytes[..8]);
        event_id.copy_from_slice(&bytes[8..KEY_BYTES]);
        fingerprint.copy_from_slice(&bytes[KEY_BYTES..32]);
        difference.copy_from_slice(&bytes[32..]);
        Self {
            key: ClickKey { occurred_at_us: i64::from_be_bytes(time), event_id },
            fingerprint: u64::from_be_bytes(fingerprint),
            difference: RowDifference(u128::from_be_bytes(difference)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_compared_row_has_its_changed_columns_and_a_fingerprint_of_its_values() {
        let key = ClickKey { occurred_at_us: 7, event_id: [3; 16] };
        let planned = |all| PlannedRow { key, texts: texts(all) };
        let one = planned(&["DE", "", "b"]);
        let row = ComparedRow::of(&one, Some(&texts(&["", "", "a"])));
        assert_eq!([0, 1, 2].map(|column| row.difference.has(column)), [true, false, true]);
        assert_eq!(ComparedRow::from_bytes(row.to_bytes()), row);
        let new = ComparedRow::of(&one, None);
        assert_eq!((new.difference, new.fingerprint), (RowDifference::NEW, row.fingerprint));
        let other = ComparedRow::of(&planned(&["DE", "b", ""]), None);
        assert_ne!(other.fingerprint, row.fingerprint);
        let same = ComparedRow::of(&one, Some(&one.texts));
        assert_eq!(same.difference, RowDifference(0));
    }
}
