//! The rounds of our processors: `processors run` with its defaults, from the start of the log, into an
//! empty database.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use harness::{Child, Signal, World, free_port};

use super::engine::Engine;
use super::log::PARTITIONS;
use super::round::{Cpu, Process, Round, rate};

/// The name of the measured process.
pub const NAME: &str = "processors";

/// `processors setup` for a database and the world's topic.
pub fn setup(world: &World, database: &str) {
    let mut command = world.command("processors", &[("CLICKHOUSE_DATABASE", database)]);
    let partitions = PARTITIONS.to_string();
    command.args(["setup", "--partitions", &partitions, "--replication", "1"]);
    world.start(command).end().expect_code(0);
}

/// Starts `processors run` in the given group with these settings, without a wait.
pub fn start(world: &World, database: &str, group: &str, set: &[(&str, &str)]) -> (Child, String) {
    let admin = free_port().to_string();
    let mut command = world.command("processors", &[("CLICKHOUSE_DATABASE", database)]);
    command.envs(set.iter().copied());
    command.args(["run", "--group", group, "--admin-listen", &admin, "--rules"]);
    command.arg(harness::rules::folder());
    (world.start(command), format!("http://{admin}"))
}

/// Processes a backlog of `all` clicks; keeps the database.
pub fn backlog(
    world: &World,
    engine: &Engine,
    others: &[Process],
    database: &str,
    (all, profiled): (u64, bool),
) -> Result<Round> {
    setup(world, database);
    let cpu = Cpu::since_now(others)?;
    let (mut child, _) = start(world, database, database, &[]);
    let process = Process { name: NAME, pid: child.id() };
    let cpu = cpu.and(process);
    let profile = if profiled { Profile::start(world, process) } else { None };
    let rate = rate(all, || {
        anyhow::ensure!(child.ended().is_none(), "the processors ended:\n{}", child.log());
        engine.rows(database)
    })?;
    if let Some(profile) = profile {
        profile.print()?;
    }
    engine.calm(database)?;
    let round = Round { rate, cpu: cpu.a_click(all)?, peak_mib: process.peak_mib()? };
    child.stop().expect_code(0);
    Ok(round)
}

/// A CPU profile of a process.
struct Profile {
    perf: Child,
    data: std::path::PathBuf,
}

impl Profile {
    /// None without `perf`.
    fn start(world: &World, process: Process) -> Option<Self> {
        if Command::new("perf").arg("--version").output().is_err() {
            println!("      no profile: perf is not installed");
            return None;
        }
        let data = world.folder().join("perf.data");
        let mut command = Command::new("perf");
        command.args(["record", "-F", "499", "-p", &process.pid.to_string(), "-o"]).arg(&data);
        Some(Self { perf: world.start(command), data })
    }

    fn print(mut self) -> Result<()> {
        self.perf.signal(Signal::INT);
        self.perf.end();
        let mut report = Command::new("perf");
        report.args(["report", "--stdio", "--no-children", "--sort", "symbol", "-i"]);
        let output = report.arg(&self.data).stderr(Stdio::null()).output().context("perf")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines
            .take(40)
            .for_each(|line| println!("perf {}", line.trim().trim_end_matches([' ', '-'])));
        Ok(())
    }
}
