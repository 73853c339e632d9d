//! A dictionary column in the making: each word is kept once, each row says which.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::{Arc, LazyLock};

use arrow_array::types::UInt16Type;
use arrow_array::{ArrayRef, DictionaryArray, StringArray, UInt16Array};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::ArrowError;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// The column.
#[derive(Debug)]
pub(super) struct Words {
    keys: Vec<u16>,
    /// Of each word, where it ends in `text`; the first entry is 0.
    ends: Vec<i32>,
    text: Vec<u8>,
    known: HashTable<(u16, u64)>,
    /// Of each word of the column that this one follows, the word here.
    by: Vec<Option<u16>>,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            ends: vec![0],
            text: Vec::new(),
            known: HashTable::new(),
            by: Vec::new(),
        }
    }
}

impl Words {
    /// Appends a row. Most columns say the same again and again, so the last word is tried first.
    pub(super) fn push(&mut self, word: &str) {
        if let Some(&last) = self.keys.last()
            && text(&self.ends, &self.text, last) == word.as_bytes()
        {
            self.keys.push(last);
            return;
        }
        let hash = hash(word.as_bytes());
        let Self { ends, text: bytes, known, .. } = self;
        let same =
            |&(key, own): &(u16, u64)| own == hash && text(ends, bytes, key) == word.as_bytes();
        let key = match known.find(hash, same) {
            Some(&(key, _)) => key,
            None => self.add(word, hash),
        };
        self.keys.push(key);
    }

    /// Appends a row whose word depends on that of another column alone: it is looked up there.
    pub(super) fn push_by(&mut self, leader: &Self, word: &str) {
        let Some(led) = leader.keys.last().map(|key| usize::from(*key)) else { return };
        if let Some(&Some(key)) = self.by.get(led) {
            self.keys.push(key);
            return;
        }
        self.push(word);
        self.by.resize(self.by.len().max(led + 1), None);
        self.by[led] = self.keys.last().copied();
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "a block has far fewer rows than 2^16, and bytes than 2^31"
    )]
    fn add(&mut self, word: &str, hash: u64) -> u16 {
        let key = (self.ends.len() - 1) as u16;
        self.text.extend_from_slice(word.as_bytes());
        self.ends.push(self.text.len() as i32);
        self.known.insert_unique(hash, (key, hash), |&(_, hash)| hash);
        key
    }

    /// The column as it was, and an empty one in its place.
    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let Self { keys, ends, text, .. } = std::mem::take(self);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
        let words = StringArray::try_new(offsets, Buffer::from_vec(text), None)?;
        let keys = UInt16Array::from(keys);
        Ok(Arc::new(DictionaryArray::<UInt16Type>::try_new(keys, Arc::new(words))?))
    }
}

fn text<'t>(ends: &[i32], text: &'t [u8], key: u16) -> &'t [u8] {
    let (start, end) = (ends[usize::from(key)], ends[usize::from(key) + 1]);
    &text[start.unsigned_abs() as usize..end.unsigned_abs() as usize]
}

/// Seeded at random, for whoever sends clicks chooses the words.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = HASHER.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::cast::AsArray as _;

    #[test]
    fn words_come_back_in_their_order_each_kept_once() {
        let given = ["a", "a", "", "b", "a", "ü", "b", ""];
        let mut words = Words::default();
        given.iter().for_each(|word| words.push(word));
        let column = words.finish().unwrap();
        let dictionary = column.as_dictionary::<UInt16Type>();
        assert_eq!(dictionary.values().len(), 4);
        let typed = dictionary.downcast_dict::<StringArray>().unwrap();
        let read: Vec<_> = typed.into_iter().map(Option::unwrap).collect();
        assert_eq!(read, given);
        assert_eq!(words.finish().unwrap().len(), 0, "it starts anew");
    }

    #[test]
    fn a_column_follows_another() {
        let (mut leader, mut follower) = (Words::default(), Words::default());
        for word in ["aa", "b", "aa", "ab", "b"] {
            leader.push(word);
            follower.push_by(&leader, &word[..1]);
        }
        let column = follower.finish().unwrap();
        let typed = column.as_dictionary::<UInt16Type>().downcast_dict::<StringArray>().unwrap();
        let read: Vec<_> = typed.into_iter().map(Option::unwrap).collect();
        assert_eq!(read, ["a", "b", "a", "a", "b"]);
    }

    #[test]
    fn a_full_block_of_distinct_words_fits_the_keys() {
        const ROWS_MAX: usize = 1 << 16;
        let mut words = Words::default();
        let given: Vec<String> = (0..ROWS_MAX).map(|row| format!("word {row}")).collect();
        given.iter().for_each(|word| words.push(word));
        let column = words.finish().unwrap();
        let dictionary = column.as_dictionary::<UInt16Type>();
        let typed = dictionary.downcast_dict::<StringArray>().unwrap();
        assert!(typed.into_iter().map(Option::unwrap).eq(given.iter().map(String::as_str)));
    }
}
