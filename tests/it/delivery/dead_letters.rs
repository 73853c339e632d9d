//! Records that cannot become clicks are dead-lettered, complete and with their reason; no others are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use harness::{Logged, Raw, World, metric};
use records::dead_letters::headers::is_own;
use schemas::{Encoder, RawClick, SchemaId, headers};
use uuid::Uuid;

const UNKNOWN_ID: u32 = 999_999_999;

/// The record of a valid click, with an address that one of the cases corrupts.
fn encoded(id: SchemaId, occurred_at: i64) -> Vec<u8> {
    let mut value = Vec::new();
    let click = RawClick {
        client_ip: Some(&[203, 0, 113, 7]),
        ..RawClick::new(Uuid::now_v7(), occurred_at, "a")
    };
    Encoder::new(id).encode(&click, &mut value).unwrap();
    value
}

fn spoiled(world: &World) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let id = world.schema_id();
    let now = jiff::Timestamp::now().as_microsecond();
    let good = encoded(id, now);
    let year_us = 365 * schemas::bounds::DAY_US;
    let mut nil = good.clone();
    nil[5..21].fill(0);
    let at = good.windows(5).position(|window| window == [8, 203, 0, 113, 7]).unwrap();
    let three_bytes = [&good[..at], &[6, 203, 0, 113], &good[at + 5..]].concat();
    // As large as the source topic accepts: the dead letter is larger by its headers.
    let large = vec![b'x'; 1_048_000];
    vec![
        ("empty_value", None),
        ("frame_too_short", Some(vec![])),
        ("frame_too_short", Some(vec![0, 0, 1])),
        ("bad_magic", Some(b"{\"slug\":\"a\"}".to_vec())),
        ("bad_magic", Some(large)),
        ("schema_unknown", Some(encoded(SchemaId(UNKNOWN_ID), now))),
        ("avro_mismatch", Some(good[..good.len() - 3].to_vec())),
        ("trailing_bytes", Some([&good[..], &[0]].concat())),
        ("event_id_nil", Some(nil)),
        ("client_ip_length", Some(three_bytes)),
        ("occurred_at_out_of_bounds", Some(encoded(id, now - 70 * year_us))),
        ("occurred_at_out_of_bounds", Some(encoded(id, now + year_us))),
    ]
}

/// Keys and headers that a careless copy would change: no value, an empty one, two headers with one
/// name, bytes that are no text. The last header is one of an earlier dead letter, which is replaced.
fn odd(index: usize) -> Raw {
    let key = [None, Some(vec![]), Some(vec![0, 0xff, index as u8])];
    let headers = vec![
        ("null".to_owned(), None),
        ("empty".to_owned(), Some(vec![])),
        ("twice".to_owned(), Some(vec![1])),
        ("twice".to_owned(), Some(vec![0xfe, index as u8])),
        (headers::DEAD_LETTER_CODE.to_owned(), Some(b"of an earlier life".to_vec())),
    ];
    Raw { key: key[index % 3].clone(), headers, ..Raw::default() }
}

#[test]
fn a_record_that_cannot_become_a_click_is_dead_lettered_whole_with_its_reason() {
    let world = World::new("dead");
    world.setup();
    let spoiled = spoiled(&world);
    let mut records = Vec::new();
    for (index, (_, value)) in spoiled.iter().enumerate() {
        let partition = i32::try_from(index % 2).unwrap();
        records.extend(world.good(partition, 3));
        records.push(Raw { partition, value: value.clone(), ..odd(index) });
    }
    let good = u64::try_from(spoiled.len() * 3).unwrap();
    world.kafka.produce(&world.topic, &records);
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);

    assert_eq!(world.clicks(), good);
    let originals: BTreeMap<_, _> =
        world.kafka.read(&world.topic).into_iter().map(|r| ((r.partition, r.offset), r)).collect();
    let letters = world.kafka.read(&world.dead_letters());
    let mut codes: Vec<_> = letters.iter().map(|letter| same(letter, &originals, &world)).collect();
    let mut expected: Vec<_> = spoiled.iter().map(|(code, _)| (*code).to_owned()).collect();
    codes.sort();
    expected.sort();
    assert_eq!(codes, expected);
    let report = world.balanced();
    assert_eq!(report["undecodable"], spoiled.len(), "{report:#}");
    assert_eq!(report["log_events"], good, "{report:#}");
}

/// Compares a dead letter with its record; returns its code.
fn same(letter: &Logged, originals: &BTreeMap<(i32, i64), Logged>, world: &World) -> String {
    let text = |name| letter.header(name).unwrap_or_else(|| panic!("no {name} in {letter:?}"));
    let place = (
        text(headers::CONNECT_PARTITION).parse().unwrap(),
        text(headers::CONNECT_OFFSET).parse().unwrap(),
    );
    let original = &originals[&place];
    assert_eq!(text(headers::CONNECT_TOPIC), world.topic);
    assert!(letter.value == original.value, "the value at {place:?} is not the original's");
    assert_eq!(letter.key, original.key, "{place:?}");
    let kept: Vec<_> = original.headers.iter().filter(|(name, _)| !is_own(name)).collect();
    let (own, added) = letter.headers.split_at(kept.len());
    assert_eq!(own.iter().collect::<Vec<_>>(), kept, "{place:?}");
    let names: BTreeSet<_> = added.iter().map(|(name, _)| name).collect();
    assert!(added.len() >= 12 && names.len() == added.len(), "{added:?}");
    assert!(names.iter().all(|name| is_own(name)), "{added:?}");
    let code = text(headers::DEAD_LETTER_CODE).to_owned();
    assert_eq!(text(headers::CONNECT_CLASS), format!("clicktrail.{code}"));
    assert!(!text(headers::CONNECT_MESSAGE).is_empty());
    let logged: i64 = text(headers::DEAD_LETTER_LOG_TIME).parse().unwrap();
    let failed: i64 = text(headers::DEAD_LETTER_FIRST_FAILURE).parse().unwrap();
    assert!(logged > 1_600_000_000_000 && failed >= logged, "{logged} {failed}");
    let origin = format!("{}:{}:{}:{logged}", world.topic, place.0, place.1);
    assert_eq!(text(headers::DEAD_LETTER_ORIGIN), origin);
    assert_eq!(text(headers::DEAD_LETTER_REDRIVES), "0");
    if code == "schema_unknown" {
        assert_eq!(text(headers::DEAD_LETTER_SCHEMA_ID), UNKNOWN_ID.to_string());
    }
    code
}

#[test]
fn a_position_passes_a_bad_record_only_after_its_dead_letter_is_durable() {
    let world = World::new("unburied");
    world.setup();
    world.kafka.delete_topic(&world.dead_letters()).unwrap();
    let bad = Raw { value: Some(b"garbage".to_vec()), ..Raw::default() };
    world.kafka.produce(&world.topic, &[world.good(0, 5), vec![bad], world.good(0, 5)].concat());
    let mut processors = world.processors(&[], &[]);
    let admin = processors.admin.clone();
    processors.until("the batch is in flight", || {
        metric(&admin, "clicktrail_processors_records_read_total").filter(|read| *read >= 11.0)
    });
    let began = Instant::now();
    processors.until("three seconds in which no position passes the bad record", || {
        let committed = world.kafka.committed(&world.group, &world.topic);
        assert!(committed.get(&0).copied().unwrap_or(0) <= 5, "{committed:?}");
        (began.elapsed() > Duration::from_secs(3)).then_some(())
    });
    world.setup();
    processors.until_caught_up(&world);
    assert_eq!(world.kafka.records(&world.dead_letters()), 1);
    assert_eq!(world.clicks(), 10);
    world.balanced();
}
