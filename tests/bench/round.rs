//! One round: counts rows while they are inserted, and measures the CPU time of each process.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

const POLL: Duration = Duration::from_millis(50);
/// The longest time without a new row.
const PATIENCE: Duration = Duration::from_secs(90);
/// Linux counts CPU time in ticks of this length.
pub const TICK_US: f64 = 10_000.0;

/// A process whose CPU time is measured.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    /// Its name in the result.
    pub name: &'static str,
    /// Its id.
    pub pid: u32,
}

impl Process {
    /// The CPU time that it has used, in microseconds.
    pub fn cpu_us(self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .with_context(|| format!("{} has ended", self.name))?;
        let (_, fields) = stat.rsplit_once(") ").context("a name in /proc/PID/stat")?;
        // `utime` and `stime` are the 14th and 15th field, the state is the 3rd.
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
        Ok(ticks.sum::<Result<f64, _>>()? * TICK_US)
    }

    /// Its peak memory, in MiB.
    pub fn peak_mib(self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("VmHWM")?;
        Ok(kib.parse::<f64>()? / 1024.0)
    }
}

/// The CPU time of several processes since a start.
pub struct Cpu(Vec<(Process, f64)>);

impl Cpu {
    /// Starts now.
    pub fn since_now(processes: &[Process]) -> Result<Self> {
        let taken = processes.iter().map(|process| Ok((*process, process.cpu_us()?)));
        Ok(Self(taken.collect::<Result<_>>()?))
    }

    /// Adds a process that has just started.
    pub fn and(mut self, process: Process) -> Self {
        self.0.push((process, 0.0));
        self
    }

    /// Microseconds per click.
    pub fn a_click(&self, clicks: u64) -> Result<Vec<(&'static str, f64)>> {
        let share = |(process, before): &(Process, f64)| {
            Ok((process.name, (process.cpu_us()? - before) / clicks as f64))
        };
        self.0.iter().map(share).collect()
    }
}

/// The result of a round.
#[derive(Debug, Clone)]
pub struct Round {
    /// Clicks per second, between the first and the last fifth.
    pub rate: f64,
    /// CPU microseconds per click of each process, from the start to the end of the last merge.
    pub cpu: Vec<(&'static str, f64)>,
    /// Peak memory of the processors, MiB.
    pub peak_mib: f64,
}

impl std::fmt::Display for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} clicks/s, CPU µs a click", self.rate)?;
        self.cpu.iter().try_for_each(|(name, us)| write!(f, " {name} {us:.2}"))
    }
}

/// Counts `rows` up to `all`; returns their rate between the first and the last fifth.
pub fn rate(all: u64, mut rows: impl FnMut() -> Result<u64>) -> Result<f64> {
    let mut edges: [Option<(Instant, u64)>; 2] = [None; 2];
    let (mut last, mut grew) = (0, Instant::now());
    while last < all {
        std::thread::sleep(POLL);
        let count = rows()?;
        let now = Instant::now();
        if count > last {
            (last, grew) = (count, now);
        }
        if now - grew > PATIENCE {
            bail!("{last} of {all} rows, and no new row for {} s", PATIENCE.as_secs());
        }
        for (edge, fifths) in edges.iter_mut().zip([1, 4]) {
            if edge.is_none() && count * 5 >= all * fifths {
                *edge = Some((now, count));
            }
        }
    }
    match edges {
        [Some((from, low)), Some((to, high))] if low < high => {
            Ok((high - low) as f64 / (to - from).as_secs_f64())
        }
        // All rows became visible at once: too few clicks for a slope.
        _ => Ok(f64::NAN),
    }
}
