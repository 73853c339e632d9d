//! Imported clicks of three days: the middle day is replayed by the time of occurrence, beside live traffic.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use harness::{StopFlag, World, job_id, until};
use schemas::{Decoder, NEWEST, unframe};

use super::live;

/// Clicks of each day; the first one is at midnight, the last one in the last second.
const OF_DAY: i64 = 60;
const DAY_S: i64 = 86_400;

/// An access log of three days from a midnight on.
fn access_log(world: &World, midnight_s: i64) -> std::path::PathBuf {
    let mut text = String::new();
    for (day, number) in (0..3).flat_map(|day| (0..OF_DAY).map(move |number| (day, number))) {
        let second = midnight_s + day * DAY_S + number * (DAY_S - 1) / (OF_DAY - 1);
        let at = jiff::Timestamp::from_second(second).unwrap().strftime("%d/%b/%Y:%H:%M:%S");
        // Of two countries, by both geo databases.
        let address = ["81.2.69.7", "89.160.20.7"][usize::try_from(number % 2).unwrap()];
        writeln!(
            text,
            "{address} - - [{at} +0000] \"GET /a?n={day}-{number} HTTP/1.1\" 302 0 \"-\" \"Mozilla/5.0 (X11; Linux)\"",
        )
        .unwrap();
    }
    let file = world.folder().join("three-days.log");
    std::fs::write(&file, text).unwrap();
    file
}

/// The records of the log, and their distinct events, that occurred in a time: seconds since 1970.
fn recounted(world: &World, time: std::ops::Range<i64>) -> (u64, u64) {
    let decoder = Decoder::new(NEWEST).unwrap();
    let (mut records, mut events) = (0, BTreeSet::new());
    world.kafka.each(&world.topic, |record| {
        let (_, datum) = unframe(record.value.as_deref().unwrap()).unwrap();
        let click = decoder.decode(datum).unwrap();
        if time.contains(&click.occurred_at.div_euclid(1_000_000)) {
            records += 1;
            events.insert(click.event_id);
        }
    });
    (records, events.len() as u64)
}

#[test]
fn of_imported_clicks_of_three_days_the_middle_day_is_replayed_by_occurrence() {
    let world = World::new("replay_imported");
    world.setup();
    let (old, new) = (world.geo_rules("flat-v4.mmdb"), world.geo_rules("nested.mmdb"));
    let [old, new] = [("CLICKTRAIL_RULES", old.as_str()), ("CLICKTRAIL_RULES", new.as_str())];
    let mut processors = world.processors(&[], &[old]);
    let today = jiff::Timestamp::now().as_second().div_euclid(DAY_S);
    let midnight = (today - 10) * DAY_S;
    let day = |number: i64| midnight + number * DAY_S..midnight + (number + 1) * DAY_S;
    let file = access_log(&world, midnight);
    world.import(&file, &[]);
    // The same clicks again: duplicate sends.
    world.import(&file, &[]);
    let of_day = u64::try_from(OF_DAY).unwrap();
    until("every click is a row", || (world.clicks() == 3 * of_day).then_some(()));
    let places = |number: i64| {
        let days = (midnight / DAY_S) + number;
        world.query(&format!(
            "SELECT geo_db_build, country, region, count() FROM clicks \
             WHERE toDate(occurred_at) = toDate({days}) GROUP BY ALL ORDER BY ALL"
        ))
    };
    let before = [0, 1, 2].map(places);
    assert_eq!([&before[0]; 2], [&before[1], &before[2]]);

    let stop = StopFlag::default();
    let (verdict, samples) = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| live(&world, &stop));
        let guard = stop.guard();
        let times = day(1);
        let [from, to] = [times.start, times.end]
            .map(|second| jiff::Timestamp::from_second(second).unwrap().to_string());
        let window = ["--occurred-from", &from, "--occurred-to", &to];
        let plan = world.plan_replay(&window, &[new]);
        assert_eq!(plan["estimate"]["rows"], of_day, "{plan}");
        let exit = world.run_replay(&job_id(&plan), &[new]).expect_code(0);
        drop(guard);
        (exit.last_object(), traffic.join().unwrap())
    });
    assert!(samples > 0, "a sample is taken during the replay");
    let live_clicks = u64::from(samples) * 10;
    let all = 3 * of_day + live_clicks;
    until("every click of the traffic is a row", || (world.clicks() == all).then_some(()));

    // Exactly the clicks of the middle day have the new geo data.
    let after = [0, 1, 2].map(places);
    assert_eq!([&after[0], &after[2]], [&before[0]; 2]);
    assert_ne!(after[1], before[1]);
    let [old, new] = [&after[0], &after[1]].map(|rows| {
        let builds = rows.lines().map(|row| row.split('\t').next().unwrap());
        builds.collect::<BTreeSet<_>>()
    });
    assert!(old.len() == 1 && new.len() == 1 && old != new, "{old:?} {new:?}");
    let builds = "SELECT count() FROM clicks GROUP BY geo_db_build ORDER BY count()";
    assert_eq!(world.query(builds), format!("{of_day}\n{}", 2 * of_day + live_clicks));

    // The verdict equals a recount from the log.
    let (records, events) = recounted(&world, day(1));
    assert_eq!((records, events), (2 * of_day, of_day));
    let found = &verdict["verdict"];
    for (name, count) in [
        ("records", records),
        ("events", events),
        ("rewritten", events),
        ("resends", records - events),
        ("missing", 0),
        ("other_rules", 0),
        ("duplicates", 0),
        ("orphaned_not_in_log", 0),
    ] {
        assert_eq!(found[name], count, "{name}: {verdict}");
    }
    assert_eq!(verdict["balanced"], true, "{verdict}");
    world.balanced();
    processors.stop().expect_code(0);
}
