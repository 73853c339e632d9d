//! Remembers what was made of a text, because the same texts come again and again.

use foldhash::fast::RandomState;
use std::collections::HashMap;

/// Bytes of texts that are remembered; beyond, all is forgotten and begins anew.
const BYTES_MAX: usize = 1 << 20;

/// Answers by text. What is asked must depend on the text alone.
#[derive(Debug)]
pub(super) struct Memo<V> {
    known: HashMap<Box<str>, V, RandomState>,
    bytes: usize,
}

impl<V> Default for Memo<V> {
    fn default() -> Self {
        Self { known: HashMap::default(), bytes: 0 }
    }
}

impl<V> Memo<V> {
    /// The answer to `text`, made by `make` when it is not remembered.
    pub(super) fn get(&mut self, text: &str, make: impl FnOnce(&str) -> V) -> &V {
        if !self.known.contains_key(text) {
            if self.bytes > BYTES_MAX {
                self.known.clear();
                self.bytes = 0;
            }
            // What an entry takes besides its text counts too.
            self.bytes += text.len() + 64;
            self.known.insert(text.into(), make(text));
        }
        &self.known[text]
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
