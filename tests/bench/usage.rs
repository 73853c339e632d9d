//! The CPU time of the machine, and of a process by groups of its threads.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::round::TICK_US;

/// The CPU time of all cores since the start of the machine, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// Time in which a core worked.
    pub busy: f64,
    /// Time in which a core had nothing to run.
    pub idle: f64,
    /// Time in which the hypervisor ran something else.
    stolen: f64,
}

impl Machine {
    /// Reads `/proc/stat`.
    pub fn now() -> Result<Self> {
        Self::of(&std::fs::read_to_string("/proc/stat")?)
    }

    fn of(stat: &str) -> Result<Self> {
        let cores =
            stat.lines().find_map(|line| line.strip_prefix("cpu ")).context("/proc/stat")?;
        let ticks: Vec<f64> = cores
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .context("/proc/stat")?;
        // The time of guests, which follows, is part of `user` and `nice`.
        let [user, nice, system, idle, iowait, irq, softirq, stolen, ..] = ticks[..] else {
            anyhow::bail!("/proc/stat has {} times of all cores", ticks.len());
        };
        let busy = user + nice + system + irq + softirq;
        Ok(Self { busy: busy * TICK_US, idle: (idle + iowait) * TICK_US, stolen: stolen * TICK_US })
    }

    /// The share of the time since `before` in which cores were idle.
    pub fn idle_since(self, before: Self) -> f64 {
        let idle = self.idle - before.idle;
        idle / (idle + self.busy - before.busy + self.stolen - before.stolen)
    }
}

/// The CPU time of a process since its start, in microseconds, by the group that `group` assigns to the
/// name of each thread. Threads that have ended are in no group.
pub fn by_group(pid: u32, group: fn(&str) -> &'static str) -> Result<BTreeMap<&'static str, f64>> {
    let mut groups = BTreeMap::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let folder = thread?.path();
        let read = |name: &str| std::fs::read_to_string(folder.join(name));
        // A thread may end meanwhile.
        let (Ok(name), Ok(times)) = (read("comm"), read("schedstat")) else { continue };
        let on_core = times.split(' ').next().context("schedstat")?;
        *groups.entry(group(name.trim_end())).or_default() += on_core.parse::<f64>()? / 1000.0;
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_includes_waits_for_a_disk_and_excludes_stolen_time() {
        let before = Machine::of("cpu  1 1 1 10 0 0 0 0 0 0\ncpu0 1").unwrap();
        let after = Machine::of("cpu  2 1 3 13 2 1 1 10 0 0\n").unwrap();
        assert_eq!(after.idle_since(before), 0.25);
        assert_eq!(after.busy - before.busy, 5.0 * TICK_US);
        assert!(Machine::of("cpu 1 2").is_err());
    }

    #[test]
    fn the_threads_of_a_process_are_summed_by_group() {
        let groups = by_group(std::process::id(), |_| "all").unwrap();
        assert!(groups["all"] > 0.0, "{groups:?}");
    }
}
