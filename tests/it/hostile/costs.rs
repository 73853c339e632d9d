//! The worst cost of one record from its bytes to its row. Needs no backend.

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::hostile_records::{self, Fate, HostileRecord};
use harness::rules;
use records::decode::decode;
use records::enrich::Enricher;
use schemas::{Decoder, NEWEST, RawClick, SchemaId, unframe};

const ID: SchemaId = SchemaId(7);
/// The bound of one record in a test build on a shared machine.
const PATIENCE: Duration = Duration::from_millis(100);

/// The shortest of three times from a record's value to its dimensions, and its fate.
fn cost(record: &HostileRecord, decoder: &Decoder, enricher: &mut Enricher) -> (Duration, Fate) {
    let value = record.record.value.as_deref().unwrap_or_default();
    let logged_at_ms = jiff::Timestamp::now().as_millisecond();
    let mut runs = Vec::new();
    for _ in 0..3 {
        enricher.clear_caches();
        let began = Instant::now();
        let fate = match unframe(value) {
            Err(_) => Fate::DeadLetter("framing"),
            Ok((id, _)) if id != ID => Fate::DeadLetter("schema"),
            Ok((_, datum)) => match decode(decoder, datum, logged_at_ms) {
                Ok(click) => {
                    std::hint::black_box(enricher.enrich(&click));
                    Fate::Row
                }
                Err(error) => Fate::DeadLetter(error.code()),
            },
        };
        runs.push((began.elapsed(), fate));
    }
    runs.into_iter().min_by_key(|(took, _)| *took).unwrap()
}

#[test]
fn l3_no_record_takes_longer_than_its_bound_with_all_rules() {
    let decoder = Decoder::new(NEWEST).unwrap();
    let mut enricher = Enricher::new(rules::pinned());
    let mut rows = 0;
    for record in hostile_records::corpus(ID) {
        let (took, fate) = cost(&record, &decoder, &mut enricher);
        println!("{:8} us  {}", took.as_micros(), record.kind);
        assert!(took < PATIENCE, "{}: {took:?}", record.kind);
        assert_eq!(fate == Fate::Row, record.fate == Fate::Row, "{}: {fate:?}", record.kind);
        rows += usize::from(fate == Fate::Row);
    }
    assert!(rows >= 8, "{rows} rows");
}

#[test]
fn h6_a_referrer_of_many_labels_costs_little_more_than_one_of_few() {
    let mut enricher = Enricher::new(Arc::default());
    let mut cost = |host: &str| {
        let referer = format!("https://{host}/");
        let id = uuid::Uuid::from_u128(7);
        let click = RawClick { referer: Some(&referer), ..RawClick::new(id, 0, "a") };
        let mut shortest = Duration::MAX;
        for _ in 0..20 {
            enricher.clear_caches();
            let began = Instant::now();
            std::hint::black_box(enricher.enrich(&click));
            shortest = shortest.min(began.elapsed());
        }
        shortest
    };
    let few = cost(&format!("{}.com", "a".repeat(249)));
    let many = cost(&format!("{}com", "a.".repeat(125)));
    assert!(many < few * 10 + Duration::from_micros(50), "{many:?}, {few:?}");
    let endless = cost(&"a.".repeat(450_000));
    assert!(endless < Duration::from_millis(50), "{endless:?}");
}
