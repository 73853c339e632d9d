//! Replays of one worker: the table of a reset by Kafka's own tool, plans that have become old, a job that is
//! cancelled and resumed, and two jobs over one window.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use harness::{Child, ClickHouseProxy, Raw, World, job_id, root, until};

/// Much longer than the broker's clock tick, so that a time is between two stretches.
const APART: Duration = Duration::from_millis(50);
/// All that a row holds but the time of its insert.
const TABLE: &str = "SELECT * EXCEPT (ingested_at) FROM clicks ORDER BY occurred_at, event_id";
const OLD: &str = "flat-v4.mmdb";
const NEW: &str = "nested.mmdb";

/// Writes `count` clicks into each partition.
fn produce(world: &World, count: usize) {
    let records: Vec<Raw> = (0..3).flat_map(|partition| world.good(partition, count)).collect();
    world.kafka.produce(&world.topic, &records);
}

/// The rows of each version of the geo database, the smallest number first.
fn builds(world: &World) -> Vec<u64> {
    let text =
        world.query("SELECT count() AS rows FROM clicks GROUP BY geo_db_build ORDER BY rows");
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn rules(folder: &str) -> (&str, &str) {
    ("CLICKTRAIL_RULES", folder)
}

#[test]
fn a_replay_makes_the_same_table_as_a_reset_by_kafkas_own_tool() {
    let world = World::new("replay_of_job");
    // Another group and another database, of the same log.
    let mut reset = World::new("replay_of_reset");
    reset.topic.clone_from(&world.topic);
    world.setup();
    reset.setup();
    let (old, new) = (world.geo_rules(OLD), world.geo_rules(NEW));
    produce(&world, 30);
    std::thread::sleep(APART);
    let moment = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3f").to_string();
    std::thread::sleep(APART);
    produce(&world, 50);
    // A record that cannot become a row, and a partition that ends with offsets of no record.
    let bad = Raw { value: Some(b"no click".to_vec()), ..Raw::default() };
    world.kafka.produce(&world.topic, &[bad]);
    world.kafka.abort_transaction(&world.topic, &world.group, &[1]);
    let processed = |own: &World, folder: &str| {
        let mut processors = own.processors(&[], &[rules(folder)]);
        // The positions never reach the end of partition 1, which holds no record.
        let expected = BTreeMap::from([(0, 81), (1, 80), (2, 80)]);
        processors.until("all records are committed", || {
            (own.kafka.committed(&own.group, &own.topic) == expected).then_some(())
        });
        processors
    };
    for own in [&world, &reset] {
        processed(own, &old).stop().expect_code(0);
    }
    assert_eq!(builds(&world), [240]);

    reset.kafka_reset(&reset.topic, &["--to-datetime", &moment]);
    let mut processors = reset.processors(&[], &[rules(&new)]);
    processors
        .until("the window is processed again", || (builds(&reset) == [90, 150]).then_some(()));
    processors.stop().expect_code(0);

    let positions = world.kafka.committed(&world.group, &world.topic);
    let plan = world.plan_replay(&["--from", &format!("{moment}Z")], &[rules(&new)]);
    let exit = world.run_replay(&job_id(&plan), &[rules(&new)]).expect_code(0);
    assert_eq!(exit.last_object()["verdict"]["records"], 151, "{exit:?}");
    assert_eq!(world.query(TABLE), reset.query(TABLE));
    assert_eq!(builds(&world), builds(&reset));
    // Only the reset has moved the group of live processing.
    assert_eq!(world.kafka.committed(&world.group, &world.topic), positions);
    world.balanced();
}

#[test]
fn an_old_plan_reads_its_own_offsets_by_its_own_rules_and_counts_expired_ones() {
    let world = World::new("replay_old_plan");
    world.setup();
    let (old, new) = (world.geo_rules(OLD), world.geo_rules(NEW));
    let mut processors = world.processors(&[], &[rules(&old)]);
    produce(&world, 40);
    world.kafka.abort_transaction(&world.topic, &world.group, &[1]);
    let plan = world.plan_replay(&["--from", "1h"], &[rules(&new)]);
    assert_eq!(plan["offsets"], 3 * 40 + 3, "{plan}");
    let id = job_id(&plan);

    // Later: more clicks, another geo database in the folder, and retention.
    produce(&world, 20);
    until("every click is a row", || (world.clicks() == 180).then_some(()));
    world.kafka.expire(&world.topic, 0, 10);
    world.kafka.expire(&world.topic, 2, 50);
    let copy = |geo: &str| {
        let from = root().join("tests/fixtures/geo").join(geo);
        std::fs::copy(from, Path::new(&new).join("geo.mmdb")).unwrap();
    };
    copy(OLD);
    let refused = world.run_replay(&id, &[rules(&new)]).expect_code(78);
    assert!(refused.err.contains("replay_rules") && refused.err.contains("geo "), "{refused:?}");
    copy(NEW);
    let exit = world.run_replay(&id, &[rules(&new)]).expect_code(1);
    let verdict = exit.last_object();
    assert_eq!(verdict["balanced"], false, "{verdict}");
    // Of partition 0 a part has expired, of partition 2 the whole range.
    let expected = [("records", 70), ("rewritten", 70), ("missing", 0), ("expired", 10 + 40)];
    for (name, count) in expected {
        assert_eq!(verdict["verdict"][name], count, "{name}: {verdict}");
    }
    assert_eq!(builds(&world), [70, 110]);

    // A new plan states what has expired; a range may hold no record at all.
    let offsets = ["--offsets", "0:0-39", "--offsets", "1:40-42"];
    let plan = world.plan_replay(&offsets, &[rules(&new)]);
    assert_eq!(plan["partitions"][0]["deleted_at_most"], 10, "{plan}");
    let id = job_id(&plan);
    // As an earlier version of the program stored a job: its versions hold the plan.
    world.query("INSERT INTO job_versions SELECT * REPLACE (version + 1 AS version) FROM jobs");
    world.query("TRUNCATE TABLE job_plans");
    let exit = world.run_replay(&id, &[rules(&new)]).expect_code(0);
    assert_eq!(exit.last_object()["verdict"]["records"], 30, "{exit:?}");
    let committed = world.kafka.committed(&format!("clicktrail-replay-{id}-1"), &world.topic);
    assert_eq!(committed, BTreeMap::from([(0, 40), (1, 43)]));
    world.query("OPTIMIZE TABLE job_versions FINAL");
    assert_eq!(world.number("SELECT countIf(plan != '') FROM jobs"), 2);
    assert_eq!(world.number("SELECT countIf(plan = '') FROM job_versions"), 1, "{id}");
    processors.stop().expect_code(0);
}

#[test]
fn a_cancelled_replay_is_resumed_beside_a_second_one_of_its_window() {
    let world = World::new("replay_cancelled");
    world.setup();
    let (old, new) = (world.geo_rules(OLD), world.geo_rules(NEW));
    let mut processors = world.processors(&[], &[rules(&old)]);
    produce(&world, 1_000);
    until("every click is a row", || (world.clicks() == 3_000).then_some(()));
    let id = job_id(&world.plan_replay(&["--from", "1h"], &[rules(&new)]));
    let proxy = ClickHouseProxy::start(&world.backends.clickhouse);
    // The server's clock is set back by an hour after the worker has claimed the job.
    let ahead = |hours: u32| {
        let default = format!("DEFAULT now64(6) + toIntervalHour({hours})");
        let column = format!("updated_at DateTime64(6, 'UTC') {default}");
        world.query(&format!("ALTER TABLE job_versions MODIFY COLUMN {column}"));
    };
    ahead(1);
    // The worker then waits with its next inserts into this table.
    proxy.hold_text("INSERT+INTO+click_versions", 3);
    let through = ("CLICKHOUSE_URL", proxy.url.as_str());
    let small = ("CLICKTRAIL_BATCH_ROWS", "20");
    let mut worker = world.replay(&["run", &id, "--json"], &[rules(&new), through, small]);
    let group = format!("clicktrail-replay-{id}-1");
    let done = || world.kafka.committed(&group, &world.topic).into_values().sum::<i64>();
    worker.until("a part is committed", || (done() > 0).then_some(()));
    let mut cancel = world.replay(&["cancel", &id], &[]);
    let requests = format!("SELECT count() FROM job_requests WHERE id = '{id}'");
    until("the request is stored", || (world.number(&requests) > 0).then_some(()));
    // The worker looks at its job each second.
    std::thread::sleep(Duration::from_millis(1500));
    proxy.hold_text("", 0);
    assert_eq!(worker.end().expect_code(143).last_object()["ended"], "cancelled");
    ahead(0);
    // It waits for the end of the job for five seconds only.
    cancel.end();
    let cancelled = world.replay(&["status", &id], &[]).end().expect_code(0);
    assert!(cancelled.out.contains("stay rewritten by the rules of the plan"), "{cancelled:?}");
    // All that it has read is rewritten and committed, which is a small part.
    let rewritten = u64::try_from(done()).unwrap();
    assert_eq!(builds(&world), [rewritten, 3_000 - rewritten]);

    // The first one is no longer open, so that a second one needs no permission; then either does.
    let second = job_id(&world.plan_replay(&["--from", "1h"], &[rules(&new)]));
    let refused = world.run_replay(&id, &[rules(&new)]).expect_code(78);
    assert!(refused.err.contains("replay_overlap"), "{refused:?}");
    world.replay(&["cancel", &second], &[]).end().expect_code(0);
    let forced = job_id(&world.plan_replay(&["--from", "1h", "--force"], &[rules(&new)]));
    let run = |id: &str| world.replay(&["run", id, "--json"], &[rules(&new)]);
    let mut workers: Vec<Child> = [id.as_str(), forced.as_str()].map(run).into();
    for worker in &mut workers {
        let verdict = worker.end().expect_code(0).last_object();
        assert_eq!(verdict["verdict"]["rewritten"], 3_000, "{verdict}");
        assert_eq!(verdict["verdict"]["duplicates"], 0, "{verdict}");
    }
    assert_eq!(builds(&world), [3_000]);
    world.balanced();
    processors.stop().expect_code(0);
}
