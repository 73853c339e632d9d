//! `make chaos`: injects faults into its own stack and reports the result.
//!
//! SEED, FAULTS, CLICKS and SECONDS bound the run, ONLY selects one kind of fault. Without SEED the
//! program derives a seed from the clock and prints it.
//! `chaos outage`, `chaos hostile`, `chaos dead-letters`, `chaos alerts`, `chaos replay`, `chaos shards` and
//! `chaos skip` run one long scenario instead: see `outage.rs`, `harness::hostile`, and the file of the scenario's name.

mod alerts;
mod dead_letters;
mod outage;
mod replay;
mod replay_passes;
mod shard_faults;
mod shard_samples;
mod shards;
mod skip;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use harness::chaos::{Budget, FaultKind, run, versions};
use harness::hostile::{self, HostileBudget};
use harness::{Backends, root};
use shards::ShardBudget;
use stack::{Cache, Part, PortChoice, SmallDisk, Stack, StackError};

/// More than a run needs; the disk takes memory only for the data on it.
const DISK: SmallDisk = SmallDisk { part: Part::ClickHouse, bytes: 3 << 30 };

fn main() -> ExitCode {
    let held = match std::env::args().nth(1).as_deref() {
        Some("outage") => long_outage(),
        Some("hostile") => hostile_input(),
        Some("dead-letters") => many_dead_letters(),
        Some("skip") => live_skip(),
        Some("replay") => faulty_replays(),
        Some("alerts") => paged_alerts(),
        Some("shards") => faulty_shards(),
        _ => chaos(),
    };
    match held {
        Ok(held) => ExitCode::from(u8::from(!held)),
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Injects faults of all kinds; returns whether every invariant held.
fn chaos() -> Result<bool> {
    let budget = Budget {
        seed: seed()?,
        faults: u32::try_from(number("FAULTS")?.unwrap_or(200)).context("FAULTS")?,
        clicks: number("CLICKS")?.unwrap_or(2_000_000),
        seconds: number("SECONDS")?.unwrap_or(1500),
        only: only()?,
        settle_seconds: 300,
    };
    let Budget { seed, faults, clicks, seconds, .. } = budget;
    println!(
        "chaos: SEED={seed} FAULTS={faults} CLICKS={clicks}, faults for at most SECONDS={seconds}"
    );
    let began = Instant::now();
    let report_line = move |line: &str| print_line(began, line);
    let stack = stack(report_line)?;
    let down = Down(&stack);
    match stack.clone().with_small_disks(&[DISK]).up() {
        Err(error @ StackError::MountDenied(_)) => {
            println!("chaos: without the fault of a full disk: {error}");
            stack.up()
        }
        up => up,
    }
    .context("starting the parts")?;
    let report = run(&stack, budget, &report_line);
    println!("{report}");
    let versions = versions(&stack, seed, &report_line);
    println!("{versions}");
    drop(down);
    Ok(report.good() && versions.good())
}

/// Stops the broker for a long time; returns whether no click was lost.
fn long_outage() -> Result<bool> {
    let clicks = number("CLICKS")?.unwrap_or(300_000);
    let seconds = number("SECONDS")?.unwrap_or(3600);
    println!(
        "outage: CLICKS={clicks}, at most SECONDS={seconds} to store them, and as long to deliver them"
    );
    let began = Instant::now();
    let report_line = move |line: &str| print_line(began, line);
    let stack = stack(report_line)?;
    let down = Down(&stack);
    stack.up().context("starting the parts")?;
    let outage = outage::run(&stack, clicks, seconds, &report_line)?;
    println!("{outage}");
    drop(down);
    Ok(outage.good())
}

/// Sends hostile input of every kind; returns whether every bound held.
fn hostile_input() -> Result<bool> {
    let budget = HostileBudget {
        seed: seed()?,
        seconds: number("SECONDS")?.unwrap_or(600),
        with_records: true,
    };
    println!("hostile: SEED={}, rounds during SECONDS={}", budget.seed, budget.seconds);
    let began = Instant::now();
    let report_line = move |line: &str| print_line(began, line);
    let stack = stack(report_line)?;
    let down = Down(&stack);
    stack.up().context("starting the parts")?;
    let report = hostile::run(Backends::on(&stack), budget, &report_line);
    println!("{report}");
    drop(down);
    Ok(report.good())
}

/// Reads and redrives many dead letters; returns whether every bound held.
fn many_dead_letters() -> Result<bool> {
    let letters = number("LETTERS")?.unwrap_or(100_000);
    println!("dead-letters: LETTERS={letters}");
    let began = Instant::now();
    let report_line = move |line: &str| print_line(began, line);
    let stack = stack(report_line)?;
    let down = Down(&stack);
    stack.up().context("starting the parts")?;
    let run = dead_letters::run(&stack, letters, &report_line)?;
    println!("{run}");
    drop(down);
    Ok(run.good())
}

/// Breaks parts until their alerts page; returns whether each alert fired and ended.
fn paged_alerts() -> Result<bool> {
    let began = Instant::now();
    let report_line = move |line: &str| print_line(began, line);
    let stack = stack(report_line)?;
    let down = Down(&stack);
    stack.up().context("starting the parts")?;
    alerts::run(&stack, &report_line)?;
    println!("alerts: held");
    drop(down);
    Ok(true)
}

/// Replays a window of the log with a fault each time; returns whether every check held.
fn faulty_replays() -> Result<bool> {
    let clicks = number("CLICKS")?.unwrap_or(300_000);
    println!("replay: CLICKS={clicks}");
    let began = Instant::now();
    let report_line = move |line: &str| print_line(began, line);
    let stack = stack(report_line)?;
    let down = Down(&stack);
    stack.up().context("starting the parts")?;
    let run = replay::run(&stack, clicks, &report_line)?;
    println!("{run}");
    drop(down);
    Ok(true)
}

/// Writes clicks to three shards with faults; returns whether every bound held.
fn faulty_shards() -> Result<bool> {
    let budget = ShardBudget {
        seed: seed()?,
        clicks: number("CLICKS")?.unwrap_or(1_000_000),
        seconds: number("SECONDS")?.unwrap_or(240),
    };
    let ShardBudget { seed, clicks, seconds } = budget;
    println!("shards: SEED={seed} CLICKS={clicks}, faults for at most SECONDS={seconds}");
    let began = Instant::now();
    let report_line = move |line: &str| print_line(began, line);
    let stack = stack(report_line)?;
    let down = Down(&stack);
    stack.up_parts(&[Part::Kafka, Part::Registry]).context("starting the parts")?;
    let run = shards::run(&stack, budget, &report_line)?;
    println!("{run}");
    drop(down);
    Ok(run.good())
}

/// Skips a live group with a backlog; returns whether every bound held.
fn live_skip() -> Result<bool> {
    let clicks = number("CLICKS")?.unwrap_or(2_000_000);
    println!("skip: CLICKS={clicks}");
    let began = Instant::now();
    let report_line = move |line: &str| print_line(began, line);
    let stack = stack(report_line)?;
    let down = Down(&stack);
    stack.up().context("starting the parts")?;
    let run = skip::run(&stack, clicks, &report_line)?;
    println!("{run}");
    drop(down);
    Ok(run.good())
}

/// SEED, else a seed from the clock.
fn seed() -> Result<u64> {
    Ok(number("SEED")?.unwrap_or_else(|| jiff::Timestamp::now().as_second().unsigned_abs()))
}

fn print_line(began: Instant, line: &str) {
    println!("{:7.1}  {line}", began.elapsed().as_secs_f64());
}

fn folder() -> PathBuf {
    root().join(".chaos")
}

/// The stack of this program, without data of an earlier run.
fn stack(report_line: impl Fn(&str) + Send + Sync + 'static) -> Result<Stack> {
    let folder = folder();
    let choice = PortChoice { auto: true, ..PortChoice::default() };
    if folder.exists() {
        // The parts of a killed run may still be running.
        let last = Stack::open(&folder, Cache::shared()?, choice)?;
        last.down().context("the last run's parts")?;
        last.drop_disks().context("the last run's disk")?;
        std::fs::remove_dir_all(&folder).context("removing the stack of the last run")?;
    }
    Ok(Stack::open(&folder, Cache::shared()?, choice)?.reporting(report_line))
}

/// Takes the stack down, also when the run panics.
struct Down<'s>(&'s Stack);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.down().and_then(|_| self.0.drop_disks()) {
            eprintln!("chaos: stopping the parts: {error}");
        }
    }
}

/// The one fault that `ONLY` names.
fn only() -> Result<Option<FaultKind>> {
    let name = std::env::var("ONLY").unwrap_or_default();
    let unknown = || format!("ONLY={name}: unknown fault");
    (!name.is_empty()).then(|| FaultKind::named(&name).with_context(unknown)).transpose()
}

fn number(name: &str) -> Result<Option<u64>> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => Ok(Some(text.parse().context(name.to_owned())?)),
        _ => Ok(None),
    }
}
