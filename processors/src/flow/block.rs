//! Records as they came from the log, in one block of memory: what is decoded together.
//!
//! It copies bytes in and lends them out; it does no I/O and reads no clock.

use std::ops::Range;

use crate::flow::offset_range::{Span, Spans};

/// How much may be held together. A single record may exceed `bytes_max`; it is then alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records.
    pub rows_max: usize,
    /// Bytes.
    pub bytes_max: usize,
}

/// A header as it stood in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its bytes; `None` is Kafka's null.
    pub value: Option<&'a [u8]>,
}

/// A record as it stood in the log.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    block: &'a Block,
    entry: &'a Entry,
}

/// One block, growing.
#[derive(Debug, Default)]
pub struct Block {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    headers: Vec<(Range<u32>, Option<Range<u32>>)>,
    spans: Spans,
}

#[derive(Debug)]
struct Entry {
    partition: i32,
    offset: i64,
    logged_at_ms: i64,
    key: Option<Range<u32>>,
    value: Option<Range<u32>>,
    headers: Range<u32>,
}

impl Block {
    /// Takes all records out and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.headers.clear();
        self.spans = Spans::default();
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Records held.
    pub fn rows(&self) -> usize {
        self.entries.len()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no more may be pushed.
    pub fn is_full(&self, limits: Limits) -> bool {
        self.rows() >= limits.rows_max || self.bytes() >= limits.bytes_max
    }

    /// What it covers, by partition.
    pub fn spans(&self) -> &Spans {
        &self.spans
    }

    /// Appends a record of partition `partition`, read under assignment `epoch`.
    ///
    /// # Panics
    /// When the block grows past 4 GiB, which limits far below that prevent.
    pub fn push<'h>(
        &mut self,
        (partition, offset, epoch): (i32, i64, u64),
        logged_at_ms: i64,
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        headers: impl Iterator<Item = Header<'h>>,
    ) {
        let key = key.map(|bytes| self.keep(bytes));
        let value = value.map(|bytes| self.keep(bytes));
        let first_header = index(self.headers.len());
        for header in headers {
            let name = self.keep(header.name.as_bytes());
            let value = header.value.map(|bytes| self.keep(bytes));
            self.headers.push((name, value));
        }
        let headers = first_header..index(self.headers.len());
        self.entries.push(Entry { partition, offset, logged_at_ms, key, value, headers });
        self.spans.add(partition, Span { epoch, first: offset, next: offset + 1 });
    }

    /// Appends a record of another block.
    pub fn copy(&mut self, record: Record<'_>) {
        let place = (record.partition(), record.offset(), 0);
        let bytes = (record.key(), record.value());
        self.push(place, record.logged_at_ms(), bytes, record.headers());
    }

    /// The records, in the order they were pushed.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.entries.iter().map(|entry| Record { block: self, entry })
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<u32> {
        let start = index(self.bytes.len());
        self.bytes.extend_from_slice(bytes);
        start..index(self.bytes.len())
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }
}

#[expect(clippy::expect_used, reason = "limits keep a block far below 4 GiB")]
fn index(length: usize) -> u32 {
    u32::try_from(length).expect("a block stays below 4 GiB")
}

impl<'a> Record<'a> {
    /// Partition it was read from.
    pub fn partition(self) -> i32 {
        self.entry.partition
    }

    /// Its offset there.
    pub fn offset(self) -> i64 {
        self.entry.offset
    }

    /// When the broker appended it, milliseconds since 1970.
    pub fn logged_at_ms(self) -> i64 {
        self.entry.logged_at_ms
    }

    /// Its key.
    pub fn key(self) -> Option<&'a [u8]> {
        self.entry.key.as_ref().map(|range| self.block.slice(range))
    }

    /// Its value; `None` is a tombstone.
    pub fn value(self) -> Option<&'a [u8]> {
        self.entry.value.as_ref().map(|range| self.block.slice(range))
    }

    /// Its headers, in order.
    pub fn headers(self) -> impl Iterator<Item = Header<'a>> {
        self.raw_headers().map(|(name, value)| Header {
            name: std::str::from_utf8(name).unwrap_or_default(),
            value,
        })
    }

    /// The first header of that name.
    pub fn header(self, name: &str) -> Option<&'a [u8]> {
        self.raw_headers().find(|(own, _)| *own == name.as_bytes()).and_then(|(_, value)| value)
    }

    fn raw_headers(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let Range { start, end } = self.entry.headers;
        self.block.headers[start as usize..end as usize].iter().map(move |(name, value)| {
            (self.block.slice(name), value.as_ref().map(|range| self.block.slice(range)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(block: &mut Block, partition: i32, offset: i64, epoch: u64) {
        block.push((partition, offset, epoch), 0, (None, Some(b"value")), std::iter::empty());
    }

    #[test]
    fn a_record_comes_back_as_it_stood_in_the_log() {
        let mut block = Block::default();
        let headers = [
            Header { name: "a", value: Some(b"1") },
            Header { name: "a", value: None },
            Header { name: "", value: Some(b"") },
        ];
        block.push((3, 7, 1), 99, (Some(b""), None), headers.into_iter());
        block.push((3, 9, 1), 100, (None, Some(b"v")), std::iter::empty());
        let records: Vec<_> = block.records().collect();
        assert_eq!(records[0].key(), Some(&b""[..]));
        assert_eq!(records[0].value(), None);
        assert_eq!(records[0].logged_at_ms(), 99);
        assert_eq!(records[0].headers().collect::<Vec<_>>(), headers);
        assert_eq!(records[0].header("a"), Some(&b"1"[..]));
        assert_eq!(records[1].value(), Some(&b"v"[..]));
        assert_eq!(records[1].headers().count(), 0);
        assert_eq!((records[1].partition(), records[1].offset()), (3, 9));
    }

    #[test]
    fn limits_hold_for_rows_and_for_bytes() {
        let limits = Limits { rows_max: 3, bytes_max: 12 };
        let mut block = Block::default();
        assert!(block.is_empty() && !block.is_full(limits));
        push(&mut block, 0, 0, 1);
        push(&mut block, 0, 1, 1);
        assert!(!block.is_full(limits), "10 bytes of 12, 2 rows of 3");
        push(&mut block, 0, 2, 1);
        assert!(block.is_full(limits));
        assert!(block.is_full(Limits { rows_max: 4, bytes_max: 15 }));
    }
}
