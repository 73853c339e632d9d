//! `chaos replay`: a window of the log is replayed three times beside live traffic, each time with another
//! fault: ClickHouse is unreachable for a minute, the topic gains a partition, and the leader of the job is
//! killed while it verifies. Beside it, a job by days loses its leader between two days: see `replay_passes`.
//!
//! The run holds if every job ends with a balanced verdict that counts each click of the window, exactly the
//! rows of the window have the rules of the last job, and no sample of the view, one a second, shows a click
//! twice or fewer clicks than the sample before.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::{
    Backends, Child, ClickHouseProxy, Exit, Processors, Raw, StopFlag, World, job_id, until,
    until_within,
};
use serde_json::Value;
use stack::Stack;

use crate::replay_passes::boundary;

/// Partitions of the world's topic, before it grows.
const PARTITIONS: i32 = 3;
/// Clicks of a partition before and after the window.
const AROUND: usize = 2_000;
/// Records that are encoded and written at once.
const CHUNK: usize = 10_000;
/// Clicks that live traffic adds to each partition in a second.
const LIVE: usize = 30;
/// Clicks of the partition that the topic gains.
const GAINED: u64 = 500;
/// How long ClickHouse is unreachable.
const OUTAGE: Duration = Duration::from_secs(60);
/// Much longer than the broker's clock tick, so that a time is between two stretches.
const APART: Duration = Duration::from_millis(50);
/// The longest time for one step of the run.
const PATIENCE: Duration = Duration::from_secs(180);
/// How a request that inserts clicks begins, and a part of the request that looks clicks up for a verdict.
const INSERT: &str = "INSERT+INTO+click_versions";
const LOOK_UP: &str = "unhex(arrayJoin(";
/// Many small batches, so that a fault meets the middle of a job.
const SMALL: (&str, &str) = ("CLICKTRAIL_BATCH_ROWS", "1000");

/// The measurements of a run.
pub struct ReplayRun {
    clicks: u64,
    seconds: Vec<(&'static str, f64)>,
    samples: u64,
}

/// One replay of the window.
struct ReplayCase<'a> {
    world: &'a World,
    /// First and last log time of the window.
    window: [&'a str; 2],
    /// Clicks of the window.
    clicks: u64,
    /// The rules folder of the job, and another one.
    rules: &'a str,
    other_rules: &'a str,
}

/// Replays about `clicks` clicks with each fault.
pub fn run(stack: &Stack, clicks: u64, report_line: &dyn Fn(&str)) -> Result<ReplayRun> {
    let world = World::on(Backends::on(stack), "replay");
    world.setup();
    let (old, new) = (world.geo_rules("flat-v4.mmdb"), world.geo_rules("nested.mmdb"));
    let refresh = ["--kafka", "topic.metadata.refresh.interval.ms=1000"];
    let mut processors = world.processors(&refresh, &[("CLICKTRAIL_RULES", &old)]);
    let of_partition = usize::try_from(clicks)? / PARTITIONS.unsigned_abs() as usize;
    let [around, middle] = [AROUND, of_partition].map(|count| count as u64 * 3);
    write(&world, AROUND);
    let from = moment();
    write(&world, of_partition);
    let to = moment();
    write(&world, AROUND);
    let all = around * 2 + middle;
    rows(&world, &mut processors, all)?;
    report_line(&format!("{all} clicks are rows"));

    let stop = StopFlag::default();
    let (seconds, samples) = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| live(&world, &stop));
        let guard = stop.guard();
        let window = [from.as_str(), to.as_str()];
        let case = |rules, other_rules| {
            let world = &world;
            ReplayCase { world, window, clicks: middle, rules, other_rules }
        };
        let mut seconds = Vec::new();
        let mut timed = |name, case: &dyn Fn() -> Result<()>| -> Result<()> {
            let began = Instant::now();
            case().context(name)?;
            seconds.push((name, began.elapsed().as_secs_f64()));
            report_line(&format!("{name}: the job is done and balanced"));
            Ok(())
        };
        timed("boundary", &|| boundary(stack))?;
        timed("outage", &|| case(new.as_str(), old.as_str()).outage())?;
        timed("growth", &|| case(old.as_str(), new.as_str()).growth())?;
        timed("takeover", &|| case(new.as_str(), old.as_str()).takeover())?;
        drop(guard);
        let samples = traffic.join().map_err(|_| anyhow::anyhow!("a sample is wrong"))?;
        anyhow::Ok((seconds, samples))
    })?;
    let all = all + GAINED + samples * LIVE as u64 * 3;
    rows(&world, &mut processors, all)?;
    let build = "SELECT max(c), min(c), count() FROM (SELECT count() AS c FROM clicks GROUP BY geo_db_build)";
    let (inside, outside) = (middle, all - middle);
    let expected = format!("{}\t{}\t2", inside.max(outside), inside.min(outside));
    let found = world.query(build);
    ensure!(found == expected, "rows by geo database: {found}, expected: {expected}");
    let (report, code) = world.audit_within(PATIENCE);
    ensure!(code == 0, "the audit: {report:#}");
    processors.stop().expect_code(0);
    Ok(ReplayRun { clicks: middle, seconds, samples })
}

impl fmt::Display for ReplayRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replay: clicks={}", self.clicks)?;
        self.seconds.iter().try_for_each(|(name, took)| write!(f, " {name}_s={took:.0}"))?;
        write!(f, " samples={}: held", self.samples)
    }
}

fn write(world: &World, count: usize) {
    for partition in 0..PARTITIONS {
        for first in (0..count).step_by(CHUNK) {
            let records = world.good(partition, CHUNK.min(count - first));
            world.kafka.produce(&world.topic, &records);
        }
    }
}

/// The present time, between two stretches of the log.
fn moment() -> String {
    std::thread::sleep(APART);
    let moment = jiff::Timestamp::now().to_string();
    std::thread::sleep(APART);
    moment
}

/// Waits until the view shows `all` clicks.
fn rows(world: &World, processors: &mut Processors, all: u64) -> Result<()> {
    until_within(PATIENCE, "every click is a row", || {
        (world.clicks() == all || processors.ended().is_some()).then_some(())
    });
    ensure!(processors.ended().is_none(), "the processors ended: {}", processors.log());
    Ok(())
}

/// Adds clicks and samples the view each second until `stop`; returns the number of samples.
fn live(world: &World, stop: &StopFlag) -> u64 {
    let (mut samples, mut before) = (0, 0);
    while !stop.is_set() {
        let records: Vec<Raw> = (0..PARTITIONS).flat_map(|own| world.good(own, LIVE)).collect();
        world.kafka.produce(&world.topic, &records);
        let text = world.query("SELECT count(), uniqExact(event_id) FROM clicks");
        let (shown, events) = text.split_once('\t').expect("two numbers");
        assert_eq!(shown, events, "a click is shown twice");
        let shown: u64 = shown.parse().expect("a number");
        assert!(shown >= before, "{shown} clicks after {before}");
        (samples, before) = (samples + 1, shown);
        std::thread::sleep(Duration::from_secs(1));
    }
    samples
}

impl ReplayCase<'_> {
    fn plan(&self) -> String {
        let [from, to] = self.window;
        job_id(&self.world.plan_replay(&["--from", from, "--to", to], &[self.own_rules()]))
    }

    fn own_rules(&self) -> (&str, &str) {
        ("CLICKTRAIL_RULES", self.rules)
    }

    /// Starts a worker that asks ClickHouse through `proxy`, if there is one, and waits until it has a partition.
    fn worker(&self, id: &str, proxy: Option<&ClickHouseProxy>) -> Child {
        let mut set = vec![self.own_rules(), SMALL];
        set.extend(proxy.map(|proxy| ("CLICKHOUSE_URL", proxy.url.as_str())));
        let worker = self.world.replay(&["run", id, "--json"], &set);
        let is_assigned = || worker.log().contains("a partition is assigned").then_some(());
        until("the worker has a partition", is_assigned);
        worker
    }

    fn positions(&self, id: &str) -> BTreeMap<i32, i64> {
        self.world.kafka.committed(&format!("clicktrail-replay-{id}-1"), &self.world.topic)
    }

    /// Waits until the job has committed a part of its window.
    fn has_begun(&self, id: &str) {
        let first = i64::try_from(AROUND).expect("a small number");
        until("a part of the window is committed", || {
            self.positions(id).into_values().any(|position| position > first).then_some(())
        });
    }

    /// Checks that a worker ended with the verdict that every click of the window is rewritten.
    fn balanced(&self, exit: &Exit) -> Result<()> {
        ensure!(exit.code == Some(0), "{:?}: {}\n{}", exit.code, exit.out, exit.err);
        let found = exit.last_object();
        let verdict = &found["verdict"];
        let count = |name: &str| verdict[name].as_u64();
        let all = [count("records"), count("events"), count("rewritten")];
        ensure!(found["balanced"] == Value::Bool(true), "not balanced: {found}");
        ensure!(all == [Some(self.clicks); 3], "{} clicks: {found}", self.clicks);
        Ok(())
    }

    /// ClickHouse is unreachable for both workers of the job.
    fn outage(&self) -> Result<()> {
        let (id, proxy) = (self.plan(), ClickHouseProxy::start(&self.world.backends.clickhouse));
        proxy.hold_text(INSERT, 20);
        let mut workers = [self.worker(&id, Some(&proxy)), self.worker(&id, Some(&proxy))];
        self.has_begun(&id);
        proxy.close(true);
        proxy.hold_text("", 0);
        std::thread::sleep(OUTAGE);
        for worker in &mut workers {
            ensure!(worker.ended().is_none(), "a worker ended: {}", worker.log());
        }
        proxy.close(false);
        let [first, second] = &mut workers;
        self.balanced(&first.end_within(PATIENCE))?;
        self.balanced(&second.end_within(PATIENCE))
    }

    /// The topic gains a partition, whose clicks are not of the job. A worker that has other rules is refused.
    fn growth(&self) -> Result<()> {
        let (world, id) = (self.world, self.plan());
        let proxy = ClickHouseProxy::start(&world.backends.clickhouse);
        proxy.hold_text(INSERT, 20);
        let mut worker = self.worker(&id, Some(&proxy));
        self.has_begun(&id);
        let gained = PARTITIONS;
        world.kafka.grow(&world.topic, usize::try_from(gained + 1)?);
        world.kafka.produce(&world.topic, &world.good(gained, usize::try_from(GAINED)?));
        let live = || world.kafka.committed(&world.group, &world.topic).get(&gained).copied();
        let all = i64::try_from(GAINED)?;
        until("live processing reads the partition", || (live() == Some(all)).then_some(()));
        let refused = world.run_replay(&id, &[("CLICKTRAIL_RULES", self.other_rules)]);
        ensure!(refused.code == Some(78) && refused.err.contains("replay_rules"), "{refused:?}");
        proxy.hold_text("", 0);
        self.balanced(&worker.end_within(PATIENCE))?;
        let positions = self.positions(&id);
        ensure!(!positions.contains_key(&gained), "the job committed {positions:?}");
        Ok(())
    }

    /// The leader is killed while it verifies; the other worker verifies instead.
    fn takeover(&self) -> Result<()> {
        let (id, proxy) = (self.plan(), ClickHouseProxy::start(&self.world.backends.clickhouse));
        proxy.hold_text(LOOK_UP, 0);
        let mut leader = self.worker(&id, Some(&proxy));
        let mut member = self.worker(&id, None);
        until_within(PATIENCE, "the leader verifies", || (proxy.waited() > 0).then_some(()));
        leader.crash();
        let exit = member.end_within(PATIENCE);
        ensure!(exit.err.contains("this worker leads the job now"), "{}", exit.err);
        self.balanced(&exit)
    }
}
