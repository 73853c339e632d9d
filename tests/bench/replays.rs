//! Replays: the CPU time of a worker against that of `processors run`, and the time from a live click to its row
//! beside a replay.
//!
//! Both are compared in turns on one log. Each turn of the first comparison has an empty database. In the
//! second, one database has the rows of the whole log, which the replays process again, and live clicks are
//! added to it.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use harness::{Child, World, until};
use serde_json::Value;

use super::engine::Engine;
use super::live_delay;
use super::pairs::{interval, turns};
use super::plan::{BESIDE_REPLAY, Plan, REPLAY_CPU};
use super::report::{line, median};
use super::round::{Process, rate};
use super::{log, ours};

/// The largest ratio that meets the goal.
const CPU_RATIO_MAX: f64 = 1.05;
const P99_RATIO_MAX: f64 = 1.5;
/// Live clicks a second.
const LIVE_RATE: u32 = 1_000;
/// Records a second of the throttled replay.
const THROTTLED_RATE: u32 = 20_000;

/// No limit of a replay.
const UNLIMITED: [&str; 4] = ["--max-lag", "none", "--max-parts", "none"];

/// What runs beside live traffic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Throttled,
    Unthrottled,
}

impl Beside {
    const ALL: [Self; 3] = [Self::Nothing, Self::Throttled, Self::Unthrottled];
}

/// CPU microseconds per click of a replay worker and of `processors run`, in turns.
pub fn cpu(plan: &Plan, world: &World, engine: &Engine) -> Result<()> {
    ours::setup(world, "unused");
    log::write(world, plan.clicks)?;
    let mut costs: [Vec<f64>; 2] = Default::default();
    for pair in 0..plan.pairs {
        for is_replay in turns(pair) {
            let database = format!("cpu_{pair}_{}", u8::from(is_replay));
            ours::setup(world, &database);
            let mut child = match is_replay {
                true => {
                    let id = job(world, &database, &whole_log(world))?;
                    // No group has processed the log.
                    tune(world, &database, &id, &UNLIMITED);
                    worker(world, &database, &id)
                }
                false => ours::start(world, &database, &database, &[]).0,
            };
            let process = Process { name: ours::NAME, pid: child.id() };
            rate(plan.clicks, || {
                ensure!(child.ended().is_none(), "the process ended:\n{}", child.log());
                engine.rows(&database)
            })?;
            // The worker verifies the job from now on.
            let us = process.cpu_us()? / plan.clicks as f64;
            plan.report(&format!(
                "{}: {us:.3} µs a click",
                ["run", "replay"][usize::from(is_replay)]
            ));
            costs[usize::from(is_replay)].push(us);
            child.stop();
            engine.calm(&database)?;
            engine.ask(&format!("DROP DATABASE {database} SYNC"))?;
        }
    }
    let [run, replay] = &costs;
    println!("{}", compared(REPLAY_CPU, replay, run, CPU_RATIO_MAX));
    Ok(())
}

/// The 99th percentile of the time from a live click to its row, beside a throttled replay, an unthrottled one,
/// and none.
pub fn beside(plan: &Plan, world: &World, engine: &Engine) -> Result<()> {
    let database = "beside";
    ours::setup(world, database);
    log::write(world, plan.clicks)?;
    let window = whole_log(world);
    let (mut live, _) = ours::start(world, database, database, &[]);
    rate(plan.clicks, || {
        ensure!(live.ended().is_none(), "the processors ended:\n{}", live.log());
        engine.rows(database)
    })?;
    engine.calm(database)?;
    let mut p99: [Vec<f64>; 3] = Default::default();
    let mut replayed: [Vec<f64>; 3] = Default::default();
    for round in 0..plan.pairs {
        let mut order = [0, 1, 2];
        order.rotate_left(usize::try_from(round % 3)?);
        for at in order {
            let replay = match Beside::ALL[at] {
                Beside::Nothing => None,
                how => Some(Replay::start(world, database, &window, how)?),
            };
            let before = replay.as_ref().map_or(0, |replay| replay.done(world));
            let delays = live_delay::delays_ms(world, engine, database, (LIVE_RATE, plan.window))?;
            let ms = delays[delays.len() * 99 / 100];
            if let Some(mut replay) = replay {
                let done = replay.done(world) - before;
                replayed[at].push(done as f64 / plan.window.as_secs_f64());
                replay.worker.stop();
            }
            plan.report(&format!(
                "p99 beside {}: {ms:.0} ms",
                ["none", "throttled", "unthrottled"][at]
            ));
            p99[at].push(ms);
            engine.calm(database)?;
        }
    }
    live.stop().expect_code(0);
    engine.ask(&format!("DROP DATABASE {database} SYNC"))?;
    let [none, throttled, unthrottled] = &p99;
    let mut text = compared(BESIDE_REPLAY, throttled, none, P99_RATIO_MAX);
    let of = |values: &[f64]| median(values.iter().copied());
    write!(text, " unthrottled={:.2}", of(unthrottled)).ok();
    let [_, slow, fast] = &replayed;
    println!("{text} replayed_a_second={:.0}/{:.0}", of(slow), of(fast));
    Ok(())
}

/// A replay that inserts.
struct Replay {
    worker: Child,
    group: String,
}

impl Replay {
    /// Starts it, and waits until it has committed a part of the log.
    fn start(world: &World, database: &str, window: &[String], how: Beside) -> Result<Self> {
        let id = job(world, database, window)?;
        let rate = THROTTLED_RATE.to_string();
        let limits: &[&str] = match how {
            Beside::Throttled => &["--rate", &rate],
            Beside::Nothing | Beside::Unthrottled => &UNLIMITED,
        };
        tune(world, database, &id, limits);
        let worker = worker(world, database, &id);
        let is_assigned = || worker.log().contains("a partition is assigned").then_some(());
        until("the worker has a partition", is_assigned);
        let replay = Self { worker, group: format!("clicktrail-replay-{id}-1") };
        until("the replay has committed a part", || (replay.done(world) > 0).then_some(()));
        Ok(replay)
    }

    /// Offsets that it has committed; the log starts at 0.
    fn done(&self, world: &World) -> i64 {
        world.kafka.committed(&self.group, &world.topic).into_values().sum()
    }
}

/// The offsets of the log, as arguments of `replay plan`.
fn whole_log(world: &World) -> Vec<String> {
    let bounds = world.kafka.bounds(&world.topic).into_iter();
    let range = |(partition, (low, high)): (i32, (i64, i64))| {
        ["--offsets".to_owned(), format!("{partition}:{low}-{}", high - 1)]
    };
    bounds.flat_map(range).collect()
}

/// Plans a job; returns its id.
fn job(world: &World, database: &str, window: &[String]) -> Result<String> {
    let window = window.iter().map(String::as_str);
    let folder = harness::rules::folder();
    let folder = folder.to_string_lossy();
    let args: Vec<_> =
        ["plan", "--json", "--rules", folder.as_ref()].into_iter().chain(window).collect();
    let exit = command(world, database, &args).end().expect_code(0);
    let plan: Value = serde_json::from_str(exit.out.trim())?;
    plan["job"].as_str().map(str::to_owned).context("the plan has a job")
}

fn tune(world: &World, database: &str, id: &str, limits: &[&str]) {
    command(world, database, &[&["tune", id], limits].concat()).end().expect_code(0);
}

fn worker(world: &World, database: &str, id: &str) -> Child {
    let folder = harness::rules::folder();
    command(world, database, &["run", id, "--json", "--rules", &folder.to_string_lossy()])
}

fn command(world: &World, database: &str, args: &[&str]) -> Child {
    // The group of `processors run` has the name of the database.
    let set = [("CLICKHOUSE_DATABASE", database), ("CLICKTRAIL_GROUP", database)];
    let mut command = world.command("processors", &set);
    command.arg("replay").args(args);
    world.start(command)
}

/// A line with the ratio within the pairs.
fn compared(name: &str, ours: &[f64], baseline: &[f64], bar: f64) -> String {
    let ratios: Vec<_> =
        ours.iter().zip(baseline).map(|(ours, baseline)| ours / baseline).collect();
    let (ratio, low, high) = interval(&ratios);
    let of = |values: &[f64]| median(values.iter().copied());
    let mut text = line(name, of(ours), of(baseline));
    write!(text, " paired={ratio:.3} interval={low:.3}..{high:.3} bar={bar}").ok();
    write!(text, " pairs={} falls_short={}", ratios.len(), low > bar).ok();
    text
}
