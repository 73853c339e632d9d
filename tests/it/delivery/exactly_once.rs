//! Every record becomes one click, despite kills, repeats, resets and lost responses.

use harness::{AccessLog, ClickHouseProxy, World, access_log, metric, until};

/// Small, so that a backlog takes time and faults can interrupt it.
const SMALL: &[(&str, &str)] = &[("CLICKTRAIL_BATCH_ROWS", "500")];
const WAITS: &str =
    r#"clicktrail_processors_retries_total{stage="insert",code="clickhouse_unreachable"}"#;
const ZONES: [&str; 4] = ["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"];

fn imported(name: &str) -> (World, AccessLog) {
    let world = World::new(name);
    world.setup();
    let log = access_log(world.folder());
    let (summary, _) = world.import(&log.file, &[]);
    assert_eq!(summary.get("delivered"), log.clicks, "the healthy case");
    assert_eq!(world.kafka.records(&world.topic), i64::try_from(log.clicks).unwrap());
    (world, log)
}

/// Waits for some rows and returns their number. Fails if it is the number of all rows: a fault would
/// then interrupt nothing.
fn halfway(world: &World, all: u64) -> u64 {
    let rows = until("the first rows", || Some(world.clicks()).filter(|rows| *rows > 0));
    assert!(rows < all, "all {all} rows came at once; make the batches smaller");
    rows
}

fn no_click_twice(world: &World, all: u64) {
    let seen = world.query("SELECT count(), uniqExact(event_id) FROM clicks");
    assert_eq!(seen, format!("{all}\t{all}"));
}

#[test]
fn a_log_imported_again_changes_no_count_though_its_links_have_changed() {
    let (world, log) = imported("again");
    // Ends with 65, since one line is truncated; imports all other lines.
    let mut command = world.command("producer", &[]);
    command.args(["import", "--format", "combined", "--strict"]).arg(&log.file);
    let exit = world.start(command).end().expect_code(65);
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    assert!(exit.err.contains(&format!(":{}:", log.malformed_line)), "{}", exit.err);
    let summary = exit.summary("import");
    let (lines, clicks) = (summary.get("lines"), summary.get("clicks"));
    assert_eq!((lines, clicks, summary.get("malformed")), (log.lines, log.clicks, 1));

    let links = world.folder().join("links.jsonl");
    let link =
        format!(r#"{{"slug":"{}","url":"https://example.com/","id":"made-later"}}"#, log.slug);
    std::fs::write(&links, link).unwrap();
    assert_eq!(world.number("SELECT count() FROM clicks WHERE link_id != ''"), 0);
    world.import(&log.file, &["--links", links.to_str().unwrap()]);
    processors.until_caught_up(&world);

    assert_eq!(world.kafka.records(&world.topic), 3 * i64::try_from(log.clicks).unwrap());
    no_click_twice(&world, log.clicks);
    let linked = world.number("SELECT count() FROM clicks WHERE link_id = 'made-later'");
    let of_slug = world.number(&format!("SELECT count() FROM clicks WHERE slug = '{}'", log.slug));
    assert!(linked > 0 && linked == of_slug, "the last version is visible: {linked} of {of_slug}");
    let report = world.balanced();
    assert_eq!(report["resends"], 2 * log.clicks, "{report:#}");
    assert_eq!(report["log_events"], log.clicks, "{report:#}");
}

#[test]
fn copies_of_a_click_in_one_large_insert_count_once() {
    let (world, log) = imported("copies");
    for _ in 0..2 {
        world.import(&log.file, &[]);
    }
    let mut processors = world.processors(&[], &[("CLICKTRAIL_BATCH_ROWS", "8000")]);
    processors.until_caught_up(&world);
    // Parts that the server has not merged before it stored them (`optimize_on_insert=0`) are of level 0.
    let unmerged = "SELECT sum(rows) FROM system.parts \
                    WHERE database = currentDatabase() AND table = 'click_versions' AND level = 0";
    let stored = world.number(unmerged);
    assert!(stored > log.clicks, "{stored} rows for {} clicks are no copies", log.clicks);
    no_click_twice(&world, log.clicks);
    world.query("OPTIMIZE TABLE click_versions FINAL");
    assert_eq!(world.number("SELECT count() FROM click_versions"), log.clicks);
    no_click_twice(&world, log.clicks);
}

#[test]
fn processors_killed_repeatedly_lose_nothing_and_count_nothing_twice() {
    let (world, log) = imported("killed");
    // A static member rejoins at once; the group waits for a killed dynamic member.
    let member = ["--kafka", "group.instance.id=one"];
    let mut kills = 0;
    for after in [1, 2_000, 4_000, 6_000] {
        let mut processors = world.processors(&member, SMALL);
        let rows =
            processors.until("more rows", || Some(world.clicks()).filter(|rows| *rows >= after));
        processors.crash();
        kills += u32::from(rows < log.clicks);
    }
    assert!(kills >= 2, "most kills were after the end of the work");
    let mut processors = world.processors(&member, SMALL);
    processors.until_caught_up(&world);
    no_click_twice(&world, log.clicks);
    world.balanced();
}

#[test]
fn a_killed_processor_is_replaced_by_another_member() {
    let (world, log) = imported("replaced");
    let mut first = world.processors(&[], SMALL);
    halfway(&world, log.clicks);
    first.crash();
    let mut second = world.processors(&[], SMALL);
    second.until_caught_up(&world);
    no_click_twice(&world, log.clicks);
}

#[test]
fn an_insert_without_acknowledgement_is_repeated_and_counts_once() {
    let (world, log) = imported("lost_answer");
    let proxy = ClickHouseProxy::start(&world.backends.clickhouse);
    let set = [("CLICKHOUSE_URL", proxy.url.as_str()), SMALL[0]];
    proxy.lose_answers(3);
    let mut processors = world.processors(&[], &set);
    processors.until_caught_up(&world);
    assert_eq!(proxy.lost(), 3, "the fault had its effect");
    no_click_twice(&world, log.clicks);
    world.balanced();
}

#[test]
fn processing_resumes_after_an_outage_of_clickhouse() {
    let (world, log) = imported("outage");
    let proxy = ClickHouseProxy::start(&world.backends.clickhouse);
    let set = [("CLICKHOUSE_URL", proxy.url.as_str()), SMALL[0]];
    let mut processors = world.processors(&[], &set);
    halfway(&world, log.clicks);
    let admin = processors.admin.clone();
    proxy.close(true);
    processors.until("the insert failed three times", || {
        metric(&admin, WAITS).filter(|times| *times >= 3.0)
    });
    assert!(!world.caught_up());
    proxy.close(false);
    processors.until_caught_up(&world);
    no_click_twice(&world, log.clicks);
    let exit = processors.stop().expect_code(0);
    assert!(exit.err.contains("clickhouse_unreachable"), "{}", exit.err);
}

#[test]
fn a_reset_by_kafka_tools_replays_every_click_and_changes_no_count_in_any_zone() {
    let (world, log) = imported("reset");
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    processors.stop().expect_code(0);
    let counts = || {
        ZONES.map(|zone| {
            let sql = "SELECT toDate(occurred_at), count(), uniqExact(event_id), min(occurred_at) \
                       FROM clicks GROUP BY ALL ORDER BY ALL";
            world.ask(sql, &[("session_timezone", zone)]).unwrap()
        })
    };
    let before = counts();
    assert!(before.iter().all(|zone| *zone == before[0]), "{before:?}");
    let newest = world.query("SELECT toUnixTimestamp64Micro(max(ingested_at)) FROM clicks");

    world.kafka_reset(&world.topic, &["--to-earliest"]);
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    assert_eq!(counts(), before);
    no_click_twice(&world, log.clicks);
    let old =
        format!("SELECT count() FROM clicks WHERE toUnixTimestamp64Micro(ingested_at) <= {newest}");
    assert_eq!(world.number(&old), 0, "every row is from the last run");
    assert_eq!(world.balanced()["resends"], 0);
}

#[test]
fn a_row_does_not_depend_on_the_time_zone_of_the_inserting_process() {
    let (world, log) = imported("zone");
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    for zone in ZONES {
        let sql =
            "INSERT INTO click_versions SELECT * REPLACE (now64(6) AS ingested_at) FROM clicks";
        let settings = [("session_timezone", zone), ("max_partitions_per_insert_block", "0")];
        world.ask(sql, &settings).unwrap();
        no_click_twice(&world, log.clicks);
    }
    // The day of a time without a zone depends on the server's zone.
    let sql = "SELECT concat(table, '.', name) FROM system.columns WHERE database = currentDatabase() \
               AND table LIKE 'click%' AND type LIKE '%DateTime%' AND type NOT LIKE '%\\'UTC\\'%'";
    assert_eq!(world.query(sql), "", "columns without a time zone in their type");
}

#[test]
fn two_groups_that_process_the_same_log_at_once_count_each_click_once() {
    let (world, log) = imported("two_groups");
    let mut processors = world.processors(&[], SMALL);
    let other = format!("{}-other", world.group);
    let mut second = world.processors_of(&other, &[], SMALL);
    processors.until_caught_up(&world);
    second.until("the other group has read all", || {
        let committed: i64 = world.kafka.committed(&other, &world.topic).values().sum();
        (committed == world.kafka.records(&world.topic)).then_some(())
    });
    no_click_twice(&world, log.clicks);
}

#[test]
fn members_that_join_and_leave_under_load_lose_nothing() {
    let world = World::new("members");
    world.setup();
    let log = access_log(world.folder());
    let mut first = world.processors(&[], SMALL);
    let mut command = world.command("producer", &[]);
    command.args(["import", "--format", "combined", "--rate", "1000"]).arg(&log.file);
    let mut import = world.start(command);
    first.until("the first rows", || (world.clicks() > 0).then_some(()));
    let mut second = world.processors(&[], SMALL);
    let admin = second.admin.clone();
    let owns = |least: f64| {
        let owned = metric(&admin, "clicktrail_processors_partitions_assigned");
        owned.filter(|owned| *owned >= least)
    };
    second.until("the new member owns a partition", || owns(1.0));
    first.stop().expect_code(0);
    second.until("the remaining member takes over", || owns(3.0));
    second.crash();
    let mut third = world.processors(&[], SMALL);
    import.end().expect_code(0);
    third.until_caught_up(&world);
    no_click_twice(&world, log.clicks);
    world.balanced();
}
