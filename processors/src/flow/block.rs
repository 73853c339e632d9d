//! A block: records as they stand in the log, in one piece of memory, decoded and encoded together.
//!
//! It copies bytes in and lends them out; it does no I/O and reads no clock.

use std::ops::Range;

use crate::flow::offset_range::{OffsetRange, OffsetRanges};

/// Bounds of a block or of a batch. A single record may exceed `bytes_max`; it is then alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeLimits {
    /// Records.
    pub rows_max: usize,
    /// Bytes.
    pub bytes_max: usize,
}

/// Where a record stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Partition.
    pub partition: i32,
    /// Its number there.
    pub offset: i64,
    /// Assignment under which it was read.
    pub epoch: u64,
    /// When the broker appended it, milliseconds since 1970.
    pub logged_at_ms: i64,
}

/// A header as it stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its bytes; `None` is Kafka's null.
    pub value: Option<&'a [u8]>,
}

/// A record of a block.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    block: &'a Block,
    entry: &'a Entry,
}

/// Records that were read one after the other.
#[derive(Debug, Default)]
pub struct Block {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    headers: Vec<(Range<u32>, Option<Range<u32>>)>,
    ranges: OffsetRanges,
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
    /// Removes all records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.headers.clear();
        self.ranges = OffsetRanges::default();
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
    pub fn is_full(&self, limits: SizeLimits) -> bool {
        self.rows() >= limits.rows_max || self.bytes() >= limits.bytes_max
    }

    /// The offsets that it covers, by partition.
    pub fn ranges(&self) -> &OffsetRanges {
        &self.ranges
    }

    /// Appends a record.
    ///
    /// # Panics
    /// When the block grows past 4 GiB, which limits far below that prevent.
    pub fn push<'h>(
        &mut self,
        metadata: RecordMetadata,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = Header<'h>>,
    ) {
        let key = key.map(|bytes| self.append(bytes));
        let value = value.map(|bytes| self.append(bytes));
        let RecordMetadata { partition, offset, epoch, logged_at_ms } = metadata;
        let first_header = index(self.headers.len());
        for header in headers {
            let name = self.append(header.name.as_bytes());
            let value = header.value.map(|bytes| self.append(bytes));
            self.headers.push((name, value));
        }
        let headers = first_header..index(self.headers.len());
        self.entries.push(Entry { partition, offset, logged_at_ms, key, value, headers });
        self.ranges.add(partition, OffsetRange { epoch, first: offset, next: offset + 1 });
    }

    /// Appends a record of another block, under no assignment: it is not for committing.
    pub fn copy(&mut self, record: Record<'_>) {
        let metadata = RecordMetadata {
            partition: record.partition(),
            offset: record.offset(),
            epoch: 0,
            logged_at_ms: record.logged_at_ms(),
        };
        self.push(metadata, record.key(), record.value(), record.headers());
    }

    /// The records, in the order they were pushed.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.entries.iter().map(|entry| Record { block: self, entry })
    }

    fn append(&mut self, bytes: &[u8]) -> Range<u32> {
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
    #[expect(clippy::expect_used, reason = "names are pushed as `str`")]
    pub fn headers(self) -> impl Iterator<Item = Header<'a>> {
        self.raw_headers().map(|(name, value)| Header {
            name: std::str::from_utf8(name).expect("a header's name was pushed as UTF-8"),
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
        let metadata = RecordMetadata { partition, offset, epoch, logged_at_ms: 0 };
        block.push(metadata, None, Some(b"value"), std::iter::empty());
    }

    #[test]
    fn a_record_is_read_as_it_was_pushed() {
        let mut block = Block::default();
        let headers = [
            Header { name: "a", value: Some(b"1") },
            Header { name: "a", value: None },
            Header { name: "", value: Some(b"") },
        ];
        let first = RecordMetadata { partition: 3, offset: 7, epoch: 1, logged_at_ms: 99 };
        block.push(first, Some(b""), None, headers.into_iter());
        let second = RecordMetadata { offset: 9, logged_at_ms: 100, ..first };
        block.push(second, None, Some(b"v"), std::iter::empty());
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
        let limits = SizeLimits { rows_max: 3, bytes_max: 12 };
        let mut block = Block::default();
        assert!(block.is_empty() && !block.is_full(limits));
        push(&mut block, 0, 0, 1);
        push(&mut block, 0, 1, 1);
        assert!(!block.is_full(limits), "10 bytes of 12, 2 rows of 3");
        push(&mut block, 0, 2, 1);
        assert!(block.is_full(limits));
        assert!(block.is_full(SizeLimits { rows_max: 4, bytes_max: 15 }));
    }
}
