//! One turn: the CPU time of each part for the visits of one window.

use std::time::Duration;

use anyhow::{Context as _, Result};
use harness::loader::OpenLoop;

use crate::round::Process;
use crate::usage::Machine;

/// Microseconds by part.
pub type ByPart = Vec<(&'static str, f64)>;

/// The smallest share of visits sent on time at which a turn counts.
pub const ON_TIME_MIN: f64 = 0.99;
/// The smallest share of idle cores at which a turn counts.
pub const IDLE_MIN: f64 = 0.1;

/// What one turn has measured.
#[derive(Debug, Clone)]
pub struct Turn {
    /// CPU microseconds a click of each part that works.
    pub parts: ByPart,
    /// CPU microseconds a click of the machine, without the load generator and the parts that are idle.
    pub machine: f64,
    /// The share of visits that were sent on time.
    pub on_time: f64,
    /// The share of cores that were idle during the load.
    pub idle: f64,
    /// Produce requests a second.
    pub produce_requests: f64,
    /// Bytes a click in the log, one copy.
    pub log_bytes: f64,
}

impl Turn {
    /// CPU microseconds a click of all parts.
    pub fn sum(&self) -> f64 {
        self.parts.iter().map(|(_, us)| us).sum()
    }

    /// Whether the load was as planned and the machine had time left.
    pub fn counts(&self) -> bool {
        self.on_time >= ON_TIME_MIN && self.idle >= IDLE_MIN
    }
}

impl std::fmt::Display for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} µs a click (machine {:.1}):", self.sum(), self.machine)?;
        self.parts.iter().try_for_each(|(name, us)| write!(f, " {name} {us:.1}"))?;
        write!(f, "; {:.1} % sent on time, {:.0} % idle", 100.0 * self.on_time, 100.0 * self.idle)
    }
}

/// The CPU times at one moment.
struct Moment {
    parts: ByPart,
    /// Of the load generator, which is this process, and of the parts that are idle.
    others: f64,
    machine: Machine,
}

/// A window of load and what is measured during it.
pub struct Window<'w> {
    /// The visits.
    pub load: OpenLoop<'w>,
    /// The CPU time of each part that works.
    pub working: &'w dyn Fn() -> Result<ByPart>,
    /// The parts that are idle.
    pub idle: &'w [Process],
    /// Returns once all work of the visits has ended.
    pub settle: &'w dyn Fn() -> Result<()>,
}

impl Window<'_> {
    /// Sends the visits of `warm` without a measurement, then those of the window.
    pub fn measure(mut self, warm: Duration) -> Result<Turn> {
        let visits = OpenLoop { window: warm, ..self.load }.run()?;
        self.load.first += usize::try_from(visits.count)?;
        (self.settle)()?;
        let before = self.now()?;
        let visits = self.load.run()?;
        let loaded = Machine::now()?;
        (self.settle)()?;
        let after = self.now()?;
        let clicks = visits.count as f64;
        let mut parts = Vec::new();
        for (name, us) in after.parts {
            let earlier = before.parts.iter().find(|(own, _)| *own == name).context(name)?.1;
            parts.push((name, (us - earlier) / clicks));
        }
        let busy = after.machine.busy - before.machine.busy;
        Ok(Turn {
            parts,
            machine: (busy - (after.others - before.others)) / clicks,
            on_time: visits.on_time,
            idle: loaded.idle_since(before.machine),
            produce_requests: 0.0,
            log_bytes: 0.0,
        })
    }

    fn now(&self) -> Result<Moment> {
        let mut others = Process { name: "load generator", pid: std::process::id() }.cpu_us()?;
        for process in self.idle {
            others += process.cpu_us()?;
        }
        Ok(Moment { parts: (self.working)()?, others, machine: Machine::now()? })
    }
}
