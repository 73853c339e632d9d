//! A replay by days, the newest one first: a worker is killed between two days, and the job is resumed by another
//! worker in the second one.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::{Child, ClickHouseProxy, Raw, StopFlag, World, job_id, until};
use jiff::{SignedDuration, Timestamp};
use schemas::{Encoder, RawClick};
use serde_json::json;
use uuid::Uuid;

use super::rules;

/// Records of a partition in a day.
const OF_DAY: usize = 100;
/// The slug of each day's clicks, its age in days, and the partitions that have records of it.
const DAYS: [(&str, i64, &[i32]); 3] = [
    ("today", 0, &[0, 1, 2]),
    ("yesterday", 1, &[0, 2]),
    // There is no record of the day between.
    ("before", 3, &[0, 1, 2]),
];
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Appends the clicks of a day at its log time.
fn produce(world: &World, slug: &str, at: Timestamp, partitions: &[i32]) {
    let encoder = Encoder::new(world.schema_id());
    let record = |partition| {
        let mut value = Vec::new();
        let click = RawClick::new(Uuid::now_v7(), at.as_microsecond(), slug);
        encoder.encode(&click, &mut value).unwrap();
        Raw { partition, value: Some(value), ..Raw::default() }
    };
    let records: Vec<_> = partitions.iter().flat_map(|own| [*own; OF_DAY]).map(record).collect();
    world.kafka.produce_at(&world.topic, &records, at.as_millisecond());
}

/// Samples the view until `stop`: each click counts once, and no click of a day is rewritten before all of the newer
/// days are. Returns the number of samples.
fn samples(world: &World, stop: &StopFlag) -> u32 {
    let of = |(slug, _, _)| format!("countIf(slug = '{slug}' AND geo_db_build LIKE 'Nested%')");
    let sql =
        format!("SELECT count(), uniqExact(event_id), {} FROM clicks", DAYS.map(of).join(", "));
    let all: Vec<u64> = DAYS.iter().map(|day| (day.2.len() * OF_DAY) as u64).collect();
    let mut samples = 0;
    while !stop.is_set() {
        let text = world.query(&sql);
        let counts: Vec<u64> = text.trim().split('\t').map(|it| it.parse().unwrap()).collect();
        assert_eq!([counts[0], counts[1]], [all.iter().sum::<u64>(); 2], "each click counts once");
        let rewritten = &counts[2..];
        assert!(rewritten[1] == 0 || rewritten[0] == all[0], "{rewritten:?}");
        assert!(rewritten[2] == 0 || rewritten[1] == all[1], "{rewritten:?}");
        samples += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    samples
}

#[test]
fn a_replay_by_days_rewrites_the_newest_day_first_and_is_resumed_within_a_day() {
    let world = World::new("replay_passes");
    world.setup();
    let (old, new) = (rules(&world, "flat-v4.mmdb"), rules(&world, "nested.mmdb"));
    let (old, new) = (("CLICKTRAIL_RULES", old.as_str()), ("CLICKTRAIL_RULES", new.as_str()));
    let now = Timestamp::now();
    let times = DAYS.map(|(_, age, _)| now - DAY * i32::try_from(age).unwrap());
    for ((slug, _, partitions), at) in DAYS.into_iter().zip(times).rev() {
        produce(&world, slug, at, partitions);
    }
    let mut processors = world.processors(&[], &[old]);
    let of_day = OF_DAY as u64;
    until("every click is a row", || (world.clicks() == 8 * of_day).then_some(()));

    let plan = world.plan_replay(&["--from", "10d", "--newest-first"], &[new]);
    let id = job_id(&plan);
    let expected = DAYS.iter().zip(times).map(|((_, _, partitions), at)| {
        (json!(at.strftime("%F").to_string()), json!(partitions.len() * OF_DAY))
    });
    let passes = plan["passes"].as_array().unwrap().iter();
    let passes: Vec<_> = passes.map(|own| (own["day"].clone(), own["offsets"].clone())).collect();
    assert_eq!(passes, expected.collect::<Vec<_>>(), "{plan}");

    let status =
        || world.replay(&["status", &id, "--json"], &[]).end().expect_code(0).last_object();
    let tune = |args: &[&str]| {
        world.replay(&[&["tune", id.as_str()], args].concat(), &[]).end().expect_code(0);
    };
    let group = |number: u32| {
        world.kafka.committed(&format!("clicktrail-replay-{id}-{number}"), &world.topic)
    };
    let worker = |set: &[(&str, &str)]| {
        let small = ("CLICKTRAIL_BATCH_ROWS", "10");
        world.replay(&["run", &id, "--json"], &[&[new, small], set].concat())
    };
    tune(&["--pause", "--rate", "300"]);
    let stop = StopFlag::default();
    let samples = std::thread::scope(|scope| {
        let sampled = scope.spawn(|| samples(&world, &stop));
        let guard = stop.guard();
        let mut leader: Child = worker(&[]);
        until("it leads the job", || {
            (world.query("SELECT state FROM replays") != "planned").then_some(())
        });
        let proxy = ClickHouseProxy::start(&world.backends.clickhouse);
        let mut member = worker(&[("CLICKHOUSE_URL", &proxy.url)]);
        for worker in [&leader, &member] {
            let is_assigned = || worker.log().contains("a partition is assigned").then_some(());
            until("the worker has a partition", is_assigned);
        }
        // The member then cannot read that the job continues with the second day.
        proxy.hold_text("FROM job_versions", 0);
        tune(&["--resume"]);
        until("the second day begins", || (!group(2).is_empty()).then_some(()));
        member.crash();
        tune(&["--rate", "20"]);
        let begun = i64::try_from(OF_DAY).unwrap();
        until("a part of it is committed", || {
            group(2).into_values().any(|position| position > begun).then_some(())
        });
        assert_eq!(leader.stop().expect_code(143).last_object()["ended"], "stopped");

        let stopped = status();
        assert_eq!(stopped["job"]["state"], "cancelled", "{stopped}");
        let second = json!({ "number": 2, "passes": 3, "day": passes[1].0 });
        assert_eq!(stopped["pass"], second, "{stopped}");

        tune(&["--rate", "none"]);
        let ended = world.run_replay(&id, &[new]).expect_code(0).last_object();
        assert_eq!(ended["balanced"], true, "{ended}");
        for name in ["records", "events", "rewritten"] {
            assert_eq!(ended["verdict"][name], 8 * of_day, "{name}: {ended}");
        }
        drop(guard);
        sampled.join().unwrap()
    });
    assert!(samples > 20, "{samples} samples");
    let [first, second, third] = [1, 2, 3].map(|day| i64::try_from(day * OF_DAY).unwrap());
    assert_eq!(group(1), BTreeMap::from([(0, third), (1, second), (2, third)]));
    assert_eq!(group(2), BTreeMap::from([(0, second), (2, second)]));
    assert_eq!(group(3), BTreeMap::from([(0, first), (1, first), (2, first)]));
    let replays = "SELECT state, verdict, pass, JSONLength(passes), ranges = '' FROM replays";
    assert_eq!(world.query(replays), "done\tbalanced\t3\t3\t1");
    processors.stop().expect_code(0);
}
