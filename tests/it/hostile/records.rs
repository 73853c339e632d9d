//! Hostile records among honest clicks: the clicks are visible without delay, all other records are
//! dead-lettered, and nothing stops.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::hostile_records::{self, Fate, HostileRecord};
use harness::{Processors, Raw, World, metric};
use schemas::bounds::DAY_US;
use schemas::headers;

/// The longest time until an honest click is visible, whatever records are before it.
const DELAY_MAX: Duration = Duration::from_secs(10);
/// Honest clicks after the last bad record, so that the storm breaker decides at once.
const FOLLOWERS: usize = 120;

/// Waits until this number of clicks is visible; returns the time.
fn until_visible(world: &World, processors: &mut Processors, clicks: u64) -> Duration {
    let began = Instant::now();
    processors.until("every honest click is visible", || (world.clicks() >= clicks).then_some(()));
    assert_eq!(world.clicks(), clicks);
    began.elapsed()
}

/// The number of dead letters by code.
fn codes(world: &World) -> BTreeMap<String, usize> {
    let mut codes = BTreeMap::new();
    for letter in world.kafka.read(&world.dead_letters()) {
        let code = letter.header(headers::DEAD_LETTER_CODE).unwrap().to_owned();
        *codes.entry(code).or_default() += 1;
    }
    codes
}

/// The expected number by code.
fn expected(records: &[HostileRecord]) -> BTreeMap<String, usize> {
    let mut codes = BTreeMap::new();
    for record in records {
        if let Fate::DeadLetter(code) = record.fate {
            *codes.entry(code.to_owned()).or_default() += 1;
        }
    }
    codes
}

#[test]
fn h5_h6_h7_l3_hostile_records_delay_no_click_and_are_all_dead_lettered() {
    let world = World::new("hostile");
    world.setup();
    let foreign = hostile_records::foreign_schemas();
    let ids = hostile_records::register(&world.backends.registry, &world.topic, &foreign);
    let mut hostile = hostile_records::corpus(world.schema_id());
    hostile.extend(hostile_records::by_foreign_schemas(&foreign, &ids));
    let rows = hostile.iter().filter(|record| record.fate == Fate::Row).count();
    let bad = hostile.len() - rows;

    let mut processors = world.processors(&[], &[]);
    let mut records: Vec<Raw> = Vec::new();
    for (number, record) in hostile.iter().enumerate() {
        // Too few bad records for a storm.
        records.extend(world.good(i32::try_from(number % 3).unwrap(), 3));
        records.push(record.record.clone());
    }
    records.extend(world.good(0, FOLLOWERS));
    let clicks = (records.len() - bad) as u64;
    world.kafka.produce(&world.topic, &records);
    let took = until_visible(&world, &mut processors, clicks);
    println!("{bad} hostile records among {clicks} clicks: all visible after {took:?}");
    assert!(took < DELAY_MAX, "{took:?}");

    processors.until_caught_up(&world);
    assert_eq!(codes(&world), expected(&hostile));
    let admin = processors.admin.clone();
    for (code, count) in expected(&hostile) {
        let name = format!("clicktrail_processors_dead_letters_total{{code=\"{code}\"}}");
        assert_eq!(metric(&admin, &name), Some(count as f64), "{name}");
    }
    let refused = metric(&admin, "clicktrail_processors_schema_ids_refused_total");
    assert_eq!(refused, Some((12 + foreign.len()) as f64));
    assert_eq!(world.balanced()["undecodable"], bad);
    processors.stop().expect_code(0);
}

#[test]
fn h5_many_unknown_ids_delay_other_ids_no_longer_than_one() {
    let world = World::new("unknown_ids");
    world.setup();
    let mut processors = world.processors(&[], &[]);
    // A few at a time, in separate blocks.
    let hostile = hostile_records::unknown_ids(60);
    let (mut clicks, began) = (0, Instant::now());
    for some in hostile.chunks(4) {
        let good = [world.good(0, 3), world.good(1, 3), world.good(2, 3)].concat();
        clicks += good.len();
        let bad: Vec<_> = some.iter().map(|record| record.record.clone()).collect();
        world.kafka.produce(&world.topic, &[bad, good].concat());
        std::thread::sleep(Duration::from_millis(50));
    }
    world.kafka.produce(&world.topic, &world.good(0, FOLLOWERS));
    until_visible(&world, &mut processors, (clicks + FOLLOWERS) as u64);
    let took = began.elapsed();
    assert!(took < DELAY_MAX, "{took:?}");
    processors.until_caught_up(&world);
    assert_eq!(codes(&world), expected(&hostile));
}

/// A sender that writes an id before its schema is the topic's makes no dead letters of the clicks that
/// have it afterwards.
#[test]
fn h5_an_id_that_the_subject_gets_after_it_was_refused_is_decoded() {
    let world = World::new("early_id");
    world.setup();
    let mut schema: serde_json::Value = serde_json::from_str(schemas::NEWEST).unwrap();
    let name = world.group.replace('-', "_");
    let added = serde_json::json!({"name": name, "type": "int", "default": 0});
    schema["fields"].as_array_mut().unwrap().push(added);
    let (registry, schema) = (&world.backends.registry, schema.to_string());
    let other = format!("{}.other-value", world.topic);
    let id = hostile_records::register_as(registry, &other, &schema);
    let click = || {
        let mut record = world.good(0, 1).remove(0);
        let value = record.value.as_mut().unwrap();
        value[1..5].copy_from_slice(&id.0.to_be_bytes());
        value.push(0);
        record
    };
    let mut processors = world.processors(&[], &[]);
    world.kafka.produce(&world.topic, &[vec![click()], world.good(0, FOLLOWERS)].concat());
    processors.until_caught_up(&world);
    assert_eq!(codes(&world), BTreeMap::from([("schema_of_other_subject".to_owned(), 1)]));

    let own = format!("{}-value", world.topic);
    assert_eq!(hostile_records::register_as(registry, &own, &schema), id);
    std::thread::sleep(Duration::from_millis(1_200));
    world.kafka.produce(&world.topic, &[click(), click()]);
    processors.until_caught_up(&world);
    assert_eq!(world.clicks(), FOLLOWERS as u64 + 2);
    assert_eq!(world.kafka.records(&world.dead_letters()), 1);
}

#[test]
fn m7_hosts_of_wrong_clocks_stop_nothing_and_their_clicks_are_dead_lettered() {
    let world = World::new("clocks");
    world.setup();
    let (id, now) = (world.schema_id(), jiff::Timestamp::now().as_microsecond());
    let mut hostile = hostile_records::of_clock(id, "host-1970", 0, 300);
    hostile.extend(hostile_records::of_clock(id, "host-ahead", now + 3 * DAY_US, 300));
    let bad: Vec<_> = hostile.iter().map(|record| record.record.clone()).collect();
    world.kafka.produce(&world.topic, &[world.good(0, 40), bad, world.good(0, FOLLOWERS)].concat());
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    assert_eq!(world.clicks(), 40 + FOLLOWERS as u64);
    assert_eq!(codes(&world), expected(&hostile));
    let letters = world.kafka.read(&world.dead_letters());
    let message = letters[0].header(headers::CONNECT_MESSAGE).unwrap();
    assert!(message.contains("host-1970"), "{message}");
    processors.stop().expect_code(0);
}
