//! `chaos dead-letters`: a hundred thousand dead letters are read, and redriven at a steady rate.
//!
//! The dead letters have the product's own headers, 40 kinds, and values from 200 bytes to 1 MiB: of a
//! thousand, 900 have up to 2 KiB, 90 up to 64 KiB, 9 up to 256 KiB, and one up to 1 MiB. The group of the
//! processors copies them. The run holds if `groups` and `ls` answer within a second before and after the
//! redrive, every record is sent once, the redrive holds its rate, every copy that fails is known as such,
//! and the peak of the memory of the processors and of the redrive stays within its bounds.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::seeded_random::SeededRandom;
use harness::{Backends, FailedRecord, Processors, World, until_within};
use schemas::SchemaId;
use stack::Stack;

const KINDS: usize = 40;
/// Records that are made and written at once.
const CHUNK: u64 = 2000;
/// Records a second that the redrive may send, and the share of them that it must send.
const RATE: u64 = 1000;
const RATE_SHARE: f64 = 0.95;
const ANSWER_MAX: Duration = Duration::from_secs(1);
const PROCESSORS_KIB_MAX: u64 = 640 << 10;
const REDRIVE_KIB_MAX: u64 = 256 << 10;
/// The longest time for one step of the run.
const PATIENCE: Duration = Duration::from_secs(1200);

/// The measurements of a run.
pub struct DeadLetterRun {
    letters: u64,
    groups: Duration,
    ls: Duration,
    rate: f64,
    processors_kib: u64,
    redrive_kib: u64,
    failed_again: u64,
    in_log: i64,
}

/// Writes `letters` dead letters, reads them, redrives them.
pub fn run(stack: &Stack, letters: u64, report_line: &dyn Fn(&str)) -> Result<DeadLetterRun> {
    let world = World::on(Backends::on(stack), "dead_letters");
    world.setup();
    write(&world, letters);
    report_line(&format!("{letters} dead letters are in their topic"));
    let mut processors = world.processors(&[], &[]);
    copied(&world, &mut processors)?;
    report_line(&format!("copied; processors: {:?} KiB", processors.memory_peak_kib()));
    let (mut groups, lines) = answer(&world, &["groups", "--json"])?;
    ensure!(lines == KINDS, "{lines} groups of {KINDS} kinds");
    let (mut ls, _) = answer(&world, &["ls", "--json"])?;
    report_line(&format!("groups: {groups:?}, ls: {ls:?}"));

    let (rate, redrive_kib) = redriven(&world, letters)?;
    report_line(&format!("redriven at {rate:.0} a second with {redrive_kib} KiB"));
    processors.until_caught_up(&world);
    copied(&world, &mut processors)?;
    groups = groups.max(answer(&world, &["groups", "--json"])?.0);
    ls = ls.max(answer(&world, &["ls", "--json"])?.0);
    let failed_again = "SELECT count() FROM dead_letters WHERE state = 'failed_again'";
    let run = DeadLetterRun {
        letters,
        groups,
        ls,
        rate,
        processors_kib: processors.memory_peak_kib().context("the processors run")?,
        redrive_kib,
        failed_again: world.number(failed_again),
        in_log: world.kafka.records(&world.topic),
    };
    processors.stop().expect_code(0);
    Ok(run)
}

impl DeadLetterRun {
    /// Whether every bound held.
    pub fn good(&self) -> bool {
        self.groups <= ANSWER_MAX
            && self.ls <= ANSWER_MAX
            && (RATE as f64 * RATE_SHARE..=RATE as f64 * 1.05).contains(&self.rate)
            && self.processors_kib <= PROCESSORS_KIB_MAX
            && self.redrive_kib <= REDRIVE_KIB_MAX
            && self.failed_again == self.letters
            && u64::try_from(self.in_log) == Ok(self.letters)
    }
}

impl fmt::Display for DeadLetterRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} copies in the log, {} failed again; peaks: processors {} MiB (bound {}), redrive {} MiB (bound {})",
            self.in_log,
            self.failed_again,
            self.processors_kib >> 10,
            PROCESSORS_KIB_MAX >> 10,
            self.redrive_kib >> 10,
            REDRIVE_KIB_MAX >> 10
        )?;
        write!(
            f,
            "dead-letters: letters={} groups_ms={} ls_ms={} redrive_rate={:.0} rss_mib={}",
            self.letters,
            self.groups.as_millis(),
            self.ls.as_millis(),
            self.rate,
            self.processors_kib.max(self.redrive_kib) >> 10
        )
    }
}

fn write(world: &World, letters: u64) {
    let (id, mut random) = (world.schema_id(), SeededRandom::new(1));
    for first in (0..letters).step_by(usize::try_from(CHUNK).unwrap_or(1)) {
        let chunk = first..letters.min(first + CHUNK);
        let records: Vec<_> = chunk.map(|number| record(number, id, &mut random)).collect();
        world.write_dead_letters(&records);
    }
}

fn record(number: u64, id: SchemaId, random: &mut SeededRandom) -> FailedRecord {
    let (low, high) = match random.between(1, 1000) {
        1..=900 => (200, 2 << 10),
        901..=990 => (2 << 10, 64 << 10),
        991..=999 => (64 << 10, 256 << 10),
        _ => (256 << 10, 1 << 20),
    };
    let bytes = usize::try_from(random.between(low, high)).expect("a length");
    let offset = i64::try_from(number).expect("an offset");
    FailedRecord::of_kind(random.index(KINDS), id, offset, bytes)
}

fn copied(world: &World, processors: &mut Processors) -> Result<()> {
    until_within(PATIENCE, "the dead letters are copied", || {
        (world.letters_copied() || processors.ended().is_some()).then_some(())
    });
    ensure!(processors.ended().is_none(), "the processors ended: {}", processors.log());
    Ok(())
}

/// The longest of three runs of a command, and the lines of its output.
fn answer(world: &World, args: &[&str]) -> Result<(Duration, usize)> {
    let (mut longest, mut lines) = (Duration::ZERO, 0);
    for _ in 0..3 {
        let began = Instant::now();
        lines = world.dlq_output(args).lines().count();
        longest = longest.max(began.elapsed());
        ensure!(lines > 0, "{args:?} printed nothing");
    }
    Ok((longest, lines))
}

/// Redrives all; the rate between a fifth and four fifths of them, and the peak of the memory.
fn redriven(world: &World, letters: u64) -> Result<(f64, u64)> {
    let rate = RATE.to_string();
    let mut redrive = world.dlq(&["redrive", "--force", "--rate", &rate]);
    let (mut peak_kib, mut bounds) = (0, [None; 2]);
    let shares = [letters / 5, letters * 4 / 5];
    let code = until_within(PATIENCE, "the redrive ends", || {
        peak_kib = peak_kib.max(redrive.memory_peak_kib().unwrap_or(0));
        let sent = u64::try_from(world.kafka.records(&world.topic)).unwrap_or(0);
        for (bound, share) in bounds.iter_mut().zip(shares) {
            if bound.is_none() && sent >= share {
                *bound = Some((Instant::now(), sent));
            }
        }
        redrive.ended()
    });
    ensure!(code == Some(0), "the redrive ended with {code:?}: {}", redrive.log());
    let [Some((began, first)), Some((ended, last))] = bounds else {
        anyhow::bail!("the redrive sent too few records");
    };
    let seconds = ended.duration_since(began).as_secs_f64();
    Ok(((last - first) as f64 / seconds, peak_kib))
}
