//! `make bench`: how fast, how small and how soon, on a stack of its own, each figure against its bar.
//!
//! ONLY names the lines that are wanted, CLICKS and ROUNDS bound the run, PERF=1 shows where the
//! processors spend their time. Ours and the baselines take turns on one broker and one engine.

mod agents;
mod bare;
mod clicks;
mod dice;
mod engine;
mod log;
mod ours;
mod places;
mod report;
mod round;
mod size;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use harness::{Backends, World, root};
use stack::{Cache, Part, PortChoice, Stack};

use engine::Engine;
use report::{line, median, rate, rates};
use round::{Process, Round};

/// Everything that can be asked for.
const NAMES: [&str; 4] =
    ["backlog_vs_insert_limit", "cpu_us_per_click", "bytes_per_click", "processor_rss_mb"];
/// What `cpu_us_per_click` is held against.
const CPU_US: f64 = 2.5;
const BYTES: f64 = 64.0;
const RSS_MB: f64 = 256.0;

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What to do.
struct Plan {
    only: Vec<String>,
    clicks: u64,
    rounds: u64,
    profiled: bool,
    began: Instant,
}

impl Plan {
    fn of_environment() -> Result<Self> {
        let text = |name: &str| std::env::var(name).unwrap_or_default();
        let number = |name: &str, otherwise| match text(name).as_str() {
            "" => Ok(otherwise),
            text => text.parse().context(name.to_owned()),
        };
        let only: Vec<_> = text("ONLY").split([',', ' ']).map(str::to_owned).collect();
        let only: Vec<_> = only.into_iter().filter(|name| !name.is_empty()).collect();
        for name in &only {
            ensure!(NAMES.contains(&name.as_str()), "ONLY={name}: it is none of {NAMES:?}");
        }
        Ok(Self {
            only,
            clicks: number("CLICKS", 3_000_000)?,
            rounds: number("ROUNDS", 3)?.max(1),
            profiled: text("PERF") == "1",
            began: Instant::now(),
        })
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    fn say(&self, text: &str) {
        println!("{:7.1}  {text}", self.began.elapsed().as_secs_f64());
    }
}

fn bench() -> Result<()> {
    let plan = Plan::of_environment()?;
    let folder = root().join(".bench");
    let choice = PortChoice { auto: true, ..PortChoice::default() };
    if folder.exists() {
        // A run that was killed may have left its parts behind.
        Stack::open(&folder, Cache::shared()?, choice)?.down().context("the last run's parts")?;
        std::fs::remove_dir_all(&folder).context("removing the stack of the last run")?;
    }
    let began = plan.began;
    let stack = Stack::open(&folder, Cache::shared()?, choice)?
        .reporting(move |text| println!("{:7.1}  {text}", began.elapsed().as_secs_f64()));
    let down = Down(&stack);
    stack.up().context("starting the parts")?;
    backlogs(&plan, &stack)?;
    drop(down);
    Ok(())
}

/// Every line that needs the backlog.
fn backlogs(plan: &Plan, stack: &Stack) -> Result<()> {
    let env: BTreeMap<_, _> = stack.env()?.into_iter().collect();
    let world = World::on(Backends::of(|name| env[name].clone()), "bench");
    let engine = Engine::of(&world.backends)?;
    let others = others(stack)?;
    let all = plan.clicks;
    ours::setup(&world, "ours");
    log::write(&world, all)?;
    plan.say(&format!("{all} clicks are in the log"));

    let insert_limit = plan.wants("backlog_vs_insert_limit");
    let rated = insert_limit || plan.wants("cpu_us_per_click");
    let (mut ours, mut plain, mut packed) = (Vec::new(), Vec::new(), Vec::new());
    let mut rows = None;
    for number in 0..if rated { plan.rounds } else { 1 } {
        let database = format!("ours_{number}");
        let profiled = plan.profiled && number == 0;
        let round = ours::backlog(&world, &engine, &others, &database, (all, profiled))?;
        plan.say(&format!("ours: {round}, peak {:.0} MiB", round.peak_mib));
        ours.push(round);
        if insert_limit {
            if rows.is_none() {
                rows = Some(bare::Rows::take(&engine, &database, all)?);
            }
            let rows = rows.as_ref().context("rows of ours")?;
            for (is_packed, rounds) in [(false, &mut plain), (true, &mut packed)] {
                let what = (all, is_packed);
                let round = bare::round(&engine, &others, (&database, "bare"), rows, what)?;
                plan.say(&format!(
                    "bare insert, {}: {round}",
                    if is_packed { "LZ4" } else { "plain" }
                ));
                engine.ask("DROP DATABASE bare SYNC")?;
                rounds.push(round);
            }
        }
        if number == 0 && plan.wants("bytes_per_click") {
            let bytes = size::bytes_a_click(&engine, &database)?;
            println!("{}", line("bytes_per_click", bytes, BYTES));
        }
        engine.ask(&format!("DROP DATABASE {database} SYNC"))?;
    }
    if insert_limit {
        let limit = if rate(&packed) > rate(&plain) { &packed } else { &plain };
        println!("{}", rates("backlog_vs_insert_limit", &ours, limit));
    }
    let middle = |of: fn(&Round) -> f64| median(ours.iter().map(of));
    if plan.wants("cpu_us_per_click") {
        let processors = |round: &Round| {
            round.cpu.iter().find(|cpu| cpu.0 == "processors").map_or(f64::NAN, |cpu| cpu.1)
        };
        println!("{}", line("cpu_us_per_click", middle(processors), CPU_US));
    }
    if plan.wants("processor_rss_mb") {
        let peak = ours.iter().map(|round| round.peak_mib).fold(0.0, f64::max);
        println!("{}", line("processor_rss_mb", peak, RSS_MB));
    }
    Ok(())
}

/// The processes of the stack whose CPU time counts.
fn others(stack: &Stack) -> Result<[Process; 2]> {
    let status = stack.status()?;
    let process = |name, part| {
        let pid = status.iter().find(|status| status.part == part).and_then(|status| status.pid);
        let pid = pid.with_context(|| format!("{part} does not run"))?;
        anyhow::Ok(Process { name, pid: u32::try_from(pid)? })
    };
    Ok([process("engine", Part::ClickHouse)?, process("broker", Part::Kafka)?])
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
