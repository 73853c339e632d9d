//! Records for the topic of clicks, generated from a seed: changed valid clicks, lengths around all
//! bounds, unusual keys and headers, and the records of the corpus. Pure.

use std::ops::Range;

use schemas::bounds::{AHEAD_MAX_US, OCCURRED_AT_MIN_US};
use schemas::writer_schema::DATUM_BYTES_MAX;
use schemas::{Encoder, RawClick, SchemaId, text_limits};
use uuid::Builder;

use crate::hostile_records::{self, Fate, ForeignSchema, HostileRecord};
use crate::raw_produce::{BatchRecord, RawHeader};
use crate::seeded_random::SeededRandom;

/// The slug of hostile clicks.
pub(super) const SLUG: &str = "hostile";
/// Bytes of a value, a key and all headers from which a record becomes a stub.
const VALUE_BYTES: usize = 1 << 20;
const KEY_BYTES: usize = 16 << 10;
const HEADER_BYTES: usize = 32 << 10;
/// The number of headers from which a record becomes a stub.
const HEADERS: usize = 1_000;

/// Where a framed click has its id.
const EVENT_ID: Range<usize> = 5..21;

/// Generates the records.
#[derive(Debug)]
pub(super) struct ClickVariants {
    id: SchemaId,
    corpus: Vec<HostileRecord>,
}

impl ClickVariants {
    /// For a topic whose newest schema has this id. `foreign`: schemas of other subjects.
    pub(super) fn new(id: SchemaId, foreign: &[ForeignSchema], ids: &[SchemaId]) -> Self {
        let mut corpus = hostile_records::corpus(id);
        corpus.extend(hostile_records::by_foreign_schemas(foreign, ids));
        Self { id, corpus }
    }

    /// A record at the time `now_us`.
    pub(super) fn record(&self, random: &mut SeededRandom, now_us: i64) -> BatchRecord {
        BatchRecord {
            key: key(random),
            value: self.value(random, now_us),
            headers: if random.once_in(3) { headers(random) } else { Vec::new() },
        }
    }

    fn value(&self, random: &mut SeededRandom, now_us: i64) -> Option<Vec<u8>> {
        let good = self.encode(&click(random, now_us));
        Some(match random.index(12) {
            0 => return None,
            1 => Vec::new(),
            2 => bytes(random, 40),
            3 | 4 => flipped(random, good),
            5 => good[..random.index(good.len())].to_vec(),
            6 => [good, bytes(random, 200)].concat(),
            7 => self.long_text(random, now_us),
            8 => self.odd_time(random, now_us),
            9 => self.odd_id(random, good),
            10 => {
                let length = around(random, &[DATUM_BYTES_MAX, VALUE_BYTES, 5, 16]);
                let mut long = good;
                long.resize(length, if random.once_in(2) { 0 } else { 0xff });
                long
            }
            _ => return self.of_corpus(random, now_us),
        })
    }

    /// A record of the corpus. A valid click gets an id of its own: of two rows of one event, a merge
    /// removes one, and the row of that record would be missing.
    fn of_corpus(&self, random: &mut SeededRandom, now_us: i64) -> Option<Vec<u8>> {
        let HostileRecord { fate, record, .. } = &self.corpus[random.index(self.corpus.len())];
        let mut value = record.value.clone()?;
        if *fate == Fate::Row {
            value[EVENT_ID].copy_from_slice(event_id(random, now_us).as_bytes());
        }
        Some(value)
    }

    /// The framed click, without a check of its content.
    fn encode(&self, click: &RawClick<'_>) -> Vec<u8> {
        let mut value = Vec::new();
        Encoder::new(self.id).encode(click, &mut value).expect("a click with an id");
        value
    }

    fn long_text(&self, random: &mut SeededRandom, now_us: i64) -> Vec<u8> {
        let bounds = [
            text_limits::SLUG_BYTES_MAX,
            text_limits::QUERY_BYTES_MAX,
            text_limits::LINK_ID_BYTES_MAX,
            text_limits::SHORT_BYTES_MAX,
        ];
        let piece = random.one(&["x", "a.", "%", "\u{4e00}", "\u{0}", "utm_source=a&"]);
        let text = piece.repeat(around(random, &bounds) / piece.len());
        let (text, mut long) = (text.as_str(), click(random, now_us));
        match random.index(8) {
            0 => long.query = Some(text),
            1 => long.source = text,
            2 => long.user_agent = Some(text),
            3 => long.referer = Some(text),
            4 => long.target_url = Some(text),
            5 => long.accept_language = Some(text),
            6 => long.link_id = Some(text),
            _ => long.domain = Some(text),
        }
        self.encode(&long)
    }

    fn odd_time(&self, random: &mut SeededRandom, now_us: i64) -> Vec<u8> {
        let bound = random.one(&[0, OCCURRED_AT_MIN_US, now_us + AHEAD_MAX_US, i64::MIN, i64::MAX]);
        let second = random.one(&[-1_000_000, -1, 0, 1, 1_000_000]);
        let mut odd = click(random, now_us);
        odd.occurred_at = bound.saturating_add(second);
        self.encode(&odd)
    }

    fn odd_id(&self, random: &mut SeededRandom, mut good: Vec<u8>) -> Vec<u8> {
        let known = self.id.0;
        let any = u32::try_from(random.bits() >> 32).expect("32 bits");
        let id = random.one(&[0, 1, known.wrapping_add(1), known.wrapping_sub(1), u32::MAX, any]);
        good[1..5].copy_from_slice(&id.to_be_bytes());
        good
    }
}

/// A valid click with a unique id.
fn click(random: &mut SeededRandom, now_us: i64) -> RawClick<'static> {
    RawClick::new(event_id(random, now_us), now_us, SLUG)
}

/// A unique event id.
pub(super) fn event_id(random: &mut SeededRandom, now_us: i64) -> uuid::Uuid {
    let mut bits = [0; 10];
    bits[..8].copy_from_slice(&random.bits().to_be_bytes());
    bits[8..].copy_from_slice(&random.bits().to_be_bytes()[..2]);
    let now_ms = u64::try_from(now_us / 1_000).expect("it is after 1970");
    Builder::from_unix_timestamp_millis(now_ms, &bits).into_uuid()
}

/// Up to `bytes_max` random bytes.
pub(super) fn bytes(random: &mut SeededRandom, bytes_max: usize) -> Vec<u8> {
    (0..random.index(bytes_max + 1)).map(|_| random.bits().to_be_bytes()[0]).collect()
}

/// Flips a few bits, or replaces a few bytes by those of a large length.
pub(super) fn flipped(random: &mut SeededRandom, mut content: Vec<u8>) -> Vec<u8> {
    for _ in 0..random.between(1, 4) {
        let at = random.index(content.len());
        if random.once_in(5) {
            let end = content.len().min(at + 5);
            content[at..end].fill(0xff);
        } else {
            content[at] ^= 1 << random.index(8);
        }
    }
    content
}

/// One of the bounds, or slightly more or less.
pub(super) fn around(random: &mut SeededRandom, bounds: &[usize]) -> usize {
    let bound = random.one(bounds);
    random.one(&[bound - 1, bound, bound + 1, bound + 5, bound / 2])
}

fn key(random: &mut SeededRandom) -> Option<Vec<u8>> {
    match random.index(6) {
        0 => Some(Vec::new()),
        1 => Some(bytes(random, 20)),
        2 => Some(vec![0xfe; around(random, &[KEY_BYTES, 200_000])]),
        _ => None,
    }
}

fn headers(random: &mut SeededRandom) -> Vec<RawHeader> {
    let name = |random: &mut SeededRandom| match random.index(4) {
        0 => Vec::new(),
        1 => b"traceparent".to_vec(),
        2 => b"__connect.errors.offset".to_vec(),
        _ => bytes(random, 12),
    };
    match random.index(4) {
        0 => {
            // librdkafka reads at most 100,000 headers of a record.
            let count = around(random, &[HEADERS, 50_000, 100_000]);
            vec![(name(random), None); count]
        }
        1 => {
            let length = around(random, &[HEADER_BYTES, 300_000]);
            vec![(name(random), Some(vec![b'0'; length]))]
        }
        _ => {
            let one = |random: &mut SeededRandom| {
                let value = if random.once_in(3) { None } else { Some(bytes(random, 80)) };
                (name(random), value)
            };
            (0..random.between(1, 9)).map(|_| one(random)).collect()
        }
    }
}
