//! Kafka's own reset tool with each form of target: the processors process exactly the records from
//! there on again, and the audit finds no difference.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::World;

/// Records of each partition before and after the time of `--to-datetime`. The partitions have
/// different counts, so that a position cannot be that of another partition.
const EARLY: [usize; 3] = [20, 15, 5];
const LATE: [usize; 3] = [10, 18, 25];
const SHIFT: i64 = 7;
/// Much longer than the broker's clock tick, so that the time is between both.
const APART: Duration = Duration::from_millis(50);

/// When each record's row was inserted, by partition and offset.
type Taken = BTreeMap<(i32, i64), u64>;

fn taken(world: &World) -> Taken {
    let sql =
        "SELECT kafka_partition, kafka_offset, toUnixTimestamp64Micro(ingested_at) FROM clicks";
    let text = world.query(sql);
    let row = |line: &str| {
        let mut words = line.split('\t');
        let mut next = || words.next().unwrap();
        ((next().parse().unwrap(), next().parse().unwrap()), next().parse().unwrap())
    };
    text.lines().map(row).collect()
}

fn positions(of: [i64; 3]) -> BTreeMap<i32, i64> {
    (0..).zip(of).collect()
}

/// Resets and processes; requires that exactly the rows at or above `from` are newer than before.
fn replayed(world: &World, of: &str, how: &[&str], from: [i64; 3]) {
    let before = taken(world);
    world.kafka_reset(of, how);
    let from = positions(from);
    assert_eq!(world.kafka.committed(&world.group, &world.topic), from, "{of} {how:?}");
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(world);
    let summary = processors.stop().expect_code(0).summary("run");
    let after = taken(world);
    assert!(before.keys().eq(after.keys()), "{of} {how:?}: the same clicks as before");
    let mut again = 0;
    for (place, then) in before {
        let now = after[&place];
        if place.1 >= from[&place.0] {
            again += 1;
            assert!(now > then, "{of} {how:?}: {place:?} was not processed again");
        } else {
            assert_eq!(now, then, "{of} {how:?}: {place:?} was processed again");
        }
    }
    assert_eq!(summary.get("records"), again, "{of} {how:?}: read once each");
    assert_eq!(world.balanced()["resends"], 0);
}

#[test]
fn each_form_of_reset_replays_the_named_records_only() {
    let world = World::new("replay");
    world.setup();
    let produce = |counts: [usize; 3]| {
        for (partition, count) in (0..).zip(counts) {
            world.kafka.produce(&world.topic, &world.good(partition, count));
        }
    };
    produce(EARLY);
    std::thread::sleep(APART);
    let moment = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3f").to_string();
    std::thread::sleep(APART);
    produce(LATE);
    let early = EARLY.map(|count| i64::try_from(count).unwrap());
    let ends = [0, 1, 2].map(|n| early[n] + i64::try_from(LATE[n]).unwrap());
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    processors.stop().expect_code(0);
    assert_eq!(world.kafka.committed(&world.group, &world.topic), positions(ends));

    let (all, one) = (world.topic.as_str(), format!("{}:1", world.topic));
    replayed(&world, all, &["--to-earliest"], [0, 0, 0]);
    replayed(&world, all, &["--to-datetime", &moment], early);
    replayed(&world, all, &["--shift-by", &format!("-{SHIFT}")], ends.map(|end| end - SHIFT));
    replayed(&world, &one, &["--to-earliest"], [ends[0], 0, ends[2]]);
}
