//! Damaged records and unusual texts: none causes a panic, and none takes more memory than its size
//! allows.
//!
//! A test program of its own, because its allocator counts. Each run has the same seeds.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::cast_possible_truncation, reason = "random bits are cut on purpose")]

use std::cell::Cell;
use std::sync::Arc;

use allocation_counter::measure;
use records::decode::{decode, framed};
use records::encode::columns::{ClickRow, Columns};
use records::encode::record_location::RecordLocation;
use records::enrich::Enricher;
use records::enrich::rule_set::{RuleSet, RuleTable};
use records::flow::block::{Block, RecordMetadata};
use schemas::{Decoder, Encoder, Example, Method, NEWEST, RawClick, SchemaId};

/// Number of damaged records.
const ROUNDS: usize = 20_000;
/// Bytes that may be allocated in total for each byte of a record.
const BYTES_A_BYTE: u64 = 12;
/// Bytes that may be allocated for any record in addition: the initial memory of columns, caches and
/// rules.
const BYTES_AT_LEAST: u64 = 96 * 1024;
const LOGGED_AT_MS: i64 = 1_800_000_000_000;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end.max(1) as u64).unwrap()
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/examples/clicks.raw/1");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let encoder = Encoder::new(SchemaId(1));
    let encode = |file| {
        let text = std::fs::read_to_string(file).unwrap();
        let example: Example = serde_json::from_str(&text).unwrap();
        let (ip, mut value) = (example.client_ip_bytes(), Vec::new());
        encoder.encode(&example.click(ip.as_deref()), &mut value).unwrap();
        value
    };
    files.into_iter().map(encode).collect()
}

/// Small tables of every kind except locations.
fn rules() -> Arc<RuleSet> {
    const YAML: &str = r"
user_agent_parsers:
  - regex: '(Firefox)/(\d+)\.(\d+)'
  - regex: '(Chrome)/(\d+)\.(\d+)\.(\d+)\.(\d+)'
os_parsers:
  - regex: '(Windows NT 10)'
device_parsers:
  - regex: '; *(.+) Build/'
    brand_replacement: 'Any'
    model_replacement: '$1'
";
    const LIST: &str = r#"[{"pattern": "[bB]ot\\/"}, {"pattern": "(^| )Ursa"}]"#;
    let rules = RuleSet::default().with(RuleTable::UserAgents, YAML.into()).unwrap();
    let rules = rules.with(RuleTable::Crawlers, LIST.into()).unwrap();
    let own = "social | Our forum | forum.example agent:Mozilla paid:q";
    Arc::new(rules.with(RuleTable::Referrers, own.into()).unwrap())
}

/// Decodes, enriches and encodes one record; returns whether it became a row.
fn process(decoder: &Decoder, enricher: &mut Enricher, value: &[u8]) -> bool {
    let mut block = Block::default();
    let metadata = RecordMetadata { partition: 0, offset: 0, epoch: 0, logged_at_ms: LOGGED_AT_MS };
    block.push(metadata, None, Some(value), std::iter::empty());
    let record = block.records().next().unwrap();
    let Ok((_, datum)) = framed(record) else { return false };
    let Ok(click) = decode(decoder, datum, LOGGED_AT_MS) else { return false };
    let location = RecordLocation {
        topic: "t",
        partition: 0,
        offset: 0,
        logged_at_ms: LOGGED_AT_MS,
        trace_id: [0; 16],
    };
    let mut columns = Columns::default();
    columns.push(&ClickRow::new(&click, &enricher.enrich(&click), location));
    true
}

/// Processes all cases. Returns records, rows, and the largest ratio of allocated bytes to bytes of a
/// record, without the bytes that any record may take.
fn held(cases: impl Iterator<Item = Vec<u8>>) -> (usize, usize, f64) {
    let decoder = Decoder::new(NEWEST).unwrap();
    let mut enricher = Enricher::new(rules());
    let (mut records, mut rows, mut worst) = (0, 0, 0.0_f64);
    for value in cases {
        enricher.clear_caches();
        let mut became_row = false;
        let took = measure(|| became_row = process(&decoder, &mut enricher, &value));
        let (bytes, own) = (took.bytes_total, value.len() as u64);
        assert!(
            bytes <= BYTES_AT_LEAST + BYTES_A_BYTE * own,
            "{own} bytes took {bytes}: {:?}",
            String::from_utf8_lossy(&value[..value.len().min(400)])
        );
        worst = worst.max(bytes.saturating_sub(BYTES_AT_LEAST) as f64 / own.max(1) as f64);
        records += 1;
        rows += usize::from(became_row);
    }
    (records, rows, worst)
}

fn mutated(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut value = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(value.len());
        match dice.below(8) {
            0 => value.truncate(at),
            1 => value.insert(at, dice.roll() as u8),
            2 => value.splice(at..at, [0xff; 9]).for_each(drop),
            3 => {
                let other = &corpus[dice.below(corpus.len())];
                let from = dice.below(other.len());
                value.truncate(at);
                value.extend_from_slice(&other[from..]);
            }
            4 => {
                let end = at + dice.below(value.len() - at);
                let again = value[at..end].to_vec();
                value.splice(at..at, again).for_each(drop);
            }
            5 => value[at] = [0, 1, 0x7f, 0x80, 0xff][dice.below(5)],
            _ => value[at] ^= 1 << dice.below(8),
        }
        if value.is_empty() {
            break;
        }
    }
    value
}

#[test]
fn a_mutated_record_is_a_row_or_an_error_and_takes_no_more_than_its_size() {
    let (corpus, mut dice) = (corpus(), Dice(7));
    assert!(corpus.len() >= 100);
    let cases = (0..ROUNDS).map(|_| mutated(&corpus, &mut dice));
    let (records, rows, worst) = held(cases);
    println!("{records} mutated records, {rows} of them rows, {worst:.1} bytes a byte at worst");
    assert!(rows > records / 50 && rows < records, "{rows} of {records} are rows");
}

/// Pieces of unusual texts.
const PIECES: [&str; 44] = [
    "utm_source=",
    "utm_medium=",
    "utm_term=",
    "source=",
    "ref=",
    "gclid=",
    "fbclid=",
    "qr",
    "&",
    "=",
    "?",
    "#",
    "%",
    "%zz",
    "%00",
    "%f0%9f",
    "+",
    "://",
    "https://",
    "android-app://",
    "http:",
    "www.",
    ".",
    "..",
    "google.",
    "com",
    "t.co",
    "xn--",
    "bücher",
    "日本",
    "\u{202e}",
    "\0",
    "[",
    "]",
    "::1",
    "@",
    ":",
    " ",
    ";",
    "Mozilla/5.0 (",
    "FBAN/",
    "Build/",
    "Bot/",
    "Chrome/1.2.3.4",
];

fn odd_text(dice: &mut Dice, bytes_max: usize) -> String {
    let mut text = String::new();
    let long = dice.below(12) == 0;
    let end = if long { bytes_max } else { dice.below(120) };
    while text.len() < end {
        let piece = PIECES[dice.below(PIECES.len())];
        for _ in 0..if long { 1 + dice.below(200) } else { 1 } {
            text.push_str(piece);
        }
    }
    text
}

#[test]
fn odd_texts_in_every_field_keep_their_size_bound_and_short_ones_become_a_row() {
    let (encoder, mut dice) = (Encoder::new(SchemaId(1)), Dice(11));
    let expected = Cell::new(0);
    let cases = (0..ROUNDS / 2).map(|_| {
        // Sometimes longer than the schema allows, because a sender may ignore the schema.
        let long = dice.below(50) == 0;
        let longest = |bytes_max: usize| if long { 60_000 } else { bytes_max };
        let limits = [256, 8192, 2048, 1024, 2048, 256, 256, 256, 256].map(longest);
        let texts = limits.map(|bytes_max| {
            let mut text = odd_text(&mut dice, bytes_max);
            text.truncate(text.floor_char_boundary(bytes_max));
            text
        });
        let some = |number: usize| Some(texts[number].as_str());
        let id = uuid::Uuid::from_u128(u128::from(dice.roll()) + 1);
        let click = RawClick {
            method: Method::Get,
            domain: some(0),
            query: some(1),
            target_url: some(2),
            user_agent: some(3),
            referer: some(4),
            accept_language: some(5),
            purpose: some(6),
            x_requested_with: some(7),
            edge_country: some(8),
            ..RawClick::new(id, LOGGED_AT_MS * 1000, "a")
        };
        expected.set(expected.get() + usize::from(click.check_lengths().is_ok()));
        let mut value = Vec::new();
        encoder.encode(&click, &mut value).unwrap();
        value
    });
    let (records, rows, worst) = held(cases);
    println!("{records} records of odd texts, {worst:.1} bytes a byte at worst");
    assert_eq!(rows, expected.get());
    assert!(rows > records / 2 && rows < records, "{rows} of {records} are rows");
}

#[test]
fn the_allocation_counter_counts() {
    let took = measure(|| drop(std::hint::black_box(vec![0_u8; 1 << 20])));
    assert!(took.bytes_total >= 1 << 20, "{took:?}");
}
