//! The faults of `chaos shards`, in an order that a seed decides.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::seeded_random::SeededRandom;
use harness::{Processors, ShardEngines, World};
use stack::{ClickHouseFault, Part};

/// Processes of the group.
const MEMBERS: usize = 2;
/// Batches of a second of the load, so that faults meet some in flight.
const SMALL: (&str, &str) = ("CLICKTRAIL_BATCH_ROWS", "2000");
/// The longest wait for records that the group has not committed.
const WORK: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ShardFault {
    /// SIGKILL to a processor; another one replaces it.
    KillProcessor,
    /// A front of the first shard ends, and starts again.
    KillFront,
    /// A front of the first shard hangs for a while.
    PauseFront,
    /// Both fronts end one after the other, and start again.
    KillFronts,
    /// SIGKILL to an engine, then a restart.
    KillEngine,
    /// An engine is paused for a while.
    PauseEngine,
    /// The answers to some applied inserts of one shard are lost.
    LoseAnswers,
    /// The disk of an engine is full for a while.
    FillDisk,
}

impl ShardFault {
    const ALL: [Self; 8] = [
        Self::KillProcessor,
        Self::KillFront,
        Self::PauseFront,
        Self::KillFronts,
        Self::KillEngine,
        Self::PauseEngine,
        Self::LoseAnswers,
        Self::FillDisk,
    ];

    /// Whether it is one of any shard. The others are of a processor or of the replicas of the first shard.
    fn has_shard(self) -> bool {
        match self {
            Self::KillEngine | Self::PauseEngine | Self::LoseAnswers | Self::FillDisk => true,
            Self::KillProcessor | Self::KillFront | Self::PauseFront | Self::KillFronts => false,
        }
    }
}

/// Injects the faults; it runs the processors, too.
pub struct ShardFaults<'r> {
    engines: &'r ShardEngines,
    world: &'r World,
    random: SeededRandom,
    /// The rest of a round of all faults, in an order of the seed.
    remaining: Vec<ShardFault>,
    members: Vec<Processors>,
    /// Faults that met records which were not committed, and all.
    counts: BTreeMap<ShardFault, (u32, u32)>,
    memory_kib: u64,
    report_line: &'r (dyn Fn(&str) + Sync),
}

impl<'r> ShardFaults<'r> {
    /// Starts the processors.
    pub fn new(
        engines: &'r ShardEngines,
        world: &'r World,
        seed: u64,
        report_line: &'r (dyn Fn(&str) + Sync),
    ) -> Self {
        let random = SeededRandom::stream(seed, 1);
        let mut faults = Self {
            engines,
            world,
            random,
            remaining: Vec::new(),
            members: Vec::new(),
            counts: BTreeMap::new(),
            memory_kib: 0,
            report_line,
        };
        faults.fill();
        faults
    }

    /// Injects the next fault and fixes it.
    pub fn inject(&mut self) -> Result<()> {
        let fault = self.next_fault();
        let is_disk = self.engines.engine(0).disk_usage(Part::ClickHouse).is_some();
        if fault == ShardFault::FillDisk && !is_disk {
            return Ok(());
        }
        let (began, work) = (Instant::now(), self.waits_for_work());
        let shard = self.random.index(self.engines.count());
        self.cause(fault, shard).with_context(|| format!("{fault:?} of shard {shard}"))?;
        self.check()?;
        let count = self.counts.entry(fault).or_default();
        *count = (count.0 + u32::from(work), count.1 + 1);
        let seconds = began.elapsed().as_secs_f64();
        let place =
            if fault.has_shard() { format!(" of shard {}", shard + 1) } else { String::new() };
        (self.report_line)(&format!("{fault:?}{place}, work in flight: {work} ({seconds:.1} s)"));
        Ok(())
    }

    fn next_fault(&mut self) -> ShardFault {
        if self.remaining.is_empty() {
            self.remaining = ShardFault::ALL.to_vec();
            self.random.shuffle(&mut self.remaining);
        }
        self.remaining.pop().expect("a round has faults")
    }

    fn cause(&mut self, fault: ShardFault, shard: usize) -> Result<()> {
        let engine = self.engines.engine(shard);
        let front = self.random.index(2);
        match fault {
            ShardFault::KillProcessor => self.kill(),
            ShardFault::KillFront => {
                self.engines.fronts[front].kill();
                self.rest(3000);
                self.also_kill();
                self.engines.fronts[front].restart();
            }
            ShardFault::PauseFront => {
                self.engines.fronts[front].pause(true);
                // Half of these are longer than the 15 s that the first replica has to acknowledge.
                self.rest(30_000);
                self.also_kill();
                self.engines.fronts[front].pause(false);
            }
            ShardFault::KillFronts => {
                self.engines.fronts[front].kill();
                self.rest(1500);
                self.engines.fronts[1 - front].kill();
                self.rest(3000);
                self.engines.fronts[front].restart();
                self.rest(1500);
                self.engines.fronts[1 - front].restart();
            }
            ShardFault::KillEngine => {
                engine.kill(Part::ClickHouse)?;
                self.rest(2000);
                self.also_kill();
                engine.restart(Part::ClickHouse)?;
            }
            ShardFault::PauseEngine => {
                engine.pause(Part::ClickHouse)?;
                self.rest(4000);
                self.also_kill();
                engine.resume(Part::ClickHouse)?;
            }
            ShardFault::LoseAnswers => {
                // Fewer requests than that may come; the rest is then reset.
                engine.fault(ClickHouseFault::LoseAnswers, 2, WORK).ok();
            }
            ShardFault::FillDisk => {
                engine.fill_disk(Part::ClickHouse)?;
                self.rest(4000);
                self.also_kill();
                engine.free_disk(Part::ClickHouse)?;
            }
        }
        Ok(())
    }

    /// Waits until the group has committed the end of the log.
    pub fn settle(&mut self, patience: Duration) -> Result<()> {
        let began = Instant::now();
        self.fill();
        while !self.world.caught_up() {
            self.check()?;
            ensure!(began.elapsed() < patience, "the end of the log is not committed");
            std::thread::sleep(PAUSE * 10);
        }
        Ok(())
    }

    /// Stops the processors.
    pub fn stop(&mut self) {
        self.measure();
        for mut member in self.members.drain(..) {
            member.stop().expect_code(0);
        }
    }

    /// The most resident memory of a processor.
    pub fn memory_kib(&mut self) -> u64 {
        self.measure();
        self.memory_kib
    }

    fn measure(&mut self) {
        let peaks = self.members.iter().filter_map(|member| member.memory_peak_kib());
        self.memory_kib = peaks.max().unwrap_or_default().max(self.memory_kib);
    }

    /// No fault ends a process.
    fn check(&mut self) -> Result<()> {
        for member in &mut self.members {
            if let Some(code) = member.ended() {
                anyhow::bail!("a processor ended with {code:?}:\n{}", member.log());
            }
        }
        Ok(())
    }

    fn fill(&mut self) {
        while self.members.len() < MEMBERS {
            let member = self.world.start_processors(&self.world.group, &[], &[SMALL]);
            self.members.push(member);
        }
    }

    fn kill(&mut self) {
        self.measure();
        let index = self.random.index(self.members.len());
        self.members.remove(index).crash();
        self.fill();
    }

    /// Kills a processor beside another fault, sometimes.
    fn also_kill(&mut self) {
        if self.random.once_in(3) {
            self.kill();
        }
    }

    fn rest(&mut self, most_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.random.between(100, most_ms)));
    }

    /// Waits until the log has records that the group has not committed.
    fn waits_for_work(&self) -> bool {
        let began = Instant::now();
        while began.elapsed() < WORK {
            if !self.world.caught_up() {
                return true;
            }
            std::thread::sleep(PAUSE);
        }
        false
    }
}

impl fmt::Display for ShardFaults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts.iter();
        let texts = counts.map(|(fault, (met, all))| format!("{fault:?}={met}/{all}"));
        f.write_str(&texts.collect::<Vec<_>>().join(" "))
    }
}
