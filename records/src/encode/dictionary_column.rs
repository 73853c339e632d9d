//! Builds a dictionary column: each distinct text is stored once, and each row has its key.

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
pub(crate) struct DictionaryColumn {
    keys: Vec<u16>,
    /// The end of each distinct text in `text`; the first entry is 0.
    ends: Vec<i32>,
    text: Vec<u8>,
    /// The range of the last row's text in `text`.
    last: Range<usize>,
    known: HashTable<(u16, u64)>,
    /// The key in this column, by the key of the leader.
    derived: Vec<Option<u16>>,
    /// Texts that the program defines, found by their address.
    labels: Vec<(&'static str, u16)>,
}

impl Default for DictionaryColumn {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            ends: vec![0],
            text: Vec::new(),
            last: 0..0,
            known: HashTable::new(),
            derived: Vec::new(),
            labels: Vec::new(),
        }
    }
}

impl DictionaryColumn {
    /// An empty column with memory for this many rows.
    pub(crate) fn for_rows(rows: usize) -> Self {
        Self { keys: Vec::with_capacity(rows), ..Self::default() }
    }

    /// Appends a row. Most columns repeat, so the text of the last row is compared first.
    pub(crate) fn push(&mut self, value: &str) {
        if let Some(&last) = self.keys.last()
            && same(&self.text[self.last.clone()], value.as_bytes())
        {
            self.keys.push(last);
            return;
        }
        let hash = hash(value.as_bytes());
        let Self { ends, text, known, .. } = self;
        let is = |&(key, own): &(u16, u64)| {
            own == hash && same(&text[range(ends, key)], value.as_bytes())
        };
        let key = match known.find(hash, is) {
            Some(&(key, _)) => key,
            None => self.add(value, hash),
        };
        self.push_key(key);
    }

    fn push_key(&mut self, key: u16) {
        self.last = range(&self.ends, key);
        self.keys.push(key);
    }

    /// Appends a row whose text the program defines; a column has few of them.
    pub(crate) fn push_label(&mut self, value: &'static str) {
        match self.labels.iter().find(|(label, _)| std::ptr::eq(*label, value)) {
            Some(&(_, key)) => self.push_key(key),
            None => {
                self.push(value);
                self.labels.extend(self.keys.last().map(|key| (value, *key)));
            }
        }
    }

    /// Appends a row whose text depends only on the last row of `leader`, and is looked up by its key.
    pub(crate) fn push_derived(&mut self, leader: &Self, value: &str) {
        let Some(leader_key) = leader.keys.last().map(|key| usize::from(*key)) else { return };
        if let Some(&Some(key)) = self.derived.get(leader_key) {
            self.push_key(key);
            return;
        }
        self.push(value);
        self.derived.resize(self.derived.len().max(leader_key + 1), None);
        self.derived[leader_key] = self.keys.last().copied();
    }

    /// Appends a row whose text nearly always depends only on the last row of `leader`.
    pub(crate) fn push_usual(&mut self, leader: &Self, value: &str) {
        let leader_key = leader.keys.last().map(|key| usize::from(*key));
        let usual = leader_key.and_then(|key| self.derived.get(key).copied().flatten());
        match usual {
            Some(key) if same(&self.text[range(&self.ends, key)], value.as_bytes()) => {
                self.push_key(key);
            }
            Some(_) => self.push(value),
            None => self.push_derived(leader, value),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "a block has far fewer rows than 2^16, and bytes than 2^31"
    )]
    fn add(&mut self, value: &str, hash: u64) -> u16 {
        let key = (self.ends.len() - 1) as u16;
        self.text.extend_from_slice(value.as_bytes());
        self.ends.push(self.text.len() as i32);
        self.known.insert_unique(hash, (key, hash), |&(_, hash)| hash);
        key
    }

    /// Takes the column; leaves it empty.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let Self { keys, ends, text, .. } = std::mem::take(self);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
        let texts = StringArray::try_new(offsets, Buffer::from_vec(text), None)?;
        let keys = UInt16Array::from(keys);
        Ok(Arc::new(DictionaryArray::<UInt16Type>::try_new(keys, Arc::new(texts))?))
    }
}

fn range(ends: &[i32], key: u16) -> Range<usize> {
    let end = |at: usize| ends[at].unsigned_abs() as usize;
    end(usize::from(key))..end(usize::from(key) + 1)
}

/// Whether both are equal. Most texts are short: a call of `memcmp` takes longer than this.
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

/// Seeded at random, because senders of clicks choose the texts.
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
    fn texts_keep_their_order_and_each_is_stored_once() {
        let given = ["a", "a", "", "b", "a", "ü", "b", ""];
        let mut texts = DictionaryColumn::default();
        given.iter().for_each(|value| texts.push(value));
        let column = texts.finish().unwrap();
        let dictionary = column.as_dictionary::<UInt16Type>();
        assert_eq!(dictionary.values().len(), 4);
        let typed = dictionary.downcast_dict::<StringArray>().unwrap();
        let read: Vec<_> = typed.into_iter().map(Option::unwrap).collect();
        assert_eq!(read, given);
        assert_eq!(texts.finish().unwrap().len(), 0, "it is empty");
    }

    #[test]
    fn texts_of_every_length_are_compared() {
        for length in 0..40 {
            let text = vec![b'a'; length];
            assert!(same(&text, &text.clone()));
            assert!(!same(&text, &vec![b'a'; length + 1]));
            for index in 0..length {
                let mut other = text.clone();
                other[index] = b'b';
                assert!(!same(&text, &other), "{length} {index}");
            }
        }
    }

    #[test]
    fn an_unusual_text_of_the_same_leader_is_kept() {
        let (mut agents, mut browsers) = (DictionaryColumn::default(), DictionaryColumn::default());
        let rows = [("a", "x"), ("a", "y"), ("b", "y"), ("a", "x"), ("b", "x"), ("a", "z")];
        for (agent, browser) in rows {
            agents.push(agent);
            browsers.push_usual(&agents, browser);
        }
        let column = browsers.finish().unwrap();
        let dictionary = column.as_dictionary::<UInt16Type>();
        assert_eq!(dictionary.values().len(), 3);
        let read = dictionary.downcast_dict::<StringArray>().unwrap();
        let read: Vec<_> = read.into_iter().map(Option::unwrap).collect();
        assert_eq!(read, rows.map(|(_, browser)| browser));
    }

    #[test]
    fn a_label_equals_the_same_text_from_elsewhere() {
        let mut texts = DictionaryColumn::default();
        let (label, part) = ("monitor", &"monitor"[..3]);
        for value in [label, part, label] {
            texts.push_label(value);
        }
        // The same text from elsewhere.
        let copy = label.to_owned();
        texts.push(&copy);
        let column = texts.finish().unwrap();
        assert_eq!(column.as_dictionary::<UInt16Type>().values().len(), 2);
        let typed = column.as_dictionary::<UInt16Type>().downcast_dict::<StringArray>().unwrap();
        let read: Vec<_> = typed.into_iter().map(Option::unwrap).collect();
        assert_eq!(read, ["monitor", "mon", "monitor", "monitor"]);
    }

    #[test]
    fn a_derived_column_follows_its_leader() {
        let (mut leader, mut follower) = (DictionaryColumn::default(), DictionaryColumn::default());
        for value in ["aa", "b", "aa", "ab", "b"] {
            leader.push(value);
            follower.push_derived(&leader, &value[..1]);
        }
        let column = follower.finish().unwrap();
        let typed = column.as_dictionary::<UInt16Type>().downcast_dict::<StringArray>().unwrap();
        let read: Vec<_> = typed.into_iter().map(Option::unwrap).collect();
        assert_eq!(read, ["a", "b", "a", "a", "b"]);
    }

    #[test]
    fn a_full_block_of_distinct_texts_fits_the_keys() {
        const ROWS_MAX: usize = 1 << 16;
        let mut texts = DictionaryColumn::default();
        let given: Vec<String> = (0..ROWS_MAX).map(|row| format!("text {row}")).collect();
        given.iter().for_each(|value| texts.push(value));
        let column = texts.finish().unwrap();
        let dictionary = column.as_dictionary::<UInt16Type>();
        let typed = dictionary.downcast_dict::<StringArray>().unwrap();
        assert!(typed.into_iter().map(Option::unwrap).eq(given.iter().map(String::as_str)));
    }
}
