//! What reads several shards: the audit names a row on a wrong shard, and the plan of a replay, its dry run, dead letters, the
//! count of stale rows and `status` know each shard.

use harness::{
    Exit, Raw, ReplicaFront, ShardEngines, World, closed_port, free_port, get, job_id, metric,
};
use serde_json::Value;

use crate::dead_letters::redrive::encoded;

/// The shard that gets a row of another one.
const WRONG: usize = 2;

/// Checks a world of three shards with equal weights, of which the log balances and partition 0 has `each` clicks.
pub(crate) fn check(engines: &ShardEngines, world: &World, each: usize) {
    assert_eq!((engines.count(), world.balanced()["misplaced"].as_u64()), (3, Some(0)));
    plans_count_the_rows_of_all_shards(world, each);
    dead_letters_are_resolved_by_clicks_on_any_shard(world);
    audits_name_a_row_on_a_wrong_shard(engines, world);
    status_names_a_replica_and_a_shard_that_do_not_answer(engines, world);
}

fn plans_count_the_rows_of_all_shards(world: &World, each: usize) {
    let plan = world.plan_replay(&["--where", "kafka_partition = 0"], &[]);
    let counts = [&plan["selected"]["rows"], &plan["estimate"]["rows"]].map(Value::as_u64);
    assert_eq!(counts, [Some(each as u64); 2], "{plan:#}");
    assert!(plan["estimate"]["table_bytes"].as_u64() > Some(0), "{plan:#}");
    let job = job_id(&plan);
    let dry_run = world.replay(&["dry-run", &job, "--json"], &[]).end().expect_code(0);
    let counts = ["clicks", "equal"].map(|name| dry_run.last_object()["dry_run"][name].as_u64());
    assert_eq!(counts, [Some(each as u64); 2], "{dry_run:?}");
    world.replay(&["cancel", &job], &[]).end().expect_code(0);
    let stale = program(world, &["rules", "list"]).out;
    let expected = format!("stale rows: program: 0 of {}", world.clicks());
    assert!(stale.contains(&expected), "{stale}");
}

/// The table of dead letters is on the first server alone.
fn dead_letters_are_resolved_by_clicks_on_any_shard(world: &World) {
    let bad =
        || Raw { value: Some([&encoded(world.schema_id())[..], &[7]].concat()), ..Raw::default() };
    world.kafka.produce(&world.topic, &[(); 9].map(|()| bad()));
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(world);
    processors.until_letters_copied(world);
    let (clicks, code) = (world.clicks(), "trailing_bytes");
    let redriven = world.dlq_output(&["redrive", "--wait", "--code", code, "--repair", code]);
    assert_eq!(redriven.lines().last(), Some("redrive: 9 sent: 9 in the table"), "{redriven}");
    assert_eq!(world.clicks(), clicks + 9);
    processors.stop().expect_code(0);
    let states = world.query("SELECT state, count() FROM dead_letters GROUP BY state");
    assert_eq!(states, "resolved\t9");
}

fn audits_name_a_row_on_a_wrong_shard(engines: &ShardEngines, world: &World) {
    let ask = |sql: &str| engines.ask(world, WRONG, sql).unwrap_or_else(|error| panic!("{error}"));
    let row = "FROM shard_2_clicks ORDER BY event_id LIMIT 1";
    ask(&format!("INSERT INTO click_versions SELECT * {row}"));
    let id = ask(&format!("SELECT UUIDNumToString(event_id) {row}"));
    let (report, code) = world.audit();
    let counts = ["missing", "duplicates", "misplaced"].map(|name| report[name].as_u64());
    assert_eq!((code, counts), (1, [Some(0), Some(1), Some(1)]), "{report:#}");
    let named = format!("{id} on shard 3 instead of 2");
    assert_eq!(report["misplaced_examples"], serde_json::json!([named]), "{report:#}");

    let mut command = world.command("processors", &[]);
    let admin = free_port().to_string();
    command.args(["audit", "--follow", "--grace", "1s", "--group", &world.group]);
    command.args(["--admin-listen", &admin]);
    let mut audit = world.start(command);
    let url = format!("http://{admin}");
    audit.until("the row on a wrong shard", || {
        let found = metric(&url, "clicktrail_audit_misplaced")?;
        (found == 1.0).then_some(())
    });
    assert!(get(&format!("{url}/readyz")).is_ok_and(|answer| answer.status == 200));
    audit.stop().expect_code(0);
    assert!(audit.log().contains(&named), "{}", audit.log());

    // As RUNBOOK describes it: of three slots, this shard owns the last one.
    ask("ALTER TABLE click_versions DELETE WHERE cityHash64(event_id) % 3 NOT BETWEEN 2 AND 2 \
         SETTINGS mutations_sync = 2");
    assert_eq!(world.balanced()["misplaced"], 0);
}

fn status_names_a_replica_and_a_shard_that_do_not_answer(engines: &ShardEngines, world: &World) {
    let closed = closed_port().to_string();
    let texts = || {
        let status = ["status", "--json", "--services", &closed, "--group", &world.group];
        let answer = program(world, &status).last_object();
        assert_eq!(answer["clickhouse"]["shards"].as_array().map(Vec::len), Some(4), "{answer:#}");
        answer["findings"].to_string()
    };
    let [first, second] = &engines.fronts;
    first.kill();
    let found = texts();
    let replica = format!("a replica of shard 1 of ClickHouse, {}: ", first.url());
    assert!(found.contains(&replica) && !found.contains("no replica of shard"), "{found}");
    world.balanced();
    second.kill();
    let found = texts();
    let shard = format!("no replica of shard 1 of ClickHouse answers: {}: ", first.url());
    assert!(found.contains(&shard), "{found}");
    engines.fronts.iter().for_each(ReplicaFront::restart);
}

/// Runs one of the commands of `processors` to its end.
fn program(world: &World, args: &[&str]) -> Exit {
    let mut command = world.command("processors", &[]);
    command.args(args);
    world.start(command).end()
}
