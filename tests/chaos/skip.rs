//! `chaos skip`: a live group with a backlog of CLICKS (two million) is skipped to the end of the log.
//!
//! The run holds if fresh clicks are visible within ten seconds of the command, no sample of the view shows a
//! click twice, the replay of the gap is balanced, and table and log balance at the end.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::{Backends, StopFlag, World, until_within};
use serde_json::Value;
use stack::Stack;

/// Records of a partition that are written at once.
const CHUNK: usize = 20_000;
const PARTITIONS: u64 = 3;
/// Fresh clicks of each partition.
const FRESH: usize = 10;
const FRESH_MAX: Duration = Duration::from_secs(10);
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// The longest time for one step of the run.
const PATIENCE: Duration = Duration::from_secs(600);

/// The measurements of a run.
pub struct SkipRun {
    clicks: u64,
    skipped: u64,
    fresh: Duration,
    samples: u32,
    twice: u32,
    is_filled: bool,
    is_balanced: bool,
}

/// Writes `clicks` without a processor, starts two of them, skips, and replays what was skipped.
pub fn run(stack: &Stack, clicks: u64, report_line: &dyn Fn(&str)) -> Result<SkipRun> {
    let world = World::on(Backends::on(stack), "skip");
    world.setup();
    let own = clicks.div_ceil(PARTITIONS);
    let mut written = 0;
    while written < own {
        let count = CHUNK.min(usize::try_from(own - written)?);
        produce(&world, count);
        written += count as u64;
    }
    report_line(&format!("{} records are in the log", PARTITIONS * own));
    let mut members = [(), ()].map(|()| world.processors(&[], &[]));
    let began = Instant::now();
    let stop = StopFlag::default();
    let (outcome, samples, twice) = std::thread::scope(|scope| {
        let sampling = scope.spawn(|| sample(&world, &stop));
        let guard = stop.guard();
        let outcome = skip_and_fill(&world, own, began, report_line);
        drop(guard);
        let (samples, twice) = sampling.join().unwrap_or_default();
        (outcome, samples, twice)
    });
    let (skipped, fresh, is_filled) = outcome?;
    let (_, code) = world.audit_within(PATIENCE);
    members.iter_mut().for_each(|member| drop(member.stop().expect_code(0)));
    let is_balanced = code == 0;
    Ok(SkipRun { clicks: PARTITIONS * own, skipped, fresh, samples, twice, is_filled, is_balanced })
}

/// Skips, and replays the gap; returns the skipped offsets, the time from the command to the fresh clicks, and
/// whether the replay is balanced.
fn skip_and_fill(
    world: &World,
    own: u64,
    began: Instant,
    report_line: &dyn Fn(&str),
) -> Result<(u64, Duration, bool)> {
    let skipping = Instant::now();
    let skipped = object(world, &["replay", "skip", "--json"])?;
    let offsets = skipped["offsets"].as_u64().context("the skipped offsets")?;
    ensure!(offsets > 0, "the backlog was processed within {:?}", began.elapsed());
    produce(world, FRESH);
    let fresh = format!("SELECT count() FROM clicks WHERE kafka_offset >= {own}");
    let wanted = PARTITIONS * FRESH as u64;
    until_within(PATIENCE, "fresh clicks are visible", || {
        (world.number(&fresh) == wanted).then_some(())
    });
    let fresh = skipping.elapsed();
    report_line(&format!("{offsets} offsets skipped; fresh clicks visible after {fresh:?}"));
    let job = skipped["job"].as_str().context("the job of the gap")?;
    let verdict = object(world, &["replay", "run", job, "--json"])?;
    report_line("the gap is filled");
    Ok((offsets, fresh, verdict["balanced"] == true))
}

fn produce(world: &World, count: usize) {
    let partitions = 0..i32::try_from(PARTITIONS).unwrap_or(1);
    let records: Vec<_> = partitions.flat_map(|own| world.good(own, count)).collect();
    world.kafka.produce(&world.topic, &records);
}

/// The last line of JSON that a command of `processors` prints.
fn object(world: &World, args: &[&str]) -> Result<Value> {
    let mut command = world.command("processors", &[("CLICKTRAIL_GROUP", &world.group)]);
    command.args(args);
    let exit = world.start(command).end_within(PATIENCE);
    let line = exit.out.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("{exit:?}"))
}

/// Samples the view until `stop`; returns the number of samples, and of those that show a click twice.
fn sample(world: &World, stop: &StopFlag) -> (u32, u32) {
    let (mut samples, mut twice) = (0, 0);
    while !stop.is_set() {
        let text = world.query("SELECT count(), uniqExact(event_id) FROM clicks");
        let is_twice = text.split_once('\t').is_none_or(|(rows, events)| rows != events);
        (samples, twice) = (samples + 1, twice + u32::from(is_twice));
        std::thread::sleep(SAMPLE_EVERY);
    }
    (samples, twice)
}

impl SkipRun {
    /// Whether every bound held.
    pub fn good(&self) -> bool {
        self.fresh <= FRESH_MAX
            && self.samples > 0
            && self.twice == 0
            && self.is_filled
            && self.is_balanced
    }
}

impl fmt::Display for SkipRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "skip: clicks={} skipped={} fresh_ms={} samples={} twice={} filled={} balanced={}",
            self.clicks,
            self.skipped,
            self.fresh.as_millis(),
            self.samples,
            self.twice,
            self.is_filled,
            self.is_balanced
        )
    }
}
