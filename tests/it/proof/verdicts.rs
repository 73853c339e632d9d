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

    lose(&world, 0, 3);
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

#[test]
fn verdicts_that_cannot_be_stored_neither_stop_nor_delay_the_audit() {
    let (world, _processors) = processed("verdicts_refused");
    let proxy = ClickHouseProxy::start(&world.backends.clickhouse);
    world.query("RENAME TABLE audit_verdict_versions TO away");
    let (mut audit, admin) = follow(&world, &[], &[("CLICKHOUSE_URL", &proxy.url)]);
    let read = |name: &str| metric(&admin, &format!("clicktrail_audit_{name}"));
    let failures = |code| read(&format!("verdict_failures_total{{code=\"{code}\"}}"));
    audit.until("refused inserts", || (failures("clickhouse_schema")? >= 2.0).then_some(()));
    world.query("RENAME TABLE away TO audit_verdict_versions");
    audit.until("a stored verdict", || (known(&world, "state") == "balanced").then_some(()));

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
