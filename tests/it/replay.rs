//! A replay of a part of the log beside live traffic, which an operator pauses and tunes, by two workers of which
//! one is killed between its insert and its commit.

mod imported;
mod passes;
mod selection;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use harness::{Child, ClickHouseProxy, Exit, Raw, StopFlag, World, free_port, metric, root, until};
use records::encode::columns::COLUMNS;
use schemas::{Encoder, RawClick};
use serde_json::{Value, json};
use uuid::Uuid;

/// Records of a partition in the first and the last stretch of the log.
const AROUND: usize = 60;
/// Records of a partition in the stretch that is replayed.
const MIDDLE: usize = 500;
/// Small batches, so that both workers have some.
const SMALL: (&str, &str) = ("CLICKTRAIL_BATCH_ROWS", "20");
/// Much longer than the broker's clock tick, so that a time is between two stretches.
const APART: Duration = Duration::from_millis(50);

/// A rules folder with this geo data and no other table.
fn rules(world: &World, geo: &str) -> String {
    let folder: PathBuf = world.folder().join(geo);
    std::fs::create_dir_all(&folder).unwrap();
    let from = root().join("tests/fixtures/geo").join(geo);
    std::fs::copy(from, folder.join("geo.mmdb")).unwrap();
    folder.to_str().unwrap().to_owned()
}

/// Starts `processors replay`.
fn replay(world: &World, args: &[&str], set: &[(&str, &str)]) -> Child {
    let mut command = world.command("processors", set);
    // The group removes a killed member after seconds.
    command.args(["replay", "--kafka", "session.timeout.ms=6000"]);
    command.args(["--kafka", "heartbeat.interval.ms=1000"]).args(args);
    world.start(command)
}

/// The last line of JSON that a command has printed.
fn last_object(exit: &Exit) -> Value {
    let line = exit.out.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {exit:?}"))
}

/// The present time, between two stretches.
fn moment() -> String {
    std::thread::sleep(APART);
    let moment = jiff::Timestamp::now().to_string();
    std::thread::sleep(APART);
    moment
}

/// Sends clicks and samples the view until `stop`; returns the number of samples.
fn live(world: &World, stop: &StopFlag) -> u32 {
    let (mut samples, mut before) = (0, 0);
    while !stop.is_set() {
        world.kafka.produce(&world.topic, &[world.good(0, 5), world.good(2, 5)].concat());
        let text = world.query("SELECT count(), uniqExact(event_id) FROM clicks");
        let (rows, events) = text.split_once('\t').unwrap();
        assert_eq!(rows, events, "a click is shown twice");
        let rows: u64 = rows.parse().unwrap();
        assert!(rows >= before, "{rows} clicks after {before}");
        (samples, before) = (samples + 1, rows);
        std::thread::sleep(APART);
    }
    samples
}

/// Clicks of addresses that the two geo tables locate differently.
fn located(world: &World, partition: i32, count: usize) -> Vec<Raw> {
    let encoder = Encoder::new(world.schema_id());
    let record = |number: usize| {
        let address = [[81, 2, 69, 7], [89, 160, 20, 7], [8, 8, 8, 8]][number % 3];
        let now_us = jiff::Timestamp::now().as_microsecond();
        let click = RawClick {
            client_ip: Some(&address),
            ..RawClick::new(Uuid::now_v7(), now_us, "located")
        };
        let mut value = Vec::new();
        encoder.encode(&click, &mut value).unwrap();
        Raw { partition, value: Some(value), ..Raw::default() }
    };
    (0..count).map(record).collect()
}

/// Two records of one click with different slugs.
fn differing(world: &World) -> [Raw; 2] {
    let encoder = Encoder::new(world.schema_id());
    let (id, now_us) = (Uuid::now_v7(), jiff::Timestamp::now().as_microsecond());
    ["one", "two"].map(|slug| {
        let mut value = Vec::new();
        encoder.encode(&RawClick::new(id, now_us, slug), &mut value).unwrap();
        Raw { partition: 2, value: Some(value), ..Raw::default() }
    })
}

/// By column: how many clicks have another value in `clicks` than in the copy of the view, without the
/// undecided click.
fn changes(world: &World) -> BTreeMap<String, u64> {
    let compared = COLUMNS.iter().filter(|column| {
        let skipped = ["occurred_at", "event_id", "kafka_topic", "kafka_partition"];
        let also = ["kafka_offset", "logged_at", "trace_id"];
        !skipped.contains(column) && !also.contains(column)
    });
    let counts: Vec<_> =
        compared.clone().map(|name| format!("countIf(b.`{name}` != c.`{name}`)")).collect();
    let sql = format!(
        "SELECT {} FROM before AS b INNER JOIN clicks AS c \
         ON b.occurred_at = c.occurred_at AND b.event_id = c.event_id \
         WHERE b.slug NOT IN ('one', 'two')",
        counts.join(", ")
    );
    let text = world.query(&sql);
    let counts = text.trim().split('\t').map(|count| count.parse::<u64>().unwrap());
    let all = compared.map(|name| (*name).to_owned()).zip(counts);
    all.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn a_window_is_replayed_by_two_workers_beside_live_traffic_and_verified() {
    let world = World::new("replay_job");
    world.setup();
    let (old, new) = (rules(&world, "flat-v4.mmdb"), rules(&world, "nested.mmdb"));
    let (old, new) = (("CLICKTRAIL_RULES", old.as_str()), ("CLICKTRAIL_RULES", new.as_str()));
    let mut processors = world.processors(&[], &[old]);
    let good = |partitions: &[i32], count| {
        let records: Vec<Raw> = partitions.iter().flat_map(|own| world.good(*own, count)).collect();
        world.kafka.produce(&world.topic, &records);
        records
    };
    good(&[0, 1, 2], AROUND);
    let from = moment();
    let sent: Vec<Raw> = (0..3).flat_map(|own| located(&world, own, MIDDLE)).collect();
    world.kafka.produce(&world.topic, &sent);
    // A duplicate send, and a record that cannot become a row.
    let bad = Raw { partition: 0, value: Some(b"no click".to_vec()), ..Raw::default() };
    world.kafka.produce(&world.topic, &[sent[0].clone(), bad]);
    world.kafka.produce(&world.topic, &differing(&world));
    // Partition 0 continues after the window, and partition 1 ends with it.
    world.kafka.abort_transaction(&world.topic, &world.group, &[0, 1]);
    let to = moment();
    good(&[0, 2], AROUND);
    let (around, middle) = (AROUND as u64, MIDDLE as u64);
    let clicks = 5 * around + 3 * middle + 1;
    // The positions never reach the end of partition 1, which holds no record.
    until("every click is a row", || (world.clicks() == clicks).then_some(()));
    let dead_letters = || world.kafka.records(&world.dead_letters());
    until("the dead letter is written", || (dead_letters() == 1).then_some(()));

    let window = ["--from", &from, "--to", &to, "--json"];
    let exit = replay(&world, &[&["plan"], &window[..]].concat(), &[new]).end().expect_code(0);
    let plan = last_object(&exit);
    let id = plan["job"].as_str().unwrap().to_owned();
    let offsets = |own: usize| plan["partitions"][own]["offsets"].as_u64().unwrap();
    // The records, and three offsets of the aborted transaction.
    assert_eq!([0, 1, 2].map(offsets), [middle + 2 + 3, middle + 3, middle + 2], "{plan}");
    let refused = replay(&world, &[&["plan"], &window[..]].concat(), &[new]).end().expect_code(78);
    assert!(refused.err.contains("replay_overlap"), "{refused:?}");
    let refused = replay(&world, &["run", &id], &[old]).end().expect_code(78);
    assert!(refused.err.contains("replay_rules"), "{refused:?}");

    let status =
        || last_object(&replay(&world, &["status", &id, "--json"], &[]).end().expect_code(0));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let refused = replay(&world, &["run", &id, "--admin-listen", &taken], &[new]).end();
    assert!(refused.expect_code(78).err.contains("admin_listen"));
    assert_eq!(status()["job"]["state"], "planned", "a worker that cannot serve changes no job");

    world.query("CREATE TABLE before ENGINE = Memory AS SELECT * FROM clicks");
    let exit = replay(&world, &["dry-run", &id, "--json"], &[new]).end().expect_code(0);
    let dry = last_object(&exit)["dry_run"].clone();
    for (name, count) in [
        ("records", 3 * middle + 4),
        ("clicks", 3 * middle + 1),
        ("resends", 2),
        ("new", 0),
        // A third of the addresses is in neither table.
        ("changed", 3 * (middle - middle / 3)),
        ("equal", 3 * (middle / 3)),
        ("undecided", 1),
        ("undecodable", 1),
        ("expired", 0),
    ] {
        assert_eq!(dry[name], count, "{name}: {dry:#}");
    }
    assert_eq!(dry["undecodable_by_code"]["bad_magic"], 1, "{dry:#}");
    assert!(changes(&world).is_empty(), "the dry run inserts nothing");

    let tune = |args: &[&str]| {
        let args = [&["tune", id.as_str(), "--json"], args].concat();
        last_object(&replay(&world, &args, &[]).end().expect_code(0))["throttle"].clone()
    };
    // The server's clock was an hour ahead when an operator paused the job: the later request still holds.
    world.query(&format!(
        "INSERT INTO job_requests (id, request, number, at) SELECT '{id}', 'pause', 1, now64(6) + 3600"
    ));
    assert_eq!(tune(&["--resume"])["paused"], false);
    tune(&["--pause", "--max-lag", "60"]);

    let stop = StopFlag::default();
    let (exit, samples) = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| live(&world, &stop));
        let guard = stop.guard();
        let [slow, lossy] = [(), ()].map(|()| ClickHouseProxy::start(&world.backends.clickhouse));
        let admin = free_port().to_string();
        let worker = |proxy: &ClickHouseProxy, more: &[&str]| {
            let through = ("CLICKHOUSE_URL", proxy.url.as_str());
            let live = ("CLICKTRAIL_GROUP", world.group.as_str());
            let args = [&["run", id.as_str(), "--json"], more].concat();
            replay(&world, &args, &[new, SMALL, live, through])
        };
        let assigned = |worker: &Child| {
            let is_assigned = || worker.log().contains("a partition is assigned").then_some(());
            until("the worker has a partition", is_assigned);
        };
        let mut leader = worker(&slow, &["--admin-listen", &admin]);
        assigned(&leader);
        let shown = |name: &str| metric(&format!("http://{admin}"), name);
        let paused = "clicktrail_replay_paused{cause=\"operator\"}";
        until("the worker pauses", || (shown(paused) == Some(1.0)).then_some(()));
        let is_paused = || status()["progress"]["paused"] == "operator";
        until("the status names the pause", || is_paused().then_some(()));
        // This worker inserts and gets no answer, so it commits nothing of it.
        let mut member = worker(&lossy, &[]);
        assigned(&member);
        slow.hold(true);
        lossy.lose_answers(u32::MAX);
        let limits = json!({
            "rate": 2_000, "max_lag_seconds": 60, "max_parts": 300, "paused": false,
        });
        assert_eq!(tune(&["--resume", "--rate", "2000"]), limits);
        until("the member has inserted", || (lossy.lost() > 0).then_some(()));
        member.crash();
        slow.hold(false);
        let exit = leader.end();
        drop(guard);
        (exit, traffic.join().unwrap())
    });
    let exit = exit.expect_code(0);
    assert!(samples > 20, "{samples} samples");
    let clicks = clicks + u64::from(samples) * 10;
    until("every click of the traffic is a row", || (world.clicks() == clicks).then_some(()));

    // The dry run has counted what the replay then changed.
    let counted = |kind: &str| {
        let all = dry[kind].as_array().unwrap().iter();
        all.map(|own| {
            let name = own["column"].as_str().unwrap().to_owned();
            (name, own["changed"].as_u64().unwrap())
        })
        .collect::<BTreeMap<_, _>>()
    };
    let (mut columns, rules) = (counted("columns"), counted("rules"));
    assert!(columns["country"] > 0 && columns["region"] > 0, "{dry:#}");
    columns.extend(rules);
    assert_eq!(columns, changes(&world), "{dry:#}");

    // Recounted from the log: see what was sent above.
    let verdict = last_object(&exit);
    assert_eq!(verdict["balanced"], true, "{verdict}");
    let expected = BTreeMap::from([
        ("records", 3 * middle + 4),
        ("events", 3 * middle + 1),
        ("rewritten", 3 * middle + 1),
        ("other_rules", 0),
        ("resends", 2),
        ("undecodable", 1),
        ("undecodable_without_dead_letter", 0),
        ("missing", 0),
        ("dead_lettered", 0),
        ("duplicates", 0),
        ("expired", 0),
        ("orphaned_expired", 0),
        ("orphaned_undecodable", 0),
        ("orphaned_other_topic", 0),
        ("orphaned_not_in_log", 0),
    ]);
    for (name, count) in expected {
        assert_eq!(verdict["verdict"][name], count, "{name}: {verdict}");
    }
    let window = format!(
        "kafka_offset >= {around} AND kafka_offset < {around} + {middle} + 2 * (kafka_partition != 1)"
    );
    let build = |condition: &str| {
        let sql = format!("SELECT DISTINCT geo_db_build FROM clicks WHERE {condition}");
        world.query(&sql)
    };
    let (inside, outside) = (build(&window), build(&format!("NOT ({window})")));
    assert!(inside.lines().count() == 1 && outside.lines().count() == 1, "{inside} {outside}");
    assert_ne!(inside, outside, "exactly the rows of the window have the new build");
    let rows = world.number(&format!("SELECT count() FROM clicks WHERE {window}"));
    assert_eq!(rows, 3 * middle + 1);
    let replays = "SELECT id, state, verdict, rewritten, orphaned FROM replays";
    let expected = format!("{id}\tdone\tbalanced\t{}\t0", 3 * middle + 1);
    assert_eq!(world.query(replays).trim(), expected);
    assert_eq!(dead_letters(), 1, "the replay wrote none");
    let committed =
        |id: &str| world.kafka.committed(&format!("clicktrail-replay-{id}-1"), &world.topic);
    let end = i64::try_from(around + middle).unwrap();
    assert_eq!(committed(&id), BTreeMap::from([(0, end + 5), (1, end + 3), (2, end + 2)]));
    let status = status();
    assert_eq!(status["job"]["state"], "done");
    assert_eq!(status["throttle"]["rate"], 2_000);
    assert_eq!(status["positions"][1]["position"], end + 3);

    // Offsets of one partition: the worker neither reads nor commits the others.
    let plan = ["plan", "--offsets", "1:0-9", "--json"];
    let plan = last_object(&replay(&world, &plan, &[new]).end().expect_code(0));
    let id = plan["job"].as_str().unwrap();
    let exit = replay(&world, &["run", id, "--json"], &[new]).end().expect_code(0);
    assert_eq!(last_object(&exit)["verdict"]["rewritten"], 10, "{exit:?}");
    assert_eq!(committed(id), BTreeMap::from([(1, 10)]));
    let rewritten = format!("SELECT count() FROM clicks WHERE geo_db_build = '{inside}'");
    assert_eq!(world.number(&rewritten), 3 * middle + 11);
    world.balanced();
    processors.stop().expect_code(0);
}
