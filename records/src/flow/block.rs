//! A block: records as they are in the log, in one piece of memory, which are decoded and encoded
//! together.
//!
//! It copies the bytes of records and lends them; it does no I/O and reads no clock.

use std::ops::Range;

use crate::flow::offset_range::{OffsetRange, OffsetRanges};
use crate::flow::origin_headers::OriginHeaders;
use crate::flow::stub::{
    CutBytes, CutHeaders, CutParts, HEADER_BYTES_MAX, HEADERS_MAX, KEY_BYTES_MAX, Stub,
    VALUE_BYTES_MAX,
};

/// Bounds of a block or of a batch. The last record may exceed `bytes_max`, by the bytes that are kept
/// of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeLimits {
    /// Records.
    pub rows_max: usize,
    /// Bytes.
    pub bytes_max: usize,
}

/// The location of a record in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Epoch of the assignment under which it was read.
    pub epoch: u64,
    /// When the broker appended it, milliseconds since 1970.
    pub logged_at_ms: i64,
}

/// A header of a record.
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
    headers: Vec<HeaderRanges>,
    ranges: OffsetRanges,
}

/// Name and value of a header.
type HeaderRanges = (Range<u32>, Option<Range<u32>>);

#[derive(Debug)]
struct Entry {
    partition: i32,
    offset: i64,
    logged_at_ms: i64,
    key: Option<Range<u32>>,
    value: Option<Range<u32>>,
    headers: Range<u32>,
    /// Whether its headers name an origin.
    names_origin: bool,
    /// The parts of the record that are not kept.
    stub: Option<Box<Stub>>,
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
        self.ranges.is_empty()
    }

    /// Records held.
    pub fn rows(&self) -> usize {
        self.entries.len()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory: those of the records, and those that the block keeps for each record, which may
    /// be more.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.headers.capacity() * size_of::<HeaderRanges>()
    }

    /// Whether no more may be pushed.
    pub fn is_full(&self, limits: SizeLimits) -> bool {
        self.rows() >= limits.rows_max || self.bytes() >= limits.bytes_max
    }

    /// The offsets that it covers, by partition.
    pub fn ranges(&self) -> &OffsetRanges {
        &self.ranges
    }

    /// Appends a record. Of a value, a key or headers beyond the bounds of [`Stub`], it keeps only
    /// lengths and a hash, and of the headers those that name an origin.
    ///
    /// # Panics
    /// If the block exceeds 4 GiB, which limits far below that prevent.
    pub fn push<'h>(
        &mut self,
        metadata: RecordMetadata,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = Header<'h>>,
    ) {
        let mut cut = CutParts::default();
        let key = key.and_then(|bytes| self.append_within(KEY_BYTES_MAX, bytes, &mut cut.key));
        let value =
            value.and_then(|bytes| self.append_within(VALUE_BYTES_MAX, bytes, &mut cut.value));
        let (headers, names_origin) = self.append_headers(headers, &mut cut.headers);
        let stub = (!cut.is_empty()).then(|| Box::new(Stub::Record(cut)));
        let RecordMetadata { partition, offset, epoch, logged_at_ms } = metadata;
        self.entries.push(Entry {
            partition,
            offset,
            logged_at_ms,
            key,
            value,
            headers,
            names_origin,
            stub,
        });
        self.ranges.add(partition, OffsetRange { epoch, first: offset, next: offset + 1 });
    }

    /// As [`Block::push`], for a record whose headers the library does not read.
    pub fn push_without_headers(
        &mut self,
        metadata: RecordMetadata,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        self.push(metadata, key, value, std::iter::empty());
        let Some(entry) = self.entries.last_mut() else { return };
        let mut parts = match entry.stub.as_deref() {
            Some(Stub::Record(parts)) => parts.clone(),
            Some(Stub::Batch { .. }) | None => CutParts::default(),
        };
        parts.headers = Some(CutHeaders::Unreadable);
        entry.stub = Some(Box::new(Stub::Record(parts)));
    }

    /// Appends the stub of a batch that cannot be read: its first offset is that of `metadata`, and
    /// `read_from` is the first offset that was not read before.
    pub fn push_unreadable(&mut self, metadata: RecordMetadata, read_from: i64, last_offset: i64) {
        let RecordMetadata { partition, offset, epoch, logged_at_ms } = metadata;
        assert!(offset <= last_offset && read_from <= last_offset, "a batch holds a record");
        let stub = Some(Box::new(Stub::Batch { last_offset }));
        let none = index(self.headers.len());
        self.entries.push(Entry {
            partition,
            offset,
            logged_at_ms,
            key: None,
            value: None,
            headers: none..none,
            names_origin: false,
            stub,
        });
        self.ranges.add(partition, OffsetRange { epoch, first: read_from, next: last_offset + 1 });
    }

    /// Covers offsets that hold no record, so that the position after them is committed in its turn.
    pub fn push_gap(&mut self, partition: i32, gap: OffsetRange) {
        self.ranges.add(partition, gap);
    }

    /// Appends a record of another block, without an assignment: its offset is never committed.
    pub fn copy(&mut self, record: Record<'_>) {
        self.push(record.metadata(), record.key(), record.value(), record.headers());
        let stub = record.entry.stub.clone();
        if let Some(entry) = self.entries.last_mut() {
            entry.stub = stub;
        }
    }

    /// A block that holds one record: the stub of `record`, of which all parts are cut but the headers
    /// that name an origin.
    pub fn stub_of(record: Record<'_>) -> Self {
        let mut parts = match record.stub() {
            Some(Stub::Record(parts)) => parts.clone(),
            Some(Stub::Batch { .. }) | None => CutParts::default(),
        };
        parts.value = parts.value.or_else(|| record.value().map(CutBytes::of));
        parts.key = parts.key.or_else(|| record.key().map(CutBytes::of));
        let count = || Some(CutHeaders::Count(record.headers().count()));
        parts.headers = parts.headers.or_else(count);
        let mut block = Self::default();
        let origin = record.origin_headers();
        let headers = origin.iter().map(|(name, value)| Header { name, value: Some(value) });
        block.push(record.metadata(), None, None, headers);
        for entry in &mut block.entries {
            entry.stub = match record.stub() {
                Some(batch @ Stub::Batch { .. }) => Some(Box::new(batch.clone())),
                Some(Stub::Record(_)) | None => Some(Box::new(Stub::Record(parts.clone()))),
            };
        }
        block
    }

    /// The records, in the order they were pushed.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.entries.iter().map(|entry| Record { block: self, entry })
    }

    fn append_within(
        &mut self,
        max: usize,
        bytes: &[u8],
        cut: &mut Option<CutBytes>,
    ) -> Option<Range<u32>> {
        if bytes.len() > max {
            *cut = Some(CutBytes::of(bytes));
            return None;
        }
        Some(self.append(bytes))
    }

    fn append_headers<'h>(
        &mut self,
        headers: impl Iterator<Item = Header<'h>>,
        cut: &mut Option<CutHeaders>,
    ) -> (Range<u32>, bool) {
        let (first, first_byte) = (self.headers.len(), self.bytes.len());
        let (mut count, mut bytes) = (0, 0);
        let mut origin = OriginHeaders::default();
        for header in headers {
            origin.note(header.name.as_bytes(), header.value);
            count += 1;
            bytes += header.name.len() + header.value.map_or(0, <[u8]>::len);
            if count <= HEADERS_MAX && bytes <= HEADER_BYTES_MAX {
                self.append_header(header);
            }
        }
        if count > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
            self.headers.truncate(first);
            self.bytes.truncate(first_byte);
            for (name, value) in origin.iter() {
                self.append_header(Header { name, value: Some(value) });
            }
            *cut = Some(CutHeaders::Count(count));
        }
        (index(first)..index(self.headers.len()), origin.origin().is_some())
    }

    fn append_header(&mut self, header: Header<'_>) {
        let name = self.append(header.name.as_bytes());
        let value = header.value.map(|bytes| self.append(bytes));
        self.headers.push((name, value));
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

    /// The parts of it that are not kept, if any.
    pub fn stub(self) -> Option<&'a Stub> {
        self.entry.stub.as_deref()
    }

    /// Its location, without an assignment.
    fn metadata(self) -> RecordMetadata {
        RecordMetadata {
            partition: self.partition(),
            offset: self.offset(),
            epoch: 0,
            logged_at_ms: self.logged_at_ms(),
        }
    }

    /// Its key; `None` also if it was cut.
    pub fn key(self) -> Option<&'a [u8]> {
        self.entry.key.as_ref().map(|range| self.block.slice(range))
    }

    /// Its value; `None` is a tombstone, or was cut.
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

    /// Whether its headers name an origin. Reads none of them.
    pub fn names_origin(self) -> bool {
        self.entry.names_origin
    }

    /// The headers that name an origin.
    pub fn origin_headers(self) -> OriginHeaders<'a> {
        let mut origin = OriginHeaders::default();
        if self.names_origin() {
            self.raw_headers().for_each(|(name, value)| origin.note(name, value));
        }
        origin
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
    use schemas::headers::{DEAD_LETTER_ORIGIN, DEAD_LETTER_REDRIVES};

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
    fn h1_no_part_of_a_record_beyond_its_bound_is_kept() {
        let metadata = RecordMetadata { partition: 1, offset: 5, epoch: 1, logged_at_ms: 7 };
        let kept = [KEY_BYTES_MAX, VALUE_BYTES_MAX, HEADERS_MAX, HEADER_BYTES_MAX];
        for beyond in [None, Some(0), Some(1), Some(2), Some(3)] {
            let size = |part: usize| kept[part] + usize::from(beyond == Some(part));
            let (key, value) = (vec![1; size(0)], vec![2; size(1)]);
            let text = vec![3; if beyond == Some(3) { size(3) } else { 8 }];
            let headers = 0..if beyond == Some(2) { size(2) } else { 1 };
            let headers = headers.map(|_| Header { name: "a", value: Some(&text) });
            let count = CutHeaders::Count(headers.clone().count());
            let mut block = Block::default();
            block.push(metadata, Some(&key), Some(&value), headers);
            let record = block.records().next().unwrap();
            let expected = beyond.map(|part| {
                let of = |bytes| Some(CutBytes::of(bytes));
                Stub::Record(CutParts {
                    key: if part == 0 { of(&key) } else { None },
                    value: if part == 1 { of(&value) } else { None },
                    headers: (part >= 2).then_some(count),
                })
            });
            assert_eq!(record.stub(), expected.as_ref(), "{beyond:?}");
            let bound = KEY_BYTES_MAX + VALUE_BYTES_MAX + HEADER_BYTES_MAX;
            assert!(block.bytes() <= bound && block.headers.len() <= HEADERS_MAX, "{beyond:?}");
            let mut copies = Block::default();
            copies.copy(record);
            assert_eq!(copies.records().next().unwrap().stub(), expected.as_ref());
            let stub = Block::stub_of(record);
            let Some(Stub::Record(parts)) = stub.records().next().unwrap().stub() else { panic!() };
            assert_eq!((parts.value.unwrap(), parts.headers), (CutBytes::of(&value), Some(count)));
            assert_eq!(stub.bytes(), 0);
        }
    }

    #[test]
    fn headers_that_name_an_origin_are_kept_when_the_others_are_cut() {
        let (origin, redrives) = (DEAD_LETTER_ORIGIN, DEAD_LETTER_REDRIVES);
        let metadata = RecordMetadata { partition: 0, offset: 9, epoch: 1, logged_at_ms: 0 };
        for others in [0, 1, HEADERS_MAX] {
            let own = [(redrives, b"2".as_slice()), (origin, b"t:0:1:0".as_slice())];
            let all = std::iter::repeat_n(("a", b"".as_slice()), others).chain(own);
            let all = all.map(|(name, value)| Header { name, value: Some(value) });
            let mut block = Block::default();
            block.push(metadata, None, Some(b"value"), all);
            let record = block.records().next().unwrap();
            assert_eq!(record.stub().is_some(), others == HEADERS_MAX);
            let mut copies = Block::default();
            copies.copy(record);
            for block in [&block, &copies, &Block::stub_of(record)] {
                let record = block.records().next().unwrap();
                assert!(record.names_origin());
                let found = record.origin_headers();
                assert_eq!((found.origin(), found.redrives()), (Some("t:0:1:0"), Some("2")));
            }
        }
        let mut block = Block::default();
        let only = Header { name: redrives, value: Some(b"2") };
        block.push(metadata, None, Some(b"value"), std::iter::once(only));
        assert!(!block.records().next().unwrap().names_origin());
    }

    #[test]
    fn h3_the_stub_of_an_unreadable_batch_covers_its_offsets() {
        let metadata = RecordMetadata { partition: 0, offset: 10, epoch: 3, logged_at_ms: 0 };
        let mut block = Block::default();
        push(&mut block, 0, 9, 3);
        block.push_unreadable(metadata, 12, 40);
        let range = block.ranges().iter().next().unwrap().1;
        assert_eq!(range, OffsetRange { epoch: 3, first: 9, next: 41 });
        let batch = block.records().last().unwrap();
        assert_eq!((batch.offset(), batch.value()), (10, None));
        assert_eq!(batch.stub(), Some(&Stub::Batch { last_offset: 40 }));
        let stub = Block::stub_of(batch);
        assert_eq!(stub.records().next().unwrap().stub(), Some(&Stub::Batch { last_offset: 40 }));
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
