//! `make bench`: throughput, size, memory and delay on its own stack, each figure with its baseline.
//!
//! ONLY selects lines; CLICKS, ROUNDS, PAIRS and SECONDS bound the run; PERF=1 profiles the processors;
//! BEFORE is a folder with the programs of an earlier commit, to compare the cost of a click.
//! Our programs and the baselines take turns on one broker and one engine.

mod agents;
mod backlog;
mod bare;
mod click_cost;
mod clicks;
mod dashboards;
mod delay;
mod engine;
mod enrich;
mod kafka_engine;
mod live_delay;
mod log;
mod log_segments;
mod naive;
mod nginx;
mod origins;
mod ours;
mod pairs;
mod plan;
mod producer;
mod profile;
mod redirects;
mod replays;
mod report;
mod round;
mod shards;
mod size;
mod stages;
mod usage;
mod visits;
mod workload;
mod zipf;

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use harness::{Backends, World, root};
use stack::{Cache, CloneLock, Part, PortChoice, Stack};

use backlog::Backlog;
use engine::Engine;
use plan::{
    BACKLOG, BACKLOG_WIDE, BESIDE_REPLAY, COSTS, DASHBOARDS, DELAY, Plan, REDIRECTS, REPLAY_CPU,
    REPLAYS, SHARDS_CPU,
};
use profile::{NARROW, WIDE};
use report::line;
use round::Process;
use workload::Workload;

/// The baseline of `click_to_row_p99_ms`.
const DELAY_MS: f64 = 1500.0;

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    if let Some(stage) = std::env::var_os(stages::VARIABLE) {
        return stages::alone(&stage.to_string_lossy());
    }
    let plan = Plan::of_environment()?;
    for workload in Workload::ALL.into_iter().filter(|workload| plan.wants(workload.line())) {
        enrich::compare(&plan, workload)?;
    }
    let real =
        [&[DELAY, SHARDS_CPU][..], &BACKLOG, &BACKLOG_WIDE, &REDIRECTS, &COSTS, &REPLAYS].concat();
    if plan.wants_dashboards() || real.into_iter().any(|name| plan.wants(name)) {
        on_real_parts(&plan)?;
    }
    Ok(())
}

fn on_real_parts(plan: &Plan) -> Result<()> {
    let _lock = CloneLock::take(root(), "bench")?;
    let folder = root().join(".bench");
    let choice = PortChoice { auto: true, ..PortChoice::default() };
    if folder.exists() {
        // The parts of a killed run may still be running.
        Stack::open(&folder, Cache::shared()?, choice)?.down().context("the last run's parts")?;
        std::fs::remove_dir_all(&folder).context("removing the stack of the last run")?;
    }
    let stack = Stack::open(&folder, Cache::shared()?, choice)?;
    let down = Down(&stack);
    stack.up().context("starting the parts")?;
    plan.report("all parts are running");
    let env: BTreeMap<_, _> = stack.env()?.into_iter().collect();
    let world = |name: &str| World::on(Backends::of(|variable| env[variable].clone()), name);
    if plan.wants(DELAY) {
        let world = world("delay");
        let p99_ms = delay::p99_ms(&world, &Engine::of(&world.backends)?)?;
        println!("{}", line(DELAY, p99_ms, DELAY_MS));
    }
    if REDIRECTS.iter().any(|name| plan.wants(name)) {
        redirects::run(plan, &stack)?;
    }
    if COSTS.iter().any(|name| plan.wants(name)) {
        let mut others = others(&stack)?.to_vec();
        others.push(process(&stack, "registry", Part::Registry)?);
        click_cost::run(plan, &stack, Engine::of(&Backends::on(&stack))?, others)?;
    }
    if BACKLOG.iter().any(|name| plan.wants(name)) {
        Backlog::write(plan, NARROW, world("backlog"), others(&stack)?)?.run()?;
    }
    if BACKLOG_WIDE.iter().any(|name| plan.wants(name)) {
        Backlog::write(plan, WIDE, world("backlog_wide"), others(&stack)?)?.run()?;
    }
    if plan.wants_dashboards() {
        let engine = process(&stack, "engine", Part::ClickHouse)?;
        dashboards::run(plan, &world(DASHBOARDS), engine)?;
    }
    if plan.wants(REPLAY_CPU) {
        let world = world("replay_cpu");
        replays::cpu(plan, &world, &Engine::of(&world.backends)?)?;
    }
    if plan.wants(BESIDE_REPLAY) {
        let world = world("beside_replay");
        replays::beside(plan, &world, &Engine::of(&world.backends)?)?;
    }
    if plan.wants(SHARDS_CPU) {
        shards::run(plan, &stack)?;
    }
    drop(down);
    Ok(())
}

/// The processes of the stack whose CPU time is measured.
fn others(stack: &Stack) -> Result<[Process; 2]> {
    Ok([process(stack, "engine", Part::ClickHouse)?, process(stack, "broker", Part::Kafka)?])
}

fn process(stack: &Stack, name: &'static str, part: Part) -> Result<Process> {
    let status = stack.status()?;
    let pid = status.iter().find(|status| status.part == part).and_then(|status| status.pid);
    let pid = pid.with_context(|| format!("{part} is not running"))?;
    Ok(Process { name, pid: u32::try_from(pid)? })
}

/// Takes the stack down, also when the run fails.
struct Down<'s>(&'s Stack);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.down() {
            eprintln!("bench: stopping the parts: {error}");
        }
    }
}
