//! A bounded cache of results by text, because texts of clicks repeat.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Bytes at which a generation is full.
const BYTES_MAX: usize = 2 << 20;

/// Values by text. A value must depend only on its text.
///
/// Two generations: a full newer one replaces the older one, and a value that is read moves to the newer
/// one. So a frequent text stays cached, however many texts occur once.
#[derive(Debug)]
pub(super) struct TwoGenerationCache<V> {
    newer: HashTable<(Box<str>, V)>,
    older: HashTable<(Box<str>, V)>,
    /// Seeded at random, because senders of clicks choose the texts.
    hasher: RandomState,
    /// Bytes of the newer one.
    bytes: usize,
}

impl<V> Default for TwoGenerationCache<V> {
    fn default() -> Self {
        let (newer, older) = (HashTable::new(), HashTable::new());
        Self { newer, older, hasher: RandomState::default(), bytes: 0 }
    }
}

impl<V> TwoGenerationCache<V> {
    /// The value of `text`, made by `make` when it is not cached.
    pub(super) fn get(&mut self, text: &str, make: impl FnOnce(&str) -> V) -> &V {
        if self.bytes > BYTES_MAX {
            self.older = std::mem::take(&mut self.newer);
            self.bytes = 0;
        }
        let Self { newer, older, hasher, bytes } = self;
        let hash = |text: &str| hasher.hash_one(text);
        let (own, same) = (hash(text), |entry: &(Box<str>, V)| *entry.0 == *text);
        let entry = match newer.entry(own, same, |(text, _)| hash(text)) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => {
                // A value has about as many bytes on the heap as its text.
                *bytes += 2 * text.len() + size_of::<(Box<str>, V)>();
                let known = older.find_entry(own, same).ok();
                let known = known.map(|known| known.remove().0);
                entry.insert(known.unwrap_or_else(|| (text.into(), make(text))))
            }
        };
        &entry.into_mut().1
    }

    /// Removes all values.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_once_and_memory_is_bounded() {
        let mut cache = TwoGenerationCache::default();
        let mut made = 0;
        for text in ["a", "b", "a", "a", ""] {
            let value = cache.get(text, |text| {
                made += 1;
                text.len()
            });
            assert_eq!(*value, text.len());
        }
        assert_eq!(made, 3);
        for number in 0..100_000 {
            cache.get(&number.to_string(), str::len);
            cache.get("often", |text| {
                made += 1;
                text.len()
            });
            let entries = cache.newer.len() + cache.older.len();
            assert!(entries * size_of::<(Box<str>, usize)>() <= 2 * BYTES_MAX + 128);
        }
        assert_eq!(made, 4, "a frequent value is made once");
    }
}
