//! The CPU time of the processors on three shards against one server, in turns on one log; each turn has an empty
//! database.
//!
//! An insert into one of three shards has a third of the rows. The CPU time of the engines is therefore compared with
//! that of one server whose batches have a third of the rows.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use harness::{Backends, ShardEngines, World};
use stack::{Part, Stack};

use super::engine::Engine;
use super::pairs::interval;
use super::plan::{Plan, SHARDS_CPU};
use super::report::{line, median};
use super::round::{Cpu, Process, rate};
use super::{log, ours};

/// The largest ratio that meets the goal.
const RATIO_MAX: f64 = 1.15;
const WEIGHTS: [u32; 3] = [1, 1, 1];
/// Rows of a batch: the default.
const BATCH_ROWS: usize = 300_000;

/// Where the processors write.
#[derive(Debug, Clone, Copy)]
enum Target {
    OneServer,
    ThreeShards,
    /// With a third of the rows in a batch.
    OneServerInThirds,
}

impl Target {
    const ALL: [Self; 3] = [Self::OneServer, Self::ThreeShards, Self::OneServerInThirds];

    fn batch_rows(self) -> usize {
        match self {
            Self::OneServer | Self::ThreeShards => BATCH_ROWS,
            Self::OneServerInThirds => BATCH_ROWS / WEIGHTS.len(),
        }
    }
}

/// CPU microseconds of a click: of the processors until all rows are inserted, and of the engines until their merges
/// have ended.
#[derive(Debug, Default)]
struct Costs {
    processors: Vec<f64>,
    engines: Vec<f64>,
}

/// The engines of a run, and the file that names all of them.
struct Servers {
    engines: Vec<Engine>,
    processes: Vec<Process>,
    file: PathBuf,
}

/// Measures in turns.
pub fn run(plan: &Plan, stack: &Stack) -> Result<()> {
    let backends = Backends::on(stack);
    let engines = ShardEngines::up(&WEIGHTS);
    let mut world = engines.world(&backends, SHARDS_CPU);
    let servers = Servers::of(&engines, &world)?;
    world.clickhouse_shards = None;
    ours::setup(&world, "unused");
    log::write(&world, plan.clicks)?;
    let mut costs: [Costs; 3] = Default::default();
    for round in 0..plan.pairs {
        let mut order = [0, 1, 2];
        order.rotate_left(usize::try_from(round % 3)?);
        for at in order {
            let target = Target::ALL[at];
            let database = format!("shards_{round}_{at}");
            let (processors, of_engines) = turn(plan, &mut world, &servers, target, &database)?;
            plan.report(&format!(
                "{target:?}: processors {processors:.3} µs a click, engines {of_engines:.3}"
            ));
            costs[at].processors.push(processors);
            costs[at].engines.push(of_engines);
        }
    }
    println!("{}", result(&costs));
    Ok(())
}

/// Processes the log into an empty database.
fn turn(
    plan: &Plan,
    world: &mut World,
    servers: &Servers,
    target: Target,
    database: &str,
) -> Result<(f64, f64)> {
    world.clickhouse_shards = match target {
        Target::ThreeShards => Some(servers.file.clone()),
        Target::OneServer | Target::OneServerInThirds => None,
    };
    ours::setup(world, database);
    let engines_cpu = Cpu::since_now(&servers.processes)?;
    let rows = target.batch_rows().to_string();
    let (mut child, _) =
        ours::start(world, database, database, &[("CLICKTRAIL_BATCH_ROWS", &rows)]);
    let process = Process { name: ours::NAME, pid: child.id() };
    rate(plan.clicks, || {
        ensure!(child.ended().is_none(), "the processors ended:\n{}", child.log());
        servers.engines.iter().map(|engine| engine.rows(database)).sum()
    })?;
    let processors = process.cpu_us()? / plan.clicks as f64;
    child.stop().expect_code(0);
    servers.engines.iter().try_for_each(|engine| engine.calm(database))?;
    let of_engines = engines_cpu.a_click(plan.clicks)?.into_iter().map(|(_, us)| us).sum();
    for engine in &servers.engines {
        engine.ask(&format!("DROP DATABASE IF EXISTS {database} SYNC"))?;
    }
    Ok((processors, of_engines))
}

fn result([one, three, thirds]: &[Costs; 3]) -> String {
    let of = |values: &[f64]| median(values.iter().copied());
    let pairs = three.processors.iter().zip(&one.processors);
    let ratios: Vec<_> = pairs.map(|(three, one)| three / one).collect();
    let (ratio, low, high) = interval(&ratios);
    let mut text = line(SHARDS_CPU, of(&three.processors), of(&one.processors));
    write!(text, " paired={ratio:.3} interval={low:.3}..{high:.3} bar={RATIO_MAX}").ok();
    write!(text, " pairs={} falls_short={}", ratios.len(), low > RATIO_MAX).ok();
    let [three, thirds] = [of(&three.engines), of(&thirds.engines)];
    write!(text, " engines={three:.2} one_engine={thirds:.2} engines_ratio={:.2}", three / thirds)
        .ok();
    text
}

impl Servers {
    fn of(shards: &ShardEngines, world: &World) -> Result<Self> {
        let numbers = 0..shards.count();
        let engine = |shard| {
            let clickhouse = shards.url(shard).to_owned();
            Engine::of(&Backends { clickhouse, ..world.backends.clone() })
        };
        let process = |shard| super::process(shards.engine(shard), "engine", Part::ClickHouse);
        let file = world.folder().join("direct.toml");
        // Without fronts, so that the bench forwards nothing.
        let entry = |shard| format!("[[shard]]\nreplicas = [{:?}]\n", shards.url(shard));
        std::fs::write(&file, numbers.clone().map(entry).collect::<String>())?;
        Ok(Self {
            engines: numbers.clone().map(engine).collect::<Result<_>>()?,
            processes: numbers.map(process).collect::<Result<_>>()?,
            file,
        })
    }
}
