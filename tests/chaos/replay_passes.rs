//! A case of `chaos replay`: the leader of a job by days is killed between two days, when it has read the first one
//! and has not begun the second; the other worker leads the job from there.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{Backends, Child, ClickHouseProxy, Raw, World, job_id, until, until_within};
use jiff::{SignedDuration, Timestamp};
use schemas::{Encoder, RawClick};
use stack::Stack;
use uuid::Uuid;

/// Clicks of a partition in a day.
const OF_DAY: i64 = 2_000;
const PARTITIONS: i32 = 3;
const DAYS: i32 = 3;
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// The longest time for one step of the run.
const PATIENCE: Duration = Duration::from_secs(120);

/// Replays the days, the newest one first.
pub fn boundary(stack: &Stack) -> Result<()> {
    let world = World::on(Backends::on(stack), "replay_passes");
    world.setup();
    let (old, new) = (world.geo_rules("flat-v4.mmdb"), world.geo_rules("nested.mmdb"));
    let (old, new) = (("CLICKTRAIL_RULES", old.as_str()), ("CLICKTRAIL_RULES", new.as_str()));
    let now = Timestamp::now();
    (0..DAYS).rev().for_each(|age| produce(&world, now - DAY * age));
    let mut processors = world.processors(&[], &[old]);
    let all = u64::try_from(OF_DAY)? * 9;
    until_within(PATIENCE, "every click is a row", || (world.clicks() == all).then_some(()));

    let plan = world.plan_replay(&["--from", "10d", "--newest-first"], &[new]);
    let id = job_id(&plan);
    ensure!(plan["passes"].as_array().is_some_and(|passes| passes.len() == 3), "{plan}");
    world.replay(&["tune", &id, "--pause"], &[]).end().expect_code(0);
    let proxy = ClickHouseProxy::start(&world.backends.clickhouse);
    let mut leader = worker(&world, &id, &[new, ("CLICKHOUSE_URL", &proxy.url)]);
    let mut member = worker(&world, &id, &[new]);
    // The leader then cannot report the job, so that it does not begin the second day.
    proxy.hold_text("FROM job_versions", 0);
    world.replay(&["tune", &id, "--resume"], &[]).end().expect_code(0);
    let read = |pass: i64| {
        let group = format!("clicktrail-replay-{id}-{pass}");
        let positions = world.kafka.committed(&group, &world.topic);
        positions.len() == 3 && positions.values().all(|own| *own == (4 - pass) * OF_DAY)
    };
    until_within(PATIENCE, "the first day is read", || read(1).then_some(()));
    leader.crash();
    let second = world.kafka.committed(&format!("clicktrail-replay-{id}-2"), &world.topic);
    ensure!(second.is_empty(), "the second day has begun: {second:?}");

    let exit = member.end_within(PATIENCE);
    ensure!(exit.code == Some(0), "{:?}: {}\n{}", exit.code, exit.out, exit.err);
    ensure!(exit.err.contains("this worker leads the job now"), "{}", exit.err);
    let ended = exit.last_object();
    let rewritten = ended["verdict"]["rewritten"].as_u64();
    ensure!(ended["balanced"] == true && rewritten == Some(all), "{all} clicks: {ended}");
    ensure!((1..=3).all(read), "the positions of a pass are not at its end");
    processors.stop().expect_code(0);
    Ok(())
}

/// Appends the clicks of a day.
fn produce(world: &World, at: Timestamp) {
    let encoder = Encoder::new(world.schema_id());
    let record = |number: i64| {
        let mut value = Vec::new();
        let click = RawClick::new(Uuid::now_v7(), at.as_microsecond(), "passes");
        encoder.encode(&click, &mut value).expect("a good click");
        let partition = i32::try_from(number).expect("a small number") % PARTITIONS;
        Raw { partition, value: Some(value), ..Raw::default() }
    };
    let records: Vec<_> = (0..OF_DAY * i64::from(PARTITIONS)).map(record).collect();
    world.kafka.produce_at(&world.topic, &records, at.as_millisecond());
}

/// Starts a worker, and waits until it has a partition.
fn worker(world: &World, id: &str, set: &[(&str, &str)]) -> Child {
    let small = ("CLICKTRAIL_BATCH_ROWS", "200");
    let worker = world.replay(&["run", id, "--json"], &[&[small], set].concat());
    let is_assigned = || worker.log().contains("a partition is assigned").then_some(());
    until("the worker has a partition", is_assigned);
    worker
}
