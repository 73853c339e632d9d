//! A dictionary column in the making: each word is kept once, each row says which.

use std::hash::{BuildHasher as _, Hasher as _};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow_array::types::UInt16Type;
use arrow_array::{ArrayRef, DictionaryArray, StringArray, UInt16Array};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::ArrowError;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// The column.
#[derive(Debug)]
pub(crate) struct Words {
    keys: Vec<u16>,
    /// Of each word, where it ends in `text`; the first entry is 0.
    ends: Vec<i32>,
    text: Vec<u8>,
    /// Where the last row's word stands in `text`.
    last: Range<usize>,
    known: HashTable<(u16, u64)>,
    /// Of each word of the column that this one follows, the word here.
    by: Vec<Option<u16>>,
    /// Words of the program itself, found by where they stand.
    labels: Vec<(&'static str, u16)>,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            ends: vec![0],
            text: Vec::new(),
            last: 0..0,
            known: HashTable::new(),
            by: Vec::new(),
            labels: Vec::new(),
        }
    }
}

impl Words {
    /// No rows yet, with memory for as many.
    pub(crate) fn for_rows(rows: usize) -> Self {
        Self { keys: Vec::with_capacity(rows), ..Self::default() }
    }

    /// Appends a row. Most columns say the same again and again, so the last word is tried first.
    pub(crate) fn push(&mut self, word: &str) {
        if let Some(&last) = self.keys.last()
            && same(&self.text[self.last.clone()], word.as_bytes())
        {
            self.keys.push(last);
            return;
        }
        let hash = hash(word.as_bytes());
        let Self { ends, text, known, .. } = self;
        let is = |&(key, own): &(u16, u64)| {
            own == hash && same(&text[place(ends, key)], word.as_bytes())
        };
        let key = match known.find(hash, is) {
            Some(&(key, _)) => key,
            None => self.add(word, hash),
        };
        self.push_key(key);
    }

    fn push_key(&mut self, key: u16) {
        self.last = place(&self.ends, key);
        self.keys.push(key);
    }

    /// Appends a row whose word is one of the program's own, of which a column has few.
    pub(crate) fn push_label(&mut self, word: &'static str) {
        match self.labels.iter().find(|(label, _)| std::ptr::eq(*label, word)) {
            Some(&(_, key)) => self.push_key(key),
            None => {
                self.push(word);
                self.labels.extend(self.keys.last().map(|key| (word, *key)));
            }
        }
    }

    /// Appends a row whose word depends on that of another column alone: it is looked up there.
    pub(crate) fn push_by(&mut self, leader: &Self, word: &str) {
        let Some(led) = leader.keys.last().map(|key| usize::from(*key)) else { return };
        if let Some(&Some(key)) = self.by.get(led) {
            self.push_key(key);
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
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let Self { keys, ends, text, .. } = std::mem::take(self);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
        let words = StringArray::try_new(offsets, Buffer::from_vec(text), None)?;
        let keys = UInt16Array::from(keys);
        Ok(Arc::new(DictionaryArray::<UInt16Type>::try_new(keys, Arc::new(words))?))
    }
}

fn place(ends: &[i32], key: u16) -> Range<usize> {
    let end = |at: usize| ends[at].unsigned_abs() as usize;
    end(usize::from(key))..end(usize::from(key) + 1)
}

/// Whether both are the same. Most are short, and a call for each takes as long as all of this.
fn same(one: &[u8], other: &[u8]) -> bool {
    fn ends<const N: usize>(text: &[u8]) -> Option<(&[u8; N], &[u8; N])> {
        Some((text.first_chunk()?, text.last_chunk()?))
    }
    if one.len() != other.len() {
        return false;
    }
    match one.len() {
        0 => true,
        1..4 => one.iter().eq(other),
        4..8 => ends::<4>(one) == ends::<4>(other),
        8..=16 => ends::<8>(one) == ends::<8>(other),
        _ => one == other,
    }
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
    fn texts_of_every_length_are_told_apart() {
        for length in 0..40 {
            let text = vec![b'a'; length];
            assert!(same(&text, &text.clone()));
            assert!(!same(&text, &vec![b'a'; length + 1]));
            for place in 0..length {
                let mut other = text.clone();
                other[place] = b'b';
                assert!(!same(&text, &other), "{length} {place}");
            }
        }
    }

    #[test]
    fn labels_are_words_like_any_other() {
        let mut words = Words::default();
        let (label, part) = ("monitor", &"monitor"[..3]);
        for word in [label, part, label] {
            words.push_label(word);
        }
        // The same word from elsewhere.
        let copy = label.to_owned();
        words.push(&copy);
        let column = words.finish().unwrap();
        assert_eq!(column.as_dictionary::<UInt16Type>().values().len(), 2);
        let typed = column.as_dictionary::<UInt16Type>().downcast_dict::<StringArray>().unwrap();
        let read: Vec<_> = typed.into_iter().map(Option::unwrap).collect();
        assert_eq!(read, ["monitor", "mon", "monitor", "monitor"]);
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
