//! `chaos shards`: CLICKS (a million) on three engines as three shards, the first with two fronts as its replicas.
//!
//! While the clicks are written, faults of a seed follow one another for SECONDS (240): see `shard_faults`. Then the
//! newest part of a shard is deleted, and a part of the log is processed again by a reset.
//!
//! The run holds if no sample of the view shows a click twice or fewer clicks than before, no committed position is
//! ahead of the rows of all shards, every click is shown and is on its shard, the audit balances, the audit names
//! exactly the clicks of the deleted part, a replay of their offsets fills them, a reset processes exactly its
//! records again, and memory stays within its bound.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::{Backends, ShardEngines, StopFlag, World, job_id};
use stack::{Stack, StackError};

use crate::shard_faults::ShardFaults;
use crate::shard_samples::{self, ShardSamples};

const WEIGHTS: [u32; 3] = [1, 2, 1];
/// Bytes of each engine's disk, which is memory.
const DISK: u64 = 1 << 30;
const PARTITIONS: i32 = 3;
/// Records of a partition that are written at once.
const CHUNK: usize = 2_000;
/// The longest time for one step of the run.
const PATIENCE: Duration = Duration::from_secs(600);
/// The shard that loses its newest part.
const LOSER: usize = 2;
/// Resident memory of a processor at most.
const MEMORY_MAX_KIB: u64 = 400 << 10;

/// The bounds of a run.
#[derive(Debug, Clone, Copy)]
pub struct ShardBudget {
    /// Decides the faults.
    pub seed: u64,
    /// Clicks to write.
    pub clicks: u64,
    /// Seconds during which clicks are written and faults start.
    pub seconds: u64,
}

impl ShardBudget {
    /// Clicks of a partition.
    fn own(self) -> u64 {
        self.clicks.div_ceil(PARTITIONS.unsigned_abs().into())
    }
}

/// The measurements of a run.
pub struct ShardRun {
    clicks: u64,
    shown: u64,
    versions: Vec<u64>,
    misplaced: u64,
    faults: String,
    samples: ShardSamples,
    memory_kib: u64,
    lost: u64,
    named: u64,
    is_balanced: bool,
    is_filled: bool,
    is_exact: bool,
}

/// Writes the clicks, injects the faults, and compares.
pub fn run(
    stack: &Stack,
    budget: ShardBudget,
    report_line: &(dyn Fn(&str) + Sync),
) -> Result<ShardRun> {
    let engines = match ShardEngines::on_small_disks(&WEIGHTS, DISK) {
        Err(error @ StackError::MountDenied(_)) => {
            report_line(&format!("without the fault of a full disk: {error}"));
            ShardEngines::up(&WEIGHTS)
        }
        engines => engines.context("starting the engines")?,
    };
    let mut world = engines.world(&Backends::on(stack), "shards");
    world.setup();
    let outcome = on_world(&engines, &world, budget, report_line);
    if !outcome.as_ref().is_ok_and(ShardRun::good) {
        report_line(&format!("logs of the processors: {}", world.keep_folder().display()));
    }
    outcome
}

fn on_world(
    engines: &ShardEngines,
    world: &World,
    budget: ShardBudget,
    report_line: &(dyn Fn(&str) + Sync),
) -> Result<ShardRun> {
    let own = budget.own();
    let clicks = own * u64::from(PARTITIONS.unsigned_abs());
    let (stop, written) = (StopFlag::default(), AtomicU64::new(0));
    let mut faults = ShardFaults::new(engines, world, budget.seed, report_line);
    let samples = std::thread::scope(|scope| {
        let sampling = scope.spawn(|| shard_samples::sample(engines, world, &stop, report_line));
        let guard = stop.guard();
        let writing = scope.spawn(|| write(world, budget, &stop, &written));
        let began = Instant::now();
        while began.elapsed().as_secs() < budget.seconds && !writing.is_finished() {
            faults.inject()?;
        }
        writing.join().map_err(|_| anyhow::anyhow!("the clicks could not be written"))?;
        report_line(&format!(
            "{} clicks are written; no more faults",
            written.load(Ordering::SeqCst)
        ));
        faults.settle(PATIENCE)?;
        drop(guard);
        sampling.join().map_err(|_| anyhow::anyhow!("a sample failed"))
    })?;
    let shown = world.clicks();
    let is_balanced = audit(world)?.0 == 0;
    report_line(&format!("{shown} of {clicks} clicks are shown, balanced: {is_balanced}"));

    let (lost, offsets) = engines.lose_newest_part(world, LOSER);
    let (code, report) = audit(world)?;
    let named = report["missing"].as_u64().context("the audit counts missing clicks")?;
    report_line(&format!(
        "a part with {lost} clicks is deleted; the audit (code {code}) names {named}"
    ));
    let window: Vec<_> = offsets.iter().flat_map(|own| ["--offsets", own.as_str()]).collect();
    let job = job_id(&world.plan_replay(&window, &[]));
    let exit = world.replay(&["run", &job, "--json"], &[]).end_within(PATIENCE);
    let is_filled = exit.code == Some(0) && world.clicks() == shown && audit(world)?.0 == 0;
    report_line(&format!("the replay ended with {:?}; filled: {is_filled}", exit.code));

    faults.stop();
    let (half, partitions) = (own / 2, u64::from(PARTITIONS.unsigned_abs()));
    let position = i64::try_from(half)?;
    let positions: Vec<_> = (0..PARTITIONS).map(|partition| (partition, position)).collect();
    world.kafka.commit(&world.group, &world.topic, &positions);
    let moment = world.query("SELECT now64(6)");
    faults.settle(PATIENCE)?;
    let again = world.number(&format!("SELECT count() FROM clicks WHERE ingested_at > '{moment}'"));
    let is_exact =
        again == (own - half) * partitions && world.clicks() == shown && audit(world)?.0 == 0;
    report_line(&format!("the reset has processed {again} clicks again; exact: {is_exact}"));
    faults.stop();
    Ok(ShardRun {
        clicks,
        shown,
        versions: engines.rows(world),
        misplaced: (0..engines.count()).map(|shard| engines.misplaced(world, shard)).sum(),
        faults: faults.to_string(),
        samples,
        memory_kib: faults.memory_kib(),
        lost,
        named,
        is_balanced,
        is_filled,
        is_exact,
    })
}

/// Runs the audit to its end: its exit code and its report.
fn audit(world: &World) -> Result<(i32, serde_json::Value)> {
    let (report, code) = world.audit_within(PATIENCE);
    ensure!([0, 1].contains(&code), "the audit ended with {code}: {report:#}");
    Ok((code, report))
}

/// Writes the clicks evenly over nine tenths of the time.
fn write(world: &World, budget: ShardBudget, stop: &StopFlag, written: &AtomicU64) {
    let began = Instant::now();
    let own = usize::try_from(budget.own()).expect("a number of clicks");
    for first in (0..own).step_by(CHUNK) {
        if stop.is_set() {
            return;
        }
        let count = CHUNK.min(own - first);
        let records: Vec<_> =
            (0..PARTITIONS).flat_map(|partition| world.good(partition, count)).collect();
        world.kafka.produce(&world.topic, &records);
        written.fetch_add(records.len() as u64, Ordering::SeqCst);
        let share = (first + count) as f64 / own as f64;
        let due = Duration::from_secs_f64(budget.seconds as f64 * 0.9 * share);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
}

impl ShardRun {
    /// Whether every bound held.
    pub fn good(&self) -> bool {
        self.shown == self.clicks
            && self.misplaced == 0
            && self.samples.good()
            && self.memory_kib <= MEMORY_MAX_KIB
            && self.is_balanced
            && self.lost > 0
            && self.named == self.lost
            && self.is_filled
            && self.is_exact
    }
}

impl fmt::Display for ShardRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clicks, shown, versions, misplaced, memory_kib, lost, named, .. } = self;
        writeln!(f, "faults: {}", self.faults)?;
        let held = if self.good() { "held" } else { "BROKEN" };
        write!(
            f,
            "shards: clicks={clicks} shown={shown} versions={versions:?} misplaced={misplaced} {} \
             rss_mib={} part_lost={lost} named={named} balanced={} filled={} reset_exact={}: {held}",
            self.samples,
            memory_kib >> 10,
            self.is_balanced,
            self.is_filled,
            self.is_exact
        )
    }
}
