//! Which copy the click of a pending dead letter must be newer than.

use std::collections::BTreeMap;

use harness::World;
use processors::clickhouse::resolved_dead_letters::{pending, resolve};
use processors::shards::cluster::Cluster;
use tokio::runtime::Runtime;

/// A redrive that does not know the key facts of its copies.
const FORCED: &str = "forced";
/// Unknown key facts.
const NO_FACTS: &str = "toFixedString('', 16), toDateTime64(0, 6)";

/// What happened to one dead letter, in minutes before now: its events (kind, number of the copy, time, job),
/// the versions of the click of its key facts, and the number of its newest failure.
struct Case {
    events: &'static [(&'static str, u32, u32, &'static str)],
    rows: &'static [u32],
    failed: u32,
    state: &'static str,
}

const CASES: [Case; 13] = [
    // The click was inserted after the copy, or before it.
    Case {
        events: &[("pending", 1, 30, "a"), ("sent", 1, 29, "a")],
        rows: &[20],
        failed: 0,
        state: "resolved",
    },
    Case {
        events: &[("pending", 1, 30, "a"), ("sent", 1, 29, "a")],
        rows: &[40],
        failed: 0,
        state: "pending",
    },
    // A second redrive announced another copy, which it may be sending.
    Case {
        events: &[("pending", 1, 40, "a"), ("sent", 1, 39, "a"), ("pending", 2, 20, "b")],
        rows: &[30],
        failed: 0,
        state: "pending",
    },
    // It ended before it sent the copy.
    Case {
        events: &[("pending", 1, 140, "a"), ("sent", 1, 139, "a"), ("pending", 2, 100, "b")],
        rows: &[130],
        failed: 0,
        state: "resolved",
    },
    // It sent the copy, which is not in the table yet.
    Case {
        events: &[
            ("pending", 1, 140, "a"),
            ("sent", 1, 139, "a"),
            ("pending", 2, 100, "b"),
            ("sent", 2, 99, "b"),
        ],
        rows: &[130],
        failed: 0,
        state: "pending",
    },
    // Two redrives announced one number, and the first one sent the copy.
    Case {
        events: &[("pending", 1, 40, "a"), ("sent", 1, 39, "a"), ("pending", 1, 20, "b")],
        rows: &[30],
        failed: 0,
        state: "resolved",
    },
    // Likewise, after the dead letter was resolved.
    Case {
        events: &[
            ("pending", 1, 40, "a"),
            ("sent", 1, 39, "a"),
            ("resolved", 1, 25, ""),
            ("pending", 1, 20, "b"),
        ],
        rows: &[30],
        failed: 0,
        state: "resolved",
    },
    // Resolved, opened again, and announced again: the click of before is not that of the copy.
    Case {
        events: &[
            ("pending", 1, 150, "a"),
            ("sent", 1, 149, "a"),
            ("resolved", 1, 130, ""),
            ("reopened", 0, 120, ""),
            ("pending", 2, 100, "b"),
        ],
        rows: &[140],
        failed: 0,
        state: "pending",
    },
    // The earlier copy failed; its click is of another record.
    Case {
        events: &[("pending", 1, 150, "a"), ("sent", 1, 149, "a"), ("pending", 2, 100, "b")],
        rows: &[140],
        failed: 1,
        state: "pending",
    },
    // Two redrives announced one number, and the second one sent the copy, because the first one announced it
    // too late.
    Case {
        events: &[("pending", 1, 40, FORCED), ("pending", 1, 39, "b"), ("sent", 1, 38, "b")],
        rows: &[30],
        failed: 0,
        state: "resolved",
    },
    // Likewise; the click was inserted before the copy that was sent.
    Case {
        events: &[("pending", 1, 40, "a"), ("pending", 1, 20, "b"), ("sent", 1, 19, "b")],
        rows: &[30],
        failed: 0,
        state: "pending",
    },
    // The brokers refused the copy of the first one, and that of the second one is not recorded as sent yet.
    Case {
        events: &[("pending", 1, 40, FORCED), ("reopened", 1, 39, FORCED), ("pending", 1, 38, "b")],
        rows: &[30],
        failed: 0,
        state: "resolved",
    },
    // The first one sent the copy.
    Case {
        events: &[("pending", 1, 40, "a"), ("pending", 1, 39, FORCED), ("sent", 1, 38, "a")],
        rows: &[30],
        failed: 0,
        state: "resolved",
    },
];

fn minutes_ago(minutes: u32) -> String {
    format!("now64(6) - INTERVAL {minutes} MINUTE")
}

/// Writes the cases, each as the dead letter at the offset of its number.
fn write(world: &World) {
    let key = "origin_topic, origin_partition, origin_offset, origin_logged_at";
    let (mut letters, mut events, mut clicks) = (Vec::new(), Vec::new(), Vec::new());
    for (offset, case) in CASES.iter().enumerate() {
        let origin =
            format!("'{}', 0, {offset}, fromUnixTimestamp64Milli(toInt64(1000))", world.topic);
        let facts = format!(
            "toFixedString('{:016}', 16), toDateTime64('2026-11-01 00:00:00', 6)",
            offset + 1
        );
        for failed in 0..=case.failed {
            letters.push(format!("({origin}, {failed}, 'avro_mismatch')"));
        }
        for (kind, number, at, job) in case.events {
            let (at, facts) = (minutes_ago(*at), if *job == FORCED { NO_FACTS } else { &facts });
            events.push(format!("({origin}, '{kind}', {number}, '{job}', {facts}, {at})"));
        }
        clicks.extend(case.rows.iter().map(|at| format!("({facts}, {})", minutes_ago(*at))));
    }
    for (table, columns, rows) in [
        ("dead_letter_versions", format!("{key}, redrive, code"), letters),
        (
            "dead_letter_events",
            format!("{key}, kind, redrive, job, event_id, occurred_at, at"),
            events,
        ),
        ("click_versions", "event_id, occurred_at, ingested_at".to_owned(), clicks),
    ] {
        world.query(&format!("INSERT INTO {table} ({columns}) VALUES {}", rows.join(", ")));
    }
}

#[test]
fn a_dead_letter_is_resolved_by_the_click_of_a_copy_that_may_still_arrive() {
    let world = World::new("resolver");
    world.setup();
    write(&world);
    let (server, runtime) = (world.clickhouse(), Runtime::new().unwrap());
    let found = runtime.block_on(pending(&server)).unwrap();
    assert_eq!(found.letters, CASES.len() as u64);
    let cluster = Cluster::single(server);
    for round in 0..2 {
        runtime.block_on(resolve(&cluster, found.first_us..=found.last_us, round)).unwrap();
    }
    let rows = world.query("SELECT origin_offset, state FROM dead_letters");
    let states: BTreeMap<usize, &str> = rows
        .lines()
        .filter_map(|row| row.split_once('\t'))
        .map(|(offset, state)| (offset.parse().unwrap(), state))
        .collect();
    let expected = CASES.iter().map(|case| case.state).enumerate().collect();
    assert_eq!(states, expected);
    let added = world.number("SELECT count() FROM dead_letter_events WHERE actor = 'processors'");
    let resolved = CASES.iter().filter(|case| case.state == "resolved").count();
    assert_eq!(added, resolved as u64, "a second round adds none");
}
