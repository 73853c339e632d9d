//! One set of our programs, with a topic, a group, a database and links of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::loader::{Heads, OpenLoop};
use harness::{Backends, Child, World, free_port, get, until};
use stack::{Part, Stack};

use super::turn::{ByPart, Turn, Window};
use crate::engine::Engine;
use crate::log::PARTITIONS;
use crate::log_segments::LogSize;
use crate::producer::Producer;
use crate::round::Process;
use crate::usage::by_group;

/// The connections of the load, on which a trusted proxy forwards visits.
pub const CONNECTIONS: u32 = 40;
/// Time between two looks at the table.
const POLL: Duration = Duration::from_millis(200);
/// The longest time until all clicks are rows.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the visits come from, and the parts that they reach.
pub struct Course<'c> {
    /// The stack.
    pub stack: &'c Stack,
    /// Its engine.
    pub engine: Engine,
    /// The heads of the visits.
    pub heads: Heads,
    /// The links that they name.
    pub links: String,
}

/// The load of one turn.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Visits a second.
    pub rate: f64,
    /// How long they are measured; half as long before that they are not.
    pub window: Duration,
}

impl Load {
    /// As an open loop on a server.
    pub fn on<'l>(self, host: &'l str, heads: &'l Heads) -> OpenLoop<'l> {
        let Self { rate, window } = self;
        OpenLoop { host, connections: CONNECTIONS, rate, window, heads, first: 0 }
    }

    /// The time before the measurement.
    pub fn warm(self) -> Duration {
        self.window / 2
    }
}

/// Programs of one build.
pub struct Side {
    folder: Option<PathBuf>,
    world: World,
}

impl Side {
    /// The programs in `folder`, or those of this build, and their tables.
    pub fn new(stack: &Stack, name: &str, folder: Option<PathBuf>) -> Result<Self> {
        let side = Self { folder, world: World::on(Backends::on(stack), name) };
        let mut command = side.command("processors")?;
        let partitions = PARTITIONS.to_string();
        command.args(["setup", "--partitions", &partitions, "--replication", "1"]);
        side.world.start(command).end().expect_code(0);
        Ok(side)
    }

    /// One of the programs, with the variables of the world.
    fn command(&self, name: &str) -> Result<Command> {
        let own = self.world.command(name, &[]);
        let Some(folder) = &self.folder else { return Ok(own) };
        let program = folder.join(name);
        ensure!(program.is_file(), "BEFORE={}: it has no program {name}", folder.display());
        let mut command = Command::new(program);
        for (variable, value) in own.get_envs() {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
        Ok(command)
    }

    /// One turn of these programs, with an empty table.
    pub fn turn(&self, course: &Course<'_>, load: Load, others: &[Process]) -> Result<Turn> {
        let (world, engine) = (&self.world, &course.engine);
        engine.ask(&format!("TRUNCATE TABLE {}.click_versions", world.database))?;
        let first = world.kafka.records(&world.topic);
        let mut processors = self.processors()?;
        let mut command = self.command("producer")?;
        command.env("CLICKTRAIL_TRUSTED_PROXIES", "127.0.0.1");
        let mut producer = Producer::start(world, command, &course.links)?;
        let settle = || {
            producer.drained()?;
            self.stored(engine, world.kafka.records(&world.topic) - first)?;
            engine.calm(&world.database)
        };
        let [mut working, mut idle] = [Vec::new(), Vec::new()];
        for process in others {
            let works = ["engine", "broker"].contains(&process.name);
            if works { &mut working } else { &mut idle }.push(*process);
        }
        working.push(Process { name: "processors", pid: processors.id() });
        let parts = || parts(producer.child.id(), &working);
        let data = course.stack.folder().join(Part::Kafka.name()).join("data");
        let warm = load.warm();
        let before = self.logged(&data)?;
        let window = Window {
            load: load.on(&producer.host, &course.heads),
            working: &parts,
            idle: &idle,
            settle: &settle,
        };
        let mut turn = window.measure(warm)?;
        let logged = self.logged(&data)?.since(before);
        let seconds = (warm + load.window).as_secs_f64();
        turn.produce_requests = logged.batches as f64 / seconds;
        turn.log_bytes = logged.bytes as f64 / logged.records as f64;
        producer.child.stop().expect_code(0);
        processors.stop().expect_code(0);
        Ok(turn)
    }

    fn logged(&self, data: &Path) -> Result<LogSize> {
        LogSize::of(data, &self.world.topic)
    }

    fn processors(&self) -> Result<Child> {
        let admin = free_port().to_string();
        let mut command = self.command("processors")?;
        command.args(["run", "--group", &self.world.group, "--admin-listen", &admin, "--rules"]);
        command.arg(harness::rules::folder());
        let child = self.world.start(command);
        let ready = format!("http://{admin}/readyz");
        until("the processors are ready", || get(&ready).ok().filter(|it| it.status == 200));
        Ok(child)
    }

    /// Waits until the table has this many rows, or more where an insert was repeated.
    fn stored(&self, engine: &Engine, clicks: i64) -> Result<()> {
        let (clicks, began) = (u64::try_from(clicks)?, Instant::now());
        loop {
            let rows = engine.rows(&self.world.database)?;
            if rows >= clicks {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "{rows} of {clicks} clicks are rows");
            std::thread::sleep(POLL);
        }
    }
}

/// The CPU time of the parts: those of the producer by its threads, then the other processes.
fn parts(producer: u32, processes: &[Process]) -> Result<ByPart> {
    let threads = by_group(producer, group)?;
    let mut parts: ByPart = ["http", "outbox", "delivery"]
        .map(|name| (name, threads.get(name).copied().unwrap_or_default()))
        .to_vec();
    for process in processes {
        parts.push((process.name, process.cpu_us()?));
    }
    Ok(parts)
}

/// The part of the producer that a thread belongs to: the threads of the runtime and the main thread answer
/// visits; relay and librdkafka deliver.
fn group(thread: &str) -> &'static str {
    match thread {
        name if name.starts_with("outbox") => "outbox",
        name if name.starts_with("tokio") || name == "producer" => "http",
        _ => "delivery",
    }
}
