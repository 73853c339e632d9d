//! Selections of a replay: rows whose ranges are far apart in the log, and clicks by the time at which they
//! occurred.

use std::collections::BTreeMap;

use harness::{Raw, World, until};
use schemas::{Encoder, RawClick};
use serde_json::Value;
use uuid::Uuid;

use super::{last_object, replay, rules};

/// Records at either end of partition 0, which are selected.
const ENDS: usize = 20;
/// Records between them: more than the offsets within which ranges are joined.
const BETWEEN: usize = 10_100;
/// Clicks that occurred ten days before they were logged.
const LATE: usize = 10;
const DAY: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// Records of clicks that occurred at a time.
fn occurred(world: &World, at: jiff::Timestamp) -> Vec<Raw> {
    let encoder = Encoder::new(world.schema_id());
    let record = |number: usize| {
        let mut value = Vec::new();
        let click = RawClick::new(Uuid::from_u128(1 + number as u128), at.as_microsecond(), "late");
        encoder.encode(&click, &mut value).unwrap();
        Raw { partition: 1, value: Some(value), ..Raw::default() }
    };
    (0..LATE).map(record).collect()
}

#[test]
fn selected_rows_are_replayed_in_ranges_and_clicks_by_their_time_of_occurrence() {
    let world = World::new("replay_selection");
    world.setup();
    let (old, new) = (rules(&world, "flat-v4.mmdb"), rules(&world, "nested.mmdb"));
    let (old, new) = (("CLICKTRAIL_RULES", old.as_str()), ("CLICKTRAIL_RULES", new.as_str()));
    let mut processors = world.processors(&[], &[old]);
    let now = jiff::Timestamp::now();
    let mut records = world.good(0, ENDS + BETWEEN + ENDS);
    records.extend(occurred(&world, now - 10 * DAY));
    world.kafka.produce(&world.topic, &records);
    let all = records.len() as u64;
    until("every click is a row", || (world.clicks() == all).then_some(()));

    let plan = |args: &[&str], set: (&str, &str)| {
        let args = [&["plan", "--json"], args].concat();
        last_object(&replay(&world, &args, &[set]).end().expect_code(0))
    };
    let run = |plan: &Value| {
        let id = plan["job"].as_str().unwrap();
        let exit = replay(&world, &["run", id, "--json"], &[new]).end().expect_code(0);
        let ended = last_object(&exit);
        assert_eq!(ended["balanced"], true, "{ended}");
        // Of the rows of the window; those between two ranges are not read.
        assert!(exit.err.contains("\"compared\":0") || exit.err.contains("compared=0"), "{exit:?}");
        ended["verdict"].clone()
    };
    let new_rows = |condition: &str| {
        world.number(&format!(
            "SELECT count() FROM clicks WHERE geo_db_build LIKE 'Nested%' AND ({condition})"
        ))
    };

    let last = ENDS + BETWEEN;
    let selected =
        format!("kafka_partition = 0 AND (kafka_offset < {ENDS} OR kafka_offset >= {last})");
    let planned = plan(&["--where", &format!("{selected} -- both ends")], new);
    let count = 2 * ENDS as u64;
    assert_eq!(planned["partitions"][0]["ranges"].as_array().unwrap().len(), 2, "{planned}");
    assert_eq!((&planned["selected"]["rows"], &planned["offsets"]), (&count.into(), &count.into()));
    assert_eq!(planned["selected"]["rows_beyond"], 0, "{planned}");
    assert_eq!(planned["estimate"]["rows"], count, "{planned}");
    let verdict = run(&planned);
    assert_eq!((&verdict["records"], &verdict["rewritten"]), (&count.into(), &count.into()));
    assert_eq!((new_rows(&selected), new_rows("true")), (count, count), "exactly those rows");
    let group = format!("clicktrail-replay-{}-1", planned["job"].as_str().unwrap());
    let end = i64::try_from(last + ENDS).unwrap();
    assert_eq!(world.kafka.committed(&group, &world.topic), BTreeMap::from([(0, end)]));

    let [from, to] = [now - 11 * DAY, now - 9 * DAY].map(|time| time.to_string());
    let planned = plan(&["--occurred-from", &from, "--occurred-to", &to], new);
    assert_eq!((&planned["offsets"], &planned["estimate"]["rows"]), (&all.into(), &LATE.into()));
    let verdict = run(&planned);
    assert_eq!((&verdict["records"], &verdict["rewritten"]), (&LATE.into(), &LATE.into()));
    let late = LATE as u64;
    assert_eq!((new_rows("kafka_partition = 1"), new_rows("true")), (late, count + late));

    let planned = plan(&["--stale", "geo"], new);
    assert_eq!(planned["selected"]["rows"], BETWEEN as u64, "{planned}");
    let refused = |args: &[&str], set, code: &str| {
        let exit = replay(&world, &[&["plan"], args].concat(), &[set]).end().expect_code(78);
        assert!(exit.err.contains(code), "{code}: {exit:?}");
    };
    for condition in [
        "no_such_column = 1",
        "1 SETTINGS max_execution_time = 0",
        "slug IN (SELECT slug FROM clicks SETTINGS max_execution_time = 0)",
        "1) OR (1",
        "1)) SETTINGS max_execution_time = 0 --",
        "1], [1",
        "1 /*",
        "1 FORMAT Null",
        "1 UNION ALL SELECT 1",
        "arrayJoin([1, 1]) = 1",
        "unnest([1, 1]) = 1",
        "slug IN (SELECT * FROM url('http://127.0.0.1:1/', TSV, 's String'))",
        "slug IN url('http://127.0.0.1:1/', TSV, 's String')",
        "slug IN (SELECT * FROM file('x.tsv', TSV, 's String'))",
        "slug IN (SELECT slug FROM remote('127.0.0.1', 'x.clicks'))",
    ] {
        refused(&["--where", condition], new, "replay_selection");
    }
    plan(&["--where", "slug IN (SELECT 'late') -- a comment and a subquery"], new);
    refused(&["--where", "1 = 0"], new, "replay_window");
    let empty = world.folder().join("no_rules");
    std::fs::create_dir_all(&empty).unwrap();
    let none = ("CLICKTRAIL_RULES", empty.to_str().unwrap());
    refused(&["--stale", "geo"], none, "replay_selection");
    refused(&["--offsets", "0:0-9"], none, "replay_downgrade");
    plan(&["--offsets", "0:0-9", "--downgrade"], none);
    let names = "('other' AS kafka_topic) != '' AND (toUInt64(7) AS kafka_offset) = 7";
    let planned = plan(&["--where", names, "--force"], new);
    assert_eq!(planned["selected"]["rows"], all, "a name of the condition replaces no column");
    processors.stop().expect_code(0);
}
