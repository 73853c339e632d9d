//! The audit finds each kind of difference between log and table, in bounded memory, also continuously.

use std::time::{Duration, Instant};

use harness::{Child, ClickHouseProxy, Processors, Raw, World, free_port, get, metric};
use schemas::{Encoder, RawClick, SchemaId};
use serde_json::Value;
use uuid::Uuid;

/// Valid clicks on each partition: enough after the bad record, so that the breaker need not wait.
const GOOD: usize = 50;

/// A world whose processors have processed valid clicks and one bad record (1:0).
pub(super) fn processed(name: &str) -> (World, Processors) {
    let world = World::new(name);
    world.setup();
    let bad = Raw { partition: 1, value: Some(b"garbage".to_vec()), ..Raw::default() };
    let good: Vec<_> = (0..3).map(|partition| world.good(partition, GOOD)).collect();
    world.kafka.produce(&world.topic, &[vec![bad], good.concat()].concat());
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    (world, processors)
}

fn start(world: &World, args: &[&str]) -> Child {
    let mut command = world.command("processors", &[]);
    command.arg("audit").args(args);
    world.start(command)
}

fn report(world: &World, code: i32) -> Value {
    let exit = start(world, &["--json"]).end().expect_code(code);
    serde_json::from_str(&exit.out).unwrap()
}

/// Deletes one click from the table.
pub(super) fn lose(world: &World, partition: i32, offset: i64) {
    let delete = format!(
        "ALTER TABLE click_versions DELETE WHERE kafka_partition = {partition} \
         AND kafka_offset = {offset} SETTINGS mutations_sync = 2"
    );
    world.query(&delete);
}

/// Adds a second row of a click with another key.
fn double(world: &World, partition: i32, offset: i64) {
    world.query(&format!(
        "INSERT INTO click_versions SELECT * REPLACE \
         ((SELECT max(occurred_at) FROM click_versions) AS occurred_at) FROM click_versions \
         WHERE kafka_partition = {partition} AND kafka_offset = {offset}"
    ));
}

/// Empties the dead-letter topic.
fn exhume(world: &World) {
    let letters = world.dead_letters();
    for (partition, (_, high)) in world.kafka.bounds(&letters) {
        world.kafka.expire(&letters, partition, high);
    }
}

#[test]
fn each_kind_of_difference_between_log_and_table_is_found_and_located() {
    let (world, mut processors) = processed("audit");
    // A re-send: the same record once more, on another partition.
    let again = world.kafka.read(&world.topic).into_iter().find(|r| r.partition == 0).unwrap();
    let again = Raw { partition: 2, value: again.value, ..Raw::default() };
    world.kafka.produce(&world.topic, &[again]);
    processors.until_caught_up(&world);
    let balanced = report(&world, 0);
    assert_eq!(balanced["resends"], 1, "{balanced:#}");
    let (first, third) = (&balanced["partitions"]["0"], &balanced["partitions"]["2"]);
    assert_eq!((&first["events"], &first["resends"]), (&50.into(), &0.into()));
    assert_eq!((&third["records"], &third["resends"]), (&51.into(), &1.into()));
    assert_eq!((&third["low"], &third["high"]), (&0.into(), &51.into()));
    assert_eq!(balanced["partitions"]["1"]["undecodable"], 1);

    lose(&world, 1, 4);
    double(&world, 2, 5);
    world.query(&format!(
        "INSERT INTO click_versions (occurred_at, event_id, kafka_topic, kafka_offset) \
         VALUES (now64(6), unhex(repeat('77', 16)), '{}', 3)",
        world.topic
    ));
    exhume(&world);
    let wrong = report(&world, 1);
    for (name, count) in [
        ("missing", 1),
        ("duplicates", 1),
        ("surplus", 1),
        ("surplus_expired", 0),
        ("undecodable_without_dead_letter", 1),
        ("log_events", 150),
        ("clicks", 151),
    ] {
        assert_eq!(wrong[name], count, "{name}: {wrong:#}");
    }
    assert_eq!(wrong["partitions"]["1"]["missing"], 1, "{wrong:#}");
    assert_eq!(wrong["surplus_examples"][0], "77777777-7777-7777-7777-777777777777");
    assert!(wrong["missing_examples"][0].as_str().unwrap().ends_with(" 1:4"), "{wrong:#}");

    // Expired records explain the rows of their own offsets only.
    world.kafka.expire(&world.topic, 2, 8);
    let expired = report(&world, 1);
    assert_eq!(expired["surplus_expired"], 8, "{expired:#}");
    assert_eq!(expired["surplus"], 9, "{expired:#}");
    let text = start(&world, &[]).end().expect_code(1).out;
    for line in ["from 8 to 51", "surplus  1: ", "missing  1: ", "audit: OUT OF BALANCE"] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }

    // The group has still to process some clicks; a replay that never runs explains no missing one, planned or
    // cancelled.
    processors.stop().expect_code(0);
    world.kafka.produce(&world.topic, &world.good(1, 3));
    let mut plan = world.command("processors", &[]);
    plan.args(["replay", "plan", "--json", "--offsets", "1:4-4"]);
    let planned: Value = serde_json::from_str(&world.start(plan).end().expect_code(0).out).unwrap();
    let args = ["--json", "--group", &world.group];
    let pending = || {
        let exit = start(&world, &args).end().expect_code(1);
        let report: Value = serde_json::from_str(&exit.out).unwrap();
        ["missing", "lagging", "in_job"].map(|name| report[name].as_u64().unwrap())
    };
    assert_eq!(pending(), [1, 3, 0]);
    let cancel = || {
        let mut cancel = world.command("processors", &[]);
        cancel.args(["replay", "cancel", planned["job"].as_str().unwrap()]);
        world.start(cancel).end()
    };
    let cancelled = cancel().expect_code(0);
    assert!(cancelled.out.contains("it never ran; no row has changed"), "{cancelled:?}");
    assert!(cancel().expect_code(78).err.contains("job_ended"));
    assert_eq!(pending(), [1, 3, 0]);
}

#[test]
fn each_id_unknown_to_the_registry_is_requested_once() {
    let world = World::new("audit_ids");
    world.setup();
    let records: Vec<_> = (0..30)
        .flat_map(|_| 0..30)
        .map(|index| {
            let mut value = Vec::new();
            schemas::frame(SchemaId(888_000_000 + index), &mut value);
            Raw { value: Some(value), ..Raw::default() }
        })
        .collect();
    world.kafka.produce(&world.topic, &records);
    let began = Instant::now();
    let report = report(&world, 1);
    assert_eq!(report["undecodable_without_dead_letter"], 900, "{report:#}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// A log of `count` clicks and a table with exactly these, without processors.
fn many(world: &World, count: u64) {
    world.setup();
    let encoder = Encoder::new(world.schema_id());
    let first_us = jiff::Timestamp::now().as_microsecond() - 3_600_000_000;
    let records = |numbers: std::ops::Range<u64>| -> Vec<Raw> {
        let record = |number: u64| {
            let mut value = Vec::new();
            let at = first_us + i64::try_from(number).unwrap();
            let click = RawClick::new(Uuid::from_u128(u128::from(number) + 1), at, "a");
            encoder.encode(&click, &mut value).unwrap();
            let partition = i32::try_from(number % 3).unwrap();
            Raw { partition, value: Some(value), ..Raw::default() }
        };
        numbers.map(record).collect()
    };
    for start in (0..count).step_by(50_000) {
        world.kafka.produce(&world.topic, &records(start..count.min(start + 50_000)));
    }
    world.query(&format!(
        "INSERT INTO click_versions (occurred_at, event_id, kafka_topic, kafka_partition, \
         kafka_offset) SELECT fromUnixTimestamp64Micro(toInt64({first_us} + number)), \
         toFixedString(unhex(leftPad(hex(number + 1), 32, '0')), 16), '{}', number % 3, \
         intDiv(number, 3) FROM numbers({count})",
        world.topic
    ));
}

/// The memory setting below is enough for these, which fill the read-ahead of the client, too.
const FEW: u64 = 60_000;
/// It is enough for a tenth of these.
const MANY: u64 = 600_000;
/// The ids of the others would use 26 MiB. The read-ahead of the client differs by up to 10 MiB between two audits.
const MORE_MAX_KIB: u64 = 12 * 1024;

#[test]
fn an_audit_of_any_log_stays_within_its_memory_setting() {
    let [few, many] = [FEW, MANY].map(audit_peak_kib);
    println!("4 MiB for the audit: {FEW} events peak {few} KiB, {MANY} events {many} KiB");
    assert!(many < few + MORE_MAX_KIB, "{FEW} events: {few} KiB, {MANY} events: {many} KiB");
}

/// The most resident memory of an audit of so many events.
fn audit_peak_kib(count: u64) -> u64 {
    let world = World::new("audit_memory");
    many(&world, count);
    let mut audit = start(&world, &["--json", "--memory-mib", "4"]);
    let mut peak_kib = 0;
    while audit.ended().is_none() {
        peak_kib = peak_kib.max(audit.memory_peak_kib().unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    let exit = audit.end().expect_code(0);
    let report: Value = serde_json::from_str(&exit.out).unwrap();
    assert_eq!((&report["log_events"], &report["clicks"]), (&count.into(), &count.into()));
    assert!(peak_kib > 0, "there was no sample");
    peak_kib
}

#[test]
fn a_scratch_folder_that_cannot_be_written_is_reported() {
    let world = World::new("audit_disk");
    many(&world, 60_000);
    let args = ["--memory-mib", "4", "--scratch-dir", "/nowhere"];
    let exit = start(&world, &args).end().expect_code(78);
    assert!(exit.err.contains("scratch_disk: /nowhere: "), "{exit:?}");
}

#[test]
fn following_the_log_reports_a_lost_click_within_a_period_and_survives_outages() {
    let (world, _processors) = processed("audit_follow");
    let (proxy, admin) = (ClickHouseProxy::start(&world.backends.clickhouse), free_port());
    let mut command = world.command("processors", &[("CLICKHOUSE_URL", &proxy.url)]);
    command.args(["audit", "--follow", "--every", "1s", "--grace", "1s"]);
    command.args(["--admin-listen", &admin.to_string()]);
    let mut follower = world.start(command);
    let admin = format!("http://{admin}");
    let read = |name: &str| metric(&admin, &format!("clicktrail_audit_{name}"));
    let findings = || ["missing", "duplicates", "undecodable_without_dead_letter"].map(read);
    follower.until("a complete run that judges every record", || {
        (read("records")? == 151.0 && read("records_within_grace")? == 0.0).then_some(())
    });
    assert_eq!(findings(), [Some(0.0); 3]);
    assert_eq!(get(&format!("{admin}/readyz")).unwrap().body, "ready\n");

    lose(&world, 0, 3);
    let began = Instant::now();
    follower.until("the lost click", || (read("missing")? == 1.0).then_some(()));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(follower.log().contains(" 0:3"), "{}", follower.log());
    double(&world, 1, 2);
    exhume(&world);
    follower.until("the other findings", || (findings() == [Some(1.0); 3]).then_some(()));

    proxy.close(true);
    follower.until("an outage is reported", || {
        let ready = get(&format!("{admin}/readyz")).ok()?;
        (ready.status == 200 && ready.body.contains("clickhouse_unreachable")).then_some(())
    });
    proxy.close(false);
    let before = read("runs_total").unwrap();
    follower.until("another complete run", || (read("runs_total")? > before).then_some(()));
    let exit = follower.stop().expect_code(0);
    assert!(exit.summary("audit").get("runs") >= 3, "{exit:?}");
}
