//! Batches generated from a seed: all codecs, compressed twice, truncated, damaged, with a wrong codec,
//! wrong lengths, counts, times and attributes, at the bounds of their size, and decompression bombs. Pure.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::click_variants::{around, bytes, flipped};
use crate::raw_produce::{BatchRecord, Codec, RawBatch, RawRecords, WrongLength};
use crate::seeded_random::SeededRandom;

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
/// The largest batch that a topic accepts, and the largest size to which a consumer decompresses one.
const BATCH_BYTES: usize = 1_048_588;
const DECOMPRESSED_BYTES: usize = 16 << 20;
/// The longest Snappy literal whose length fits into its first byte.
const LITERAL_MAX: usize = 60;
/// The largest bomb: 8 KiB of zstd.
const BOMB_BYTES: usize = 240 << 20;

/// `records` in a batch that may be unusual, too.
pub(super) fn batch(random: &mut SeededRandom, records: &[BatchRecord]) -> RawBatch {
    let raw = RawRecords::new(records);
    let codec = random.one(&CODECS);
    let mut batch = raw.compressed(codec, |plain| compress(codec, plain));
    match random.index(16) {
        0 => batch = raw.stored(),
        1 => batch.bytes = compress(codec, &batch.bytes),
        2 => batch.bytes.truncate(random.index(batch.bytes.len())),
        3 => batch.bytes = flipped(random, batch.bytes),
        4 => batch.codec = random.one(&CODECS),
        5 => batch.count = batch.count.wrapping_add(random.one(&[-1, 1, 1_000, i32::MAX])),
        6 => batch.timestamp_ms = Some(random.one(&[-1, 0, 1, i64::MAX, i64::MIN])),
        7 => batch.attributes = random.one(&[0x08, 0x10, 0x20, 0x30, 0x40, 0x80, 5, 7]),
        8 => batch.bytes = [batch.bytes, bytes(random, 100)].concat(),
        // Brokers do not check the lengths of compressed records.
        9 | 10 => {
            let (number, wrong) = (random.index(records.len()), random.one(&WrongLength::ALL));
            let raw = RawRecords::with_wrong_length(records, number, wrong);
            batch = raw.compressed(Codec::Zstd, |plain| compress(Codec::Zstd, plain));
        }
        _ => {}
    }
    batch
}

/// One record whose value is a batch.
pub(super) fn nested(inner: &RawBatch) -> BatchRecord {
    BatchRecord { value: Some(inner.encode()), ..BatchRecord::default() }
}

/// A batch at a bound of its size, before or after decompression.
pub(super) fn large(random: &mut SeededRandom) -> RawBatch {
    match random.index(4) {
        0 => {
            let bytes = around(random, &[DECOMPRESSED_BYTES, 64 << 20, BOMB_BYTES]);
            RawBatch::zstd_bomb(bytes, random.once_in(2))
        }
        1 => {
            // Incompressible bytes, so that the topic's bound decides.
            let length = around(random, &[BATCH_BYTES - 90, BATCH_BYTES / 2]);
            let value = (0..length).map(|_| random.bits().to_be_bytes()[0]).collect();
            let record = BatchRecord { value: Some(value), ..BatchRecord::default() };
            RawRecords::new(&[record]).plain()
        }
        _ => {
            let codec = random.one(&CODECS[1..]);
            // Many records only if the whole batch is unreadable: otherwise they would be a storm.
            let (all, count) = match random.index(3) {
                0 => (DECOMPRESSED_BYTES + (1 << 20), 5_000),
                _ => (
                    around(random, &[DECOMPRESSED_BYTES, 1 << 20, 4 << 20]),
                    random.one(&[1, 3, 9]),
                ),
            };
            let value = Some(vec![0xff; all / count]);
            let record = BatchRecord { value, ..BatchRecord::default() };
            RawRecords::new(&vec![record; count]).compressed(codec, |plain| compress(codec, plain))
        }
    }
}

/// Compresses the bytes in the framing that Kafka's clients expect.
///
/// # Panics
/// Never: writes to memory do not fail.
pub(super) fn compress(codec: Codec, plain: &[u8]) -> Vec<u8> {
    match codec {
        Codec::None => plain.to_vec(),
        Codec::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(plain).expect("memory");
            encoder.finish().expect("memory")
        }
        Codec::Snappy => snappy(plain),
        Codec::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(plain).expect("memory");
            encoder.finish().expect("memory")
        }
        Codec::Zstd => zstd::encode_all(plain, 1).expect("memory"),
    }
}

/// Snappy's block format: a run of equal bytes is copied from the byte before it, all others are
/// literals.
fn snappy(plain: &[u8]) -> Vec<u8> {
    let (mut packed, mut left) = (Vec::new(), plain.len());
    while left >= 0x80 {
        packed.push(u8::try_from(left & 0x7f).expect("seven bits") | 0x80);
        left >>= 7;
    }
    packed.push(u8::try_from(left).expect("seven bits"));
    let mut at = 0;
    while at < plain.len() {
        let rest = &plain[at..];
        let run = match at {
            0 => 0,
            _ => rest.iter().take(64).take_while(|byte| **byte == plain[at - 1]).count(),
        };
        if run >= 4 {
            // A copy of up to 64 bytes from the previous byte.
            packed.push(u8::try_from((run - 1) << 2).expect("a length of six bits") | 2);
            packed.extend([1, 0]);
            at += run;
            continue;
        }
        let near = &rest[..rest.len().min(LITERAL_MAX)];
        let run = near.windows(4).position(|four| four.iter().all(|byte| *byte == four[0]));
        let literal = run.map_or(near.len(), |start| start + 1);
        packed.push(u8::try_from((literal - 1) << 2).expect("a length of six bits"));
        packed.extend(&rest[..literal]);
        at += literal;
    }
    packed
}
