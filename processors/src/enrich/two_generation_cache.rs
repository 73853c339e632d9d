//! Remembers what was made of a text, because the same texts come again and again.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Bytes from which on a memory is full.
const BYTES_MAX: usize = 2 << 20;

/// Answers by text. What is asked must depend on the text alone.
///
/// Two memories: when the newer one is full it takes the older one's place, and what is asked for
/// again moves back. So what comes often is never forgotten, whatever comes once.
#[derive(Debug)]
pub(super) struct Memo<V> {
    newer: HashTable<(Box<str>, V)>,
    older: HashTable<(Box<str>, V)>,
    /// Seeded at random, for whoever sends clicks chooses the texts.
    hasher: RandomState,
    /// Of the newer one.
    bytes: usize,
}

impl<V> Default for Memo<V> {
    fn default() -> Self {
        let (newer, older) = (HashTable::new(), HashTable::new());
        Self { newer, older, hasher: RandomState::default(), bytes: 0 }
    }
}

impl<V> Memo<V> {
    /// The answer to `text`, made by `make` when it is not remembered.
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
                // What an answer has on the heap is about as much as the text.
                *bytes += 2 * text.len() + size_of::<(Box<str>, V)>();
                let known = older.find_entry(own, same).ok();
                let known = known.map(|known| known.remove().0);
                entry.insert(known.unwrap_or_else(|| (text.into(), make(text))))
            }
        };
        &entry.into_mut().1
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_made_once_and_memory_is_bounded() {
        let mut memo = Memo::default();
        let mut made = 0;
        for text in ["a", "b", "a", "a", ""] {
            let answer = memo.get(text, |text| {
                made += 1;
                text.len()
            });
            assert_eq!(*answer, text.len());
        }
        assert_eq!(made, 3);
        for number in 0..100_000 {
            memo.get(&number.to_string(), str::len);
            memo.get("often", |text| {
                made += 1;
                text.len()
            });
            let entries = memo.newer.len() + memo.older.len();
            assert!(entries * size_of::<(Box<str>, usize)>() <= 2 * BYTES_MAX + 128);
        }
        assert_eq!(made, 4, "what comes often is made once");
    }
}
