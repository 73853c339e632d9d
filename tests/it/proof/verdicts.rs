//! `audit --follow` stores what it finds: balanced, out of balance, or unknown with the reason.

use std::time::Duration;

use harness::{Child, ClickHouseProxy, World, free_port, get, metric};

use super::audit::{lose, processed};

/// A continuous audit, and the base URL of its admin port.
fn follow(world: &World, args: &[&str], set: &[(&str, &str)]) -> (Child, String) {
    let mut command = world.command("processors", set);
    command.args(["audit", "--follow", "--every", "1s", "--grace", "1s", "--group", &world.group]);
    let admin = free_port();
    command.args(["--admin-listen", &admin.to_string()]).args(args);
    (world.start(command), format!("http://{admin}"))
}

/// The text of some columns of the row that states what is known now.
fn known(world: &World, columns: &str) -> String {
    world.query(&format!("SELECT {columns} FROM audit_balance FORMAT TSV")).trim().to_owned()
}

const STATE: &str = "state, code, missing, duplicates, undecodable, lagging";

#[test]
fn each_verdict_is_stored_and_a_killed_audit_leaves_what_is_known() {
    let (world, mut processors) = processed("verdicts");
    let (mut audit, _) = follow(&world, &[], &[]);
    audit.until("all records are compared", || {
        (known(&world, "(state, balanced_until > now() - 3)") == "('balanced',1)"
            && world.number("SELECT sum(events) FROM audit_verdicts") > 0)
            .then_some(())
    });
    let offsets = "SELECT offsets FROM audit_verdicts ORDER BY judged_at DESC LIMIT 1";
    audit.until("the end of each partition", || {
        (world.query(offsets).trim() == "{0:(0,50),1:(0,51),2:(0,50)}").then_some(())
    });
    let until = known(&world, "balanced_until");

    keep_and_lose(&world, 0, 3);
    let lost = "out_of_balance\tout_of_balance\t1\t0\t0\t0";
    audit.until("the lost click", || (known(&world, STATE) == lost).then_some(()));
    assert!(known(&world, "balanced_until") >= until);

    audit.crash();
    assert_eq!(known(&world, STATE), lost, "a killed audit leaves its verdicts");
    let rows = world.number("SELECT count() FROM audit_verdicts");
    let (mut audit, _) = follow(&world, &[], &[]);
    let newer = format!("SELECT count() FROM audit_verdicts WHERE judged_at > '{until}'");
    audit.until("verdicts of the next process", || (world.number(&newer) > 0).then_some(()));
    audit.crash();
    // One row for each minute and state, and the test lasts less than two minutes.
    assert!((2..=6).contains(&world.number("SELECT count() FROM audit_verdicts")), "{rows}");

    // The group leaves the rest of the log, of which nothing is known then.
    world.query("INSERT INTO click_versions SELECT * FROM kept");
    processors.stop().expect_code(0);
    world.query("TRUNCATE TABLE audit_verdict_versions");
    world.kafka.produce(&world.topic, &world.good(1, 3));
    let produced_ms = world.number("SELECT toUnixTimestamp64Milli(now64(3))");
    let (mut audit, _) = follow(&world, &["--window", "10s"], &[]);
    let lagging = "balanced\t\t0\t0\t0\t3";
    audit.until("lagging records", || (known(&world, STATE) == lagging).then_some(()));
    let until = "toUnixTimestamp64Milli(balanced_until)";
    assert!(known(&world, until).parse::<u64>().unwrap() < produced_ms);
    // They are older than the window, and the group is behind it.
    let behind = "unknown\tgroup_behind\t0\t0\t0\t0";
    audit.until("no known record", || (known(&world, STATE) == behind).then_some(()));
    assert!(known(&world, until).parse::<u64>().unwrap() < produced_ms);
    audit.stop().expect_code(0);
}

#[test]
fn a_run_that_fails_is_unknown_with_its_code_and_an_overdue_verdict_too() {
    let (world, _processors) = processed("verdicts_unknown");
    let address = world.backends.registry.trim_start_matches("http://");
    let (host, path) = address.split_once('/').unwrap_or((address, ""));
    let registry = ClickHouseProxy::start(host);
    let url = format!("{}/{path}", registry.url);
    let (mut audit, _) = follow(&world, &[], &[("SCHEMA_REGISTRY_URL", &url)]);
    audit.until("a verdict", || (known(&world, "state") == "balanced").then_some(()));
    let until = known(&world, "balanced_until");
    registry.close(true);
    let failed = "unknown\tregistry_unreachable\t0\t0\t0\t0";
    audit.until("a failed run", || (known(&world, STATE) == failed).then_some(()));
    assert!(known(&world, "balanced_until") >= until, "what was known stays known");
    registry.close(false);
    audit.until("a complete run", || (known(&world, "state") == "balanced").then_some(()));
    audit.stop().expect_code(0);
    world.query(
        "INSERT INTO audit_verdict_versions SELECT * REPLACE (judged_at - 301 AS judged_at) FROM \
         audit_verdict_versions WHERE state = 'balanced' ORDER BY judged_at DESC LIMIT 1",
    );
    assert_eq!(known(&world, "state"), "balanced");
    world.query(
        "ALTER TABLE audit_verdict_versions DELETE WHERE judged_at > now() - 300 \
         SETTINGS mutations_sync = 2",
    );
    assert_eq!(known(&world, "(state, code)"), "('unknown','no_verdict')");
}

/// Deletes one click from the table, and keeps its row in the table `kept`.
fn keep_and_lose(world: &World, partition: i32, offset: i64) {
    world.query("CREATE TABLE kept AS click_versions");
    world.query(&format!(
        "INSERT INTO kept SELECT * FROM click_versions WHERE kafka_partition = {partition} \
         AND kafka_offset = {offset}"
    ));
    lose(world, partition, offset);
}

#[test]
fn a_difference_that_the_window_has_passed_stays_until_the_whole_log_is_audited() {
    let (world, _processors) = processed("verdicts_passed");
    keep_and_lose(&world, 2, 40);
    let (mut audit, _) = follow(&world, &[], &[]);
    audit.until("the lost click", || (known(&world, "missing") == "1").then_some(()));
    audit.stop().expect_code(0);
    // The click is older than the next window.
    std::thread::sleep(Duration::from_secs(2));
    let (mut audit, _) = follow(&world, &["--window", "2s"], &[]);
    let states = "state, newest_state, missing";
    let passed = "out_of_balance\tbalanced\t0";
    audit.until("a window without the click", || (known(&world, states) == passed).then_some(()));
    let since = known(&world, "(differences_from > now() - 120, differences_until < now())");
    assert_eq!(since, "(1,1)");
    let whole = || {
        let mut command = world.command("processors", &[]);
        command.args(["audit", "--group", &world.group]);
        world.start(command).end().code
    };
    assert_eq!(whole(), Some(1));
    assert_eq!(known(&world, "state"), "out_of_balance");
    world.query("INSERT INTO click_versions SELECT * FROM kept");
    assert_eq!(whole(), Some(0));
    assert_eq!(known(&world, "(state, differences_from)"), "('balanced',NULL)");
    let scope = "SELECT scope FROM audit_verdicts WHERE scope = 'log' AND state = 'balanced'";
    assert_eq!(world.query(scope).trim(), "log");
    audit.stop().expect_code(0);
}

/// Stores verdicts, each two minutes after the one before it: scope, state, and the log times of what was compared and of
/// the differences, in seconds. Returns what is known then.
fn store(world: &World, verdicts: &[(&str, &str, [&str; 4])]) -> String {
    world.query("TRUNCATE TABLE audit_verdict_versions");
    let all = verdicts.len();
    for (number, (scope, state, [from, until, first, last])) in verdicts.iter().enumerate() {
        let time = |second: &str| match second {
            "" => "NULL".to_owned(),
            second => format!("toDateTime64({second}, 3, 'UTC')"),
        };
        world.query(&format!(
            "INSERT INTO audit_verdict_versions (topic, group_id, every_seconds, judged_at, scope, state, \
             logged_from, logged_until, differences_from, differences_until) SELECT 't', 'g', 60, \
             now64(3) - 120 * ({all} - {number}), '{scope}', '{state}', {}, {}, {}, {}",
            time(from),
            time(until),
            time(first),
            time(last)
        ));
    }
    known(world, "(state, newest_state, toUnixTimestamp(differences_from))")
}

#[test]
fn a_difference_is_open_until_a_later_verdict_has_compared_its_part_of_the_log() {
    let world = World::new("verdicts_open");
    world.setup();
    let (window, log) = ("window", "log");
    let (good, bad, unknown) = ("balanced", "out_of_balance", "unknown");
    let found = (window, bad, ["100", "200", "150", "160"]);
    for (verdicts, expected) in [
        (&[found][..], "('out_of_balance','out_of_balance',150)"),
        // Compared again: wholly, in part, and earlier.
        (&[found, (window, good, ["150", "250", "", ""])], "('balanced','balanced',NULL)"),
        (&[found, (window, good, ["151", "250", "", ""])], "('out_of_balance','balanced',150)"),
        (&[found, (window, good, ["100", "159", "", ""])], "('out_of_balance','balanced',150)"),
        (
            &[(window, good, ["100", "200", "", ""]), found],
            "('out_of_balance','out_of_balance',150)",
        ),
        (&[found, (window, unknown, ["100", "300", "", ""])], "('out_of_balance','unknown',150)"),
        (&[found, (log, good, ["50", "300", "", ""])], "('balanced','balanced',NULL)"),
        (&[found, (log, bad, ["50", "300", "", ""])], "('out_of_balance','out_of_balance',50)"),
        // A later verdict has another difference, which a third one does not have.
        (
            &[
                found,
                (window, bad, ["140", "300", "280", "290"]),
                (window, good, ["200", "400", "", ""]),
            ],
            "('balanced','balanced',NULL)",
        ),
        // Of a difference of unknown time, the window compares nothing, of whatever length.
        (
            &[(log, bad, ["50", "300", "50", ""]), (window, good, ["0", "400", "", ""])],
            "('out_of_balance','balanced',50)",
        ),
        (
            &[(log, bad, ["50", "300", "50", ""]), (log, good, ["70", "400", "", ""])],
            "('balanced','balanced',NULL)",
        ),
        // One that an earlier release stored has no times: it is somewhere in its window.
        (
            &[("", bad, ["100", "200", "", ""]), ("", good, ["110", "210", "", ""])],
            "('out_of_balance','balanced',100)",
        ),
    ] {
        assert_eq!(store(&world, verdicts), expected, "{verdicts:?}");
    }
    // A run that began before the difference was found, and ended later, may have read the table before it.
    store(&world, &[found]);
    world.query(
        "INSERT INTO audit_verdict_versions (topic, group_id, scope, began_at, state, logged_from, logged_until) \
         SELECT 't', 'g', 'log', now64(3) - 600, 'balanced', toDateTime64(50, 3), toDateTime64(900, 3)",
    );
    assert_eq!(known(&world, "state, newest_state"), "out_of_balance\tbalanced");
    // A verdict of a clock that was ahead hides no later one.
    store(&world, &[found]);
    world.query(
        "INSERT INTO audit_verdict_versions (topic, group_id, judged_at, state, logged_from, logged_until) \
         SELECT 't', 'g', now64(3) + 3600, 'balanced', toDateTime64(0, 3), toDateTime64(900, 3)",
    );
    assert_eq!(known(&world, "state, newest_state"), "out_of_balance\tout_of_balance");
}

#[test]
fn verdicts_that_cannot_be_stored_neither_stop_nor_delay_the_audit() {
    let (world, _processors) = processed("verdicts_refused");
    let proxy = ClickHouseProxy::start(&world.backends.clickhouse);
    world.query("RENAME TABLE audit_verdict_versions TO away");
    let (mut audit, admin) = follow(&world, &[], &[("CLICKHOUSE_URL", &proxy.url)]);
    let read = |name: &str| metric(&admin, &format!("clicktrail_audit_{name}"));
    let failures = |code| read(&format!("verdict_failures_total{{code=\"{code}\"}}"));
    audit.until("refused inserts", || (failures("clickhouse_schema")? >= 2.0).then_some(()));
    // What was found meanwhile is stored later, with the time of its run.
    keep_and_lose(&world, 0, 3);
    audit.until("the lost click", || (read("missing")? == 1.0).then_some(()));
    world.query("INSERT INTO click_versions SELECT * FROM kept");
    audit.until("the click", || (read("missing")? == 0.0).then_some(()));
    let until = world.query("SELECT now64(3)");
    world.query("RENAME TABLE away TO audit_verdict_versions");
    audit.until("a stored verdict", || (known(&world, "state") == "balanced").then_some(()));
    let found = format!(
        "SELECT max(missing) FROM audit_verdicts WHERE state = 'out_of_balance' AND judged_at < '{}'",
        until.trim()
    );
    assert_eq!(world.number(&found), 1);

    // An insert without an answer ends after four seconds; meanwhile there is a run each second.
    proxy.hold_text("audit_verdict_versions", 0);
    audit.until("a held insert", || (proxy.waited() > 0).then_some(()));
    let before = read("runs_total").unwrap();
    std::thread::sleep(Duration::from_millis(3_500));
    assert!(read("runs_total").unwrap() >= before + 2.0);
    audit.until("an insert that ended", || failures("clickhouse_timeout").map(drop));
    assert_eq!(get(&format!("{admin}/readyz")).unwrap().body, "ready\n");
    proxy.hold_text("", 0);
    let log = audit.stop().expect_code(0).err;
    assert_eq!(log.matches("is not stored; the audit continues").count(), 2, "{log}");
}
