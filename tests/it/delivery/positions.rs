//! The committed position is never ahead of durable rows, and decides where reading starts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::{ClickHouseProxy, Signal, World, access_log, metric};

fn rows_below(world: &World, positions: &BTreeMap<i32, i64>) -> BTreeMap<i32, i64> {
    let count = |(partition, position): (&i32, &i64)| {
        let sql = format!(
            "SELECT uniqExact(kafka_offset) FROM click_versions \
             WHERE kafka_partition = {partition} AND kafka_offset < {position}"
        );
        (*partition, i64::try_from(world.number(&sql)).unwrap())
    };
    positions.iter().map(count).collect()
}

/// Compares the committed positions with the rows; returns the number of committed records.
fn committed_and_durable(world: &World) -> i64 {
    // Positions first: rows inserted after their query cannot hide an error.
    let committed = world.kafka.committed(&world.group, &world.topic);
    assert_eq!(rows_below(world, &committed), committed, "every lower offset has its row");
    committed.values().sum()
}

#[test]
fn no_position_is_ever_committed_ahead_of_durable_rows() {
    let world = World::new("ahead");
    world.setup();
    let log = access_log(world.folder());
    world.import(&log.file, &[]);
    let all = world.kafka.records(&world.topic);
    let proxy = ClickHouseProxy::start(&world.backends.clickhouse);
    let set = [("CLICKTRAIL_BATCH_ROWS", "200"), ("CLICKHOUSE_URL", proxy.url.as_str())];
    let mut processors = world.processors(&[], &set);
    let admin = processors.admin.clone();
    let count = |name: &str| metric(&admin, &format!("clicktrail_processors_{name}_total"));
    for _ in 0..3 {
        // Without inserts, a position ahead of the rows stays visible.
        proxy.hold(true);
        processors.until("a batch waits to be inserted", || {
            count("records_read").zip(count("rows_inserted")).filter(|(read, rows)| read > rows)
        });
        let began = Instant::now();
        processors.until("no position runs ahead for a second", || {
            committed_and_durable(&world);
            (began.elapsed() > Duration::from_secs(1)).then_some(())
        });
        let held_at = committed_and_durable(&world);
        proxy.hold(false);
        processors.until("the positions advance", || {
            (committed_and_durable(&world) > held_at).then_some(())
        });
        assert!(held_at < all, "all was inserted before the inserts were held");
    }
    processors
        .until("the end is committed", || (committed_and_durable(&world) == all).then_some(()));
}

#[test]
fn a_graceful_stop_commits_all_read_records_and_the_next_start_reads_none_twice() {
    let world = World::new("graceful");
    world.setup();
    let log = access_log(world.folder());
    world.import(&log.file, &[]);
    let small = [("CLICKTRAIL_BATCH_ROWS", "500")];
    let mut processors = world.processors(&[], &small);
    processors.until("the first rows", || (world.clicks() > 0).then_some(()));
    let first = processors.stop().expect_code(0).summary("run");
    let committed = world.kafka.committed(&world.group, &world.topic);
    let sum: i64 = committed.values().sum();
    assert!(0 < sum && u64::try_from(sum).unwrap() < log.clicks, "stopped in the middle, at {sum}");
    assert_eq!(first.get("records"), u64::try_from(sum).unwrap(), "all read records are committed");
    assert_eq!(first.get("rows"), world.clicks(), "there are no other rows");

    let mut processors = world.processors(&[], &small);
    processors.until_caught_up(&world);
    let second = processors.stop().expect_code(0).summary("run");
    assert_eq!(
        first.get("records") + second.get("records"),
        log.clicks,
        "each record was read once"
    );
    assert_eq!(world.number("SELECT count() FROM click_versions"), log.clicks);

    let mut processors = world.processors(&[], &small);
    let admin = processors.admin.clone();
    processors.until("the partitions are assigned", || {
        let assigned = metric(&admin, "clicktrail_processors_partitions_assigned")?;
        (assigned > 2.0).then_some(())
    });
    let third = processors.stop().expect_code(0).summary("run");
    assert_eq!(third.get("records"), 0, "nothing was left to read");
}

#[test]
fn a_partition_that_ends_with_offsets_without_a_record_has_no_lag() {
    let world = World::new("markers");
    world.setup();
    world.kafka.produce(&world.topic, &world.good(0, 10));
    world.kafka.abort_transaction(&world.topic, &world.group, &[0, 1]);
    let mut processors = world.processors(&[], &[]);
    processors.until("the rows are inserted", || (world.clicks() == 10).then_some(()));
    let admin = processors.admin.clone();
    for partition in [0, 1] {
        let name = format!("clicktrail_processors_lag_records{{partition=\"{partition}\"}}");
        processors.until("no lag is left", || (metric(&admin, &name)? == 0.0).then_some(()));
    }
}

#[test]
fn a_partition_that_is_added_later_is_read_from_its_start() {
    let world = World::new("grown");
    world.setup();
    world.kafka.produce(&world.topic, &world.good(0, 10));
    let mut processors =
        world.processors(&["--kafka", "topic.metadata.refresh.interval.ms=500"], &[]);
    processors.until_caught_up(&world);
    assert_eq!(world.clicks(), 10);
    world.kafka.grow(&world.topic, 5);
    // Written at once: a consumer that starts a new partition at its end, the client's default, misses
    // these.
    world.kafka.produce(&world.topic, &[world.good(3, 20), world.good(4, 30)].concat());
    processors.until_caught_up(&world);
    assert_eq!(world.clicks(), 60);
    world.balanced();
}

#[test]
fn positions_outside_the_log_are_reported_and_reading_restarts_at_its_start() {
    let world = World::new("outside");
    world.setup();
    world
        .kafka
        .produce(&world.topic, &[world.good(0, 10), world.good(1, 10), world.good(2, 10)].concat());
    // Beyond the end: the topic was recreated. Below the start: retention deleted the records.
    world.kafka.commit(&world.group, &world.topic, &[(0, 500), (1, 2), (2, 4)]);
    world.kafka.expire(&world.topic, 1, 5);
    let mut processors = world.processors(&[], &[]);
    let admin = processors.admin.clone();
    processors.until_caught_up(&world);
    let of = |partition: i32| {
        let sql = format!(
            "SELECT count(), min(kafka_offset) FROM clicks WHERE kafka_partition = {partition}"
        );
        world.query(&sql)
    };
    assert_eq!([of(0), of(1), of(2)], ["10\t0", "5\t5", "6\t4"]);
    processors.until("the loss is counted", || {
        metric(&admin, "clicktrail_processors_records_expired_total").filter(|lost| *lost > 0.0)
    });
    assert_eq!(metric(&admin, "clicktrail_processors_records_expired_total"), Some(3.0));
    let log = processors.stop().expect_code(0).err;
    assert!(log.contains("position_beyond_end") && log.contains("records_expired"), "{log}");
}

#[test]
fn records_that_retention_deletes_under_a_live_group_are_counted() {
    let world = World::new("overtaken");
    world.setup();
    world.kafka.produce(&world.topic, &[world.good(0, 10), world.good(1, 10)].concat());
    let mut processors = world.processors(&[], &[]);
    let admin = processors.admin.clone();
    processors.until_caught_up(&world);
    processors.signal(Signal::STOP);
    // The broker delays its response to a fetch by half a second; it would contain records written
    // meanwhile.
    std::thread::sleep(Duration::from_secs(1));
    world.kafka.produce(&world.topic, &[world.good(0, 30), world.good(1, 5)].concat());
    world.kafka.expire(&world.topic, 0, 25);
    processors.signal(Signal::CONT);
    processors.until_caught_up(&world);
    let lost = || metric(&admin, "clicktrail_processors_records_expired_total");
    assert_eq!(lost(), Some(15.0), "offsets 10 to 24 of partition 0");
    assert_eq!(world.clicks(), 20 + 15 + 5);
    let sql = "SELECT count() FROM clicks WHERE kafka_partition = 1";
    assert_eq!(world.number(sql), 15, "the other partition is not affected");
    assert!(processors.stop().expect_code(0).err.contains("records_expired"));
}

#[test]
fn a_position_moved_under_a_live_group_replays_from_it() {
    let world = World::new("moved");
    world.setup();
    world.kafka.produce(&world.topic, &[world.good(0, 30), world.good(1, 10)].concat());
    let mut processors = world.processors(&[], &[]);
    let admin = processors.admin.clone();
    processors.until_caught_up(&world);
    let before = world.query("SELECT toUnixTimestamp64Micro(max(ingested_at)) FROM clicks");
    let jumps = || metric(&admin, "clicktrail_processors_position_resets_total");
    assert_eq!(jumps(), Some(0.0), "the healthy case");

    let (group, elsewhere) = (&world.group, world.dead_letters());
    world.kafka.commit_among_members(group, &elsewhere, &world.topic, &[(0, 10)]);
    processors.until("the move is noticed", || jumps().filter(|jumps| *jumps > 0.0));
    let replayed = format!(
        "SELECT count() FROM clicks WHERE kafka_partition = 0 AND kafka_offset >= 10 \
         AND toUnixTimestamp64Micro(ingested_at) > {before}"
    );
    processors.until("what follows was processed again", || {
        (world.number(&replayed) == 20).then_some(())
    });
    processors.until_caught_up(&world);
    let all = format!(
        "SELECT count(), countIf(toUnixTimestamp64Micro(ingested_at) > {before}) FROM clicks"
    );
    assert_eq!(world.query(&all), "40\t20", "no other record was processed again");
    assert_eq!(jumps(), Some(1.0));
    world.balanced();
    assert!(processors.stop().expect_code(0).err.contains("position_moved"));
}
