//! Remembers what was made of a text, because the same texts come again and again.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Bytes of texts that are remembered; beyond, all is forgotten and begins anew.
const BYTES_MAX: usize = 1 << 20;

/// Answers by text. What is asked must depend on the text alone.
#[derive(Debug)]
pub(super) struct Memo<V> {
    known: HashTable<(Box<str>, V)>,
    /// Seeded at random, for whoever sends clicks chooses the texts.
    hasher: RandomState,
    bytes: usize,
}

impl<V> Default for Memo<V> {
    fn default() -> Self {
        Self { known: HashTable::new(), hasher: RandomState::default(), bytes: 0 }
    }
}

impl<V> Memo<V> {
    /// The answer to `text`, made by `make` when it is not remembered.
    pub(super) fn get(&mut self, text: &str, make: impl FnOnce(&str) -> V) -> &V {
        if self.bytes > BYTES_MAX {
            self.clear();
        }
        let Self { known, hasher, bytes } = self;
        let hash = |text: &str| hasher.hash_one(text);
        let found = known.entry(hash(text), |(own, _)| **own == *text, |(own, _)| hash(own));
        let entry = match found {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => {
                // What an entry takes besides its text counts too.
                *bytes += text.len() + 64;
                entry.insert((text.into(), make(text)))
            }
        };
        &entry.into_mut().1
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.bytes = 0;
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
            assert!(memo.known.len() * 64 <= BYTES_MAX + 128);
        }
    }
}
