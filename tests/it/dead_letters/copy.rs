//! The copy of the dead-letter topic into the table, and what becomes of a copy that is sent back.

use harness::{Raw, World, get};
use jiff::Timestamp;
use schemas::{Encoder, RawClick, headers};
use uuid::Uuid;

/// Values that are no clicks: large, of another format, none.
fn bad() -> Vec<Raw> {
    let headers = vec![("twice".to_owned(), None), ("twice".to_owned(), Some(vec![0xfe, 0]))];
    let large = Raw { value: Some(vec![b'x'; 1_000_000]), ..Raw::default() };
    let odd = Raw { value: Some(b"{}".to_vec()), key: Some(vec![0xff]), headers, ..Raw::default() };
    vec![large, odd, Raw::default()]
}

/// All columns that a copy of the topic fills, as text.
fn rows(world: &World) -> [String; 2] {
    let of =
        |table| world.query(&format!("SELECT * EXCEPT stored_at FROM {table} FINAL ORDER BY ALL"));
    [of("dead_letter_versions"), of("dead_letter_payloads")]
}

#[test]
fn a_second_copy_of_the_topic_changes_no_row_and_a_redriven_click_is_resolved() {
    let world = World::new("letter_copy");
    world.setup();
    let (event_id, occurred_at) = (Uuid::now_v7(), Timestamp::now().as_microsecond());
    let mut click = Vec::new();
    let raw = RawClick::new(event_id, occurred_at, "a");
    Encoder::new(world.schema_id()).encode(&raw, &mut click).unwrap();
    let of = |value| Raw { partition: 1, value: Some(value), ..Raw::default() };
    let trailing = of([&click[..], &[7]].concat());
    world.kafka.produce(&world.topic, &[bad(), vec![trailing], world.good(0, 3)].concat());
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    processors.until_letters_copied(&world);
    let codes = "SELECT code, state, count() FROM dead_letters GROUP BY ALL ORDER BY ALL";
    let expected = "bad_magic\topen\t2\nempty_value\topen\t1\ntrailing_bytes\topen\t1";
    assert_eq!(world.query(codes), expected);
    assert_eq!(
        world.query(
            "SELECT length(value), is_cut, hex(key), arrayMap(h -> hex(h.2), headers) \
             FROM dead_letter_payloads FINAL WHERE origin_partition = 0 ORDER BY origin_offset"
        ),
        "65536\ttrue\t\\N\t[]\n2\tfalse\tFF\t[NULL,'FE00']\n\\N\tfalse\t\\N\t[]"
    );
    let copied = rows(&world);
    processors.stop().expect_code(0);

    let (group, topic) = (world.letter_group(), world.dead_letters());
    let start: Vec<_> = world.kafka.bounds(&topic).into_keys().map(|own| (own, 0)).collect();
    world.kafka.commit(&group, &topic, &start);
    let mut processors = world.processors(&[], &[]);
    processors.until_letters_copied(&world);
    assert_eq!(rows(&world), copied);
    let admin = processors.admin.clone();
    let line = "clicktrail_processors_dead_letters_held{code=\"bad_magic\",state=\"open\"} 2";
    processors.until("the gauge has its value", || {
        get(&format!("{admin}/metrics")).ok().filter(|answer| answer.body.contains(line))
    });

    // As a redrive does: an event, and a copy without the trailing byte.
    world.query(&format!(
        "INSERT INTO dead_letter_events (origin_topic, origin_partition, origin_offset, \
         origin_logged_at, kind, redrive, event_id, occurred_at) \
         SELECT origin_topic, origin_partition, origin_offset, origin_logged_at, 'pending', 1, \
         unhex('{}'), fromUnixTimestamp64Micro(toInt64({occurred_at}), 'UTC') \
         FROM dead_letter_versions FINAL WHERE origin_partition = 1",
        event_id.simple()
    ));
    let state = "SELECT state FROM dead_letters WHERE code = 'trailing_bytes'";
    assert_eq!(world.query(state), "pending");
    let origin = world.query(
        "SELECT concat(origin_topic, ':', origin_partition, ':', origin_offset, ':', \
         toUnixTimestamp64Milli(origin_logged_at)) FROM dead_letter_versions \
         WHERE origin_partition = 1 LIMIT 1",
    );
    let mut copy = of(click);
    copy.headers = vec![
        (headers::DEAD_LETTER_ORIGIN.to_owned(), Some(origin.into_bytes())),
        (headers::DEAD_LETTER_REDRIVES.to_owned(), Some(b"1".to_vec())),
    ];
    world.kafka.produce(&world.topic, &[copy]);
    processors
        .until("the dead letter is resolved", || (world.query(state) == "resolved").then_some(()));
    assert_eq!(world.clicks(), 4);
    processors.stop().expect_code(0);
}
