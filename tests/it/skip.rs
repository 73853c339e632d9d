//! A skip of a live group with a backlog, and one that a frozen member prevents.

use std::time::{Duration, Instant};

use harness::{ClickHouseProxy, Exit, Processors, Signal, World, metric, until};
use serde_json::Value;

/// Records of a partition in the backlog.
const BACKLOG: usize = 500;
/// Small batches, so that few rows are in flight.
const SMALL: (&str, &str) = ("CLICKTRAIL_BATCH_ROWS", "20");
/// The group does not remove a frozen member before the skip is withdrawn.
const SESSION: [&str; 2] = ["--kafka", "session.timeout.ms=20000"];
/// Sets the session timeout in place of the harness.
const PROTOCOL: (&str, &str) = ("CLICKTRAIL_GROUP_PROTOCOL", "classic");

/// Runs a command of `processors` for the group of the world.
fn run(world: &World, args: &[&str]) -> Exit {
    let mut command = world.command("processors", &[("CLICKTRAIL_GROUP", &world.group)]);
    command.args(args);
    world.start(command).end()
}

fn object(exit: &Exit) -> Value {
    let line = exit.out.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {exit:?}"))
}

#[test]
fn a_skip_shows_fresh_clicks_its_job_fills_the_gap_and_a_frozen_member_is_named() {
    let world = World::new("skip");
    world.setup();
    let produce = |count| {
        let records: Vec<_> = [0, 1, 2].iter().flat_map(|own| world.good(*own, count)).collect();
        world.kafka.produce(&world.topic, &records);
    };
    let proxy = ClickHouseProxy::start(&world.backends.clickhouse);
    let set = [SMALL, PROTOCOL, ("CLICKHOUSE_URL", proxy.url.as_str())];
    let mut members = [(), ()].map(|()| world.start_processors(&world.group, &SESSION, &set));
    for member in &members {
        let assigned = || member.log().contains("a partition is assigned").then_some(());
        until("both members have partitions", assigned);
    }
    // Their inserts hang, so that the backlog stays, and the members leave with batches in flight.
    proxy.hold(true);
    produce(BACKLOG);
    until("inserts hang", || (proxy.waited() > 0).then_some(()));

    // Members prevent a reset that they do not follow, and a position outside the log is refused.
    let refused = run(&world, &["offsets", "reset", "--to-latest"]).expect_code(78);
    assert!(refused.err.contains("group_not_empty"), "{refused:?}");
    assert!(refused.err.contains("client clicktrail-processors on host"), "{refused:?}");
    let outside = run(&world, &["offsets", "reset", "--to-offsets", "0:999999"]).expect_code(78);
    assert!(outside.err.contains("reset_target"), "{outside:?}");

    let began = Instant::now();
    let exit = run(&world, &["replay", "skip", "--json"]).expect_code(0);
    let skipped = object(&exit);
    assert_eq!(skipped["offsets"], 3 * BACKLOG as u64, "{skipped}");
    proxy.hold(false);
    produce(5);
    let fresh = format!("SELECT count() FROM clicks WHERE kafka_offset >= {BACKLOG}");
    until("fresh clicks are visible", || (world.number(&fresh) == 15).then_some(()));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(world.clicks() < 3 * BACKLOG as u64, "the backlog was processed and not skipped");
    members.iter_mut().for_each(Processors::until_ready);

    // Cancelled, the job keeps its gap, and the audit names it.
    let job = skipped["job"].as_str().unwrap();
    let cancelled = run(&world, &["replay", "cancel", job]).expect_code(0);
    assert!(cancelled.out.contains("the skipped offsets have no rows"), "{cancelled:?}");
    until("fresh clicks are committed", || world.caught_up().then_some(()));
    let refused = run(&world, &["replay", "cancel", "--close-gap", job]).expect_code(78);
    assert!(refused.err.contains("gap_unread") && refused.err.contains("gap 0-499"), "{refused:?}");
    let audit = run(&world, &["audit", "--json"]).expect_code(1);
    let report: Value = serde_json::from_str(&audit.out).unwrap();
    assert_eq!(
        (&report["missing"], &report["ended_jobs"][0]),
        (&0.into(), &job.into()),
        "{report}"
    );
    assert!(report["in_jobs"][job].as_u64() > Some(0), "{report}");

    let exit = run(&world, &["replay", "run", job, "--json"]).expect_code(0);
    assert_eq!(object(&exit)["balanced"], true, "{exit:?}");
    let clicks = 3 * BACKLOG as u64 + 15;
    assert_eq!(world.clicks(), clicks);
    world.balanced();

    // A member that does not leave: nothing moves, and it is named.
    until("the log's end is committed", || world.caught_up().then_some(()));
    members[1].signal(Signal::STOP);
    produce(50);
    let exit = run(&world, &["replay", "skip", "--wait-seconds", "3"]).expect_code(75);
    assert!(exit.err.contains("group_not_empty"), "{exit:?}");
    assert!(exit.err.contains("client clicktrail-processors on host"), "{exit:?}");

    // A signal stops a skip that waits for its members, and its gap is closed.
    let mut command = world.command("processors", &[("CLICKTRAIL_GROUP", &world.group)]);
    command.args(["replay", "skip"]);
    let mut stopped = world.start(command);
    let open = "SELECT argMax(state, version) = 'open' FROM reset_versions";
    stopped.until("the members are to leave", || (world.number(open) == 1).then_some(()));
    stopped.signal(Signal::INT);
    let exit = stopped.end().expect_code(75);
    assert!(exit.err.contains("a signal stopped this command"), "{exit:?}");
    let jobs = world.query("SELECT state FROM jobs WHERE kind = 'replay' ORDER BY created_at");
    assert_eq!(jobs, "done\ncancelled\ncancelled");
    assert!(!world.caught_up(), "positions have moved");
    members[0].until_ready();
    members[1].signal(Signal::CONT);
    until("no click was skipped", || (world.clicks() == clicks + 150).then_some(()));

    // Without members, a reset is a replay.
    members.iter_mut().for_each(|member| drop(member.stop().expect_code(0)));
    let exit = run(&world, &["offsets", "reset", "--shift-by", "-5", "--json"]).expect_code(0);
    assert_eq!(object(&exit)["committed"], true, "{exit:?}");
    let end = i64::try_from(BACKLOG).unwrap() + 55;
    let committed = world.kafka.committed(&world.group, &world.topic);
    assert!(committed.values().all(|position| *position == end - 5), "{committed:?}");
    world.balanced();

    // A member counts the jobs when it starts. The gaps of the skips that moved nothing are closed.
    world.query(&format!(
        "INSERT INTO job_versions SELECT * REPLACE (version + 1 AS version, 'cancelled' AS state) \
         FROM job_versions FINAL WHERE id = '{job}'"
    ));
    world.query(&format!(
        "INSERT INTO job_versions SELECT * REPLACE ('unstarted' AS id, 'planned' AS state, \
         now64(6) - INTERVAL 2 HOUR AS updated_at) \
         FROM (SELECT * FROM job_versions FINAL WHERE id = '{job}')"
    ));

    // A static member stays in the group until its session times out.
    let group = format!("{}-static", world.group);
    let set = [PROTOCOL, ("CLICKTRAIL_GROUP_INSTANCE_ID", "web1-0")];
    let mut member = world.start_processors(&group, &SESSION, &set);
    member.until_ready();
    let args = ["offsets", "reset", "--group", &group, "--to-latest", "--dry-run"];
    until("the static member is named", || {
        run(&world, &args).expect_code(0).out.contains("sessions time out: web1-0").then_some(())
    });
    let jobs = |state: &str| {
        let name = format!("clicktrail_processors_jobs{{kind=\"replay\",state=\"{state}\"}}");
        metric(&member.admin, &name)
    };
    until("it has counted the jobs", || jobs("open_gap").map(|_| ()));
    let counts = ["open_gap", "cancelled", "planned"].map(jobs);
    assert_eq!(counts, [Some(2.0), Some(2.0), Some(0.0)]);
    member.crash();
}
