//! Redriven copies in the log: how the processors judge them, and how the audit counts them.

use std::collections::BTreeMap;

use harness::{Raw, World};
use jiff::Timestamp;
use schemas::{Encoder, RawClick, headers};
use uuid::Uuid;

const HOUR_MS: i64 = 3_600_000;

fn text(name: &str, value: impl ToString) -> (String, Option<Vec<u8>>) {
    (name.to_owned(), Some(value.to_string().into_bytes()))
}

#[test]
fn redriven_copies_are_judged_by_their_origin_and_are_no_storm() {
    const BAD: usize = 150;
    let world = World::new("redriven");
    world.setup();
    let (now_ms, encoder) = (Timestamp::now().as_millisecond(), Encoder::new(world.schema_id()));
    let copy = |value: Vec<u8>| {
        let origin = format!("{}:1:7:{}", world.topic, now_ms - 26 * HOUR_MS);
        let headers =
            vec![text(headers::DEAD_LETTER_ORIGIN, origin), text(headers::DEAD_LETTER_REDRIVES, 1)];
        Raw { value: Some(value), headers, ..Raw::default() }
    };
    // A click may be a day ahead of its origin; by the log time of the copy, both are good.
    let click = |hours_ago: i64| {
        let mut value = Vec::new();
        let occurred_at = (now_ms - hours_ago * HOUR_MS) * 1000;
        let click = RawClick::new(Uuid::now_v7(), occurred_at, "a");
        encoder.encode(&click, &mut value).unwrap();
        copy(value)
    };
    let records = [vec![copy(b"garbage".to_vec()); BAD], vec![click(1), click(3)]].concat();
    world.kafka.produce(&world.topic, &records);
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    assert_eq!(world.clicks(), 1);
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    for letter in world.kafka.read(&world.dead_letters()) {
        let code = letter.header(headers::DEAD_LETTER_CODE).unwrap().to_owned();
        *codes.entry(code).or_default() += 1;
    }
    let expected = [("bad_magic", BAD), ("occurred_at_out_of_bounds", 1)];
    assert_eq!(codes, expected.map(|(code, count)| (code.to_owned(), count)).into());
    let report = world.balanced();
    assert_eq!((&report["undecodable"], &report["log_events"]), (&(BAD + 1).into(), &1.into()));
    processors.stop().expect_code(0);
}

/// What made them dead letters was corrected, and nothing is redriven yet.
#[test]
fn clicks_that_only_dead_letters_hold_are_accounted_for() {
    let world = World::new("only_letters");
    world.setup();
    world.kafka.produce(&world.topic, &world.good(0, 3));
    let letter = |offset: i64, others: Vec<(String, Option<Vec<u8>>)>| {
        let of = vec![
            text(headers::CONNECT_TOPIC, &world.topic),
            text(headers::CONNECT_PARTITION, 0),
            text(headers::CONNECT_OFFSET, offset),
        ];
        Raw { headers: [of, others].concat(), ..Raw::default() }
    };
    world.kafka.produce(&world.dead_letters(), &[letter(0, Vec::new())]);
    let mut audit = world.command("processors", &[]);
    audit.args(["audit", "--json"]);
    let exit = world.start(audit).end().expect_code(1);
    let report: serde_json::Value = serde_json::from_str(&exit.out).unwrap();
    assert_eq!((&report["missing"], &report["dead_lettered"]), (&2.into(), &1.into()));
    // The stub of a batch that could not be read stands for all of its records.
    let batch = vec![text(headers::DEAD_LETTER_STUB, "batch"), text(headers::STUB_LAST_OFFSET, 2)];
    world.kafka.produce(&world.dead_letters(), &[letter(1, batch)]);
    let report = world.balanced();
    assert_eq!((&report["missing"], &report["dead_lettered"]), (&0.into(), &3.into()));
}
