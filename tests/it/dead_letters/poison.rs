//! Poison of all kinds in a stream of clicks: each record has one row of `dead_letters` whatever is killed
//! or replayed, and what an operator did with it remains.

use std::time::Duration;

use harness::hostile_records::{self, Fate};
use harness::seeded_random::SeededRandom;
use harness::{Processors, Raw, World};

use super::held_letters::{count, states};

/// Clicks for each bad record.
const GOOD: usize = 99;
const SEED: u64 = 20;
/// More than the shipped limits of the topics.
const RAISED: usize = 1_500_000;

/// Starts processors that take over the partitions of a killed one at once.
fn start(world: &World) -> Processors {
    world.start_processors(&world.group, &["--group-instance-id", "one"], &[])
}

/// All bad records of the corpus, in partitions 0 to 2, each among [`GOOD`] good ones.
fn stream(world: &World) -> (Vec<Raw>, usize, usize) {
    let foreign = hostile_records::foreign_schemas();
    let ids = hostile_records::register(&world.backends.registry, &world.topic, &foreign);
    let mut hostile = hostile_records::corpus(world.schema_id());
    hostile.extend(hostile_records::by_foreign_schemas(&foreign, &ids));
    let mut records = Vec::new();
    for (number, hostile) in hostile.iter().enumerate() {
        let partition = i32::try_from(number % 3).unwrap();
        let mut good = world.good(partition, GOOD);
        good.insert(number % GOOD, Raw { partition, ..hostile.record.clone() });
        records.extend(good);
    }
    let large = Raw { value: Some(vec![b'x'; RAISED]), ..Raw::default() };
    records.push(large);
    let rows = hostile.iter().filter(|record| record.fate == Fate::Row).count();
    let bad = hostile.len() - rows + 1;
    (records, hostile.len() * GOOD + rows, bad)
}

/// Runs and kills processors while the stream arrives; returns one that has processed all of it.
fn processed_in_spite_of_kills(world: &World, records: &[Raw]) -> Processors {
    let mut random = SeededRandom::new(SEED);
    for part in records.chunks(records.len() / 4 + 1) {
        world.kafka.produce(&world.topic, part);
        let mut processors = start(world);
        processors.until_ready();
        std::thread::sleep(Duration::from_millis(random.between(0, 1500)));
        processors.crash();
    }
    let mut processors = start(world);
    processors.until_caught_up(world);
    processors.until_letters_copied(world);
    processors
}

#[test]
fn poison_and_kills_lose_no_click_and_replays_change_no_dead_letter() {
    let world = World::new("poison");
    world.setup();
    for topic in [&world.topic, &world.dead_letters()] {
        let mut settings = world.kafka.settings(topic);
        settings.insert("max.message.bytes".to_owned(), "2000000".to_owned());
        let settings: Vec<_> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
        world.kafka.configure(topic, &settings);
    }
    let (records, good, bad) = stream(&world);
    let mut processors = processed_in_spite_of_kills(&world, &records);
    let good = good as u64;
    assert_eq!(world.clicks(), good);
    assert_eq!(count(&world), [("open".to_owned(), bad)].into());
    assert_eq!(world.balanced()["undecodable"], bad);

    // Each state that an operator or a redrive can bring about.
    let repaired = ["redrive", "--wait", "--code", "trailing_bytes", "--repair", "trailing_bytes"];
    assert!(world.dlq_output(&repaired).contains("1 sent: 1 in the table"));
    let repaired = ["redrive", "--wait", "--code", "event_id_nil", "--repair", "key_facts"];
    assert!(world.dlq_output(&repaired).contains("1 sent: 1 in the table"));
    world.dlq_output(&["discard", "--yes", "--code", "bad_magic", "--reason", "a test"]);
    let forced = ["redrive", "--wait", "--force", "--code", "avro_mismatch"];
    let failed = world.dlq(&forced).end().expect_code(1);
    assert!(failed.out.contains("failed again"), "{failed:?}");
    // One that would fail again is not sent.
    let left = world.dlq(&["redrive", "--wait", "--code", "empty_value"]).end().expect_code(1);
    assert!(left.out.contains("0 sent"), "{left:?}");
    let before = states(&world);
    let counts = count(&world);
    assert_eq!(counts.get("resolved"), Some(&2), "{counts:?}");
    assert!(counts["discarded"] >= 3 && counts["failed_again"] >= 9, "{counts:?}");
    assert_eq!(world.clicks(), good + 2);

    // A replay of the source topic and of the dead-letter topic.
    processors.stop().expect_code(0);
    let letters = world.kafka.records(&world.dead_letters());
    let start_of = |topic: &str| world.kafka.bounds(topic).into_keys().map(|p| (p, 0)).collect();
    let starts: Vec<(i32, i64)> = start_of(&world.topic);
    world.kafka.commit(&world.group, &world.topic, &starts);
    let starts: Vec<(i32, i64)> = start_of(&world.dead_letters());
    world.kafka.commit(&world.letter_group(), &world.dead_letters(), &starts);
    let mut processors = start(&world);
    processors.until_ready();
    processors.until_caught_up(&world);
    processors.until_letters_copied(&world);
    assert!(world.kafka.records(&world.dead_letters()) >= letters + bad as i64, "replayed");
    assert_eq!(states(&world), before);
    assert_eq!(world.clicks(), good + 2);
    world.balanced();

    // Sent again after the replay: the same row, and the number of its copy grows.
    world.dlq(&forced).end().expect_code(1);
    assert_eq!(states(&world), before);
    let redrives =
        "SELECT min(redrives), max(redrives) FROM dead_letters WHERE code = 'avro_mismatch'";
    assert_eq!(world.query(redrives), "2\t2");
    processors.stop().expect_code(0);
}
