//! All lines that need the backlog of one profile: our processors and the baselines process the same log in
//! turn.

use anyhow::{Context as _, Result};
use harness::World;

use super::clicks::Clicks;
use super::engine::Engine;
use super::plan::{BACKLOG, BACKLOG_WIDE, Plan};
use super::profile::Profile;
use super::report::{faster, line, median, rate, rates};
use super::round::{Process, Round};
use super::{bare, kafka_engine, log, ours, size};

/// Fixed baselines; those of CPU time and bytes hold for both profiles.
const CPU_US: f64 = 2.5;
const BYTES: f64 = 64.0;
const RSS_MB: f64 = 256.0;
const RSS_MB_WIDE: f64 = 384.0;

/// One log and the rounds on it.
pub struct Backlog<'r> {
    plan: &'r Plan,
    profile: &'static Profile,
    world: World,
    engine: Engine,
    /// Engine and broker.
    others: [Process; 2],
    ours: Vec<Round>,
    kafka_engine: KafkaEngine,
    bare: Bare,
}

/// Rounds of the Kafka engine: consumers that write together, and apart.
#[derive(Default)]
struct KafkaEngine {
    together: Vec<Round>,
    apart: Vec<Round>,
}

/// Rounds of the bare insert.
#[derive(Default)]
struct Bare {
    rows: Option<bare::Rows>,
    plain: Vec<Round>,
    compressed: Vec<Round>,
}

impl<'r> Backlog<'r> {
    /// Writes the clicks of a profile into the log.
    pub fn write(
        plan: &'r Plan,
        profile: &'static Profile,
        world: World,
        others: [Process; 2],
    ) -> Result<Self> {
        let engine = Engine::of(&world.backends)?;
        // For the topic; each round uses its own database.
        ours::setup(&world, "unused");
        log::write_clicks(&world, Clicks::of(profile, plan.clicks), plan.clicks)?;
        plan.report(&format!("{} clicks are in the log", plan.clicks));
        let (ours, kafka_engine, bare) = (Vec::new(), KafkaEngine::default(), Bare::default());
        Ok(Self { plan, profile, world, engine, others, ours, kafka_engine, bare })
    }

    /// The name of a line for this profile, if there is one and it is selected.
    fn wants(&self, line: &str) -> Option<String> {
        let name = format!("{line}{}", self.profile.suffix);
        let exists = [&BACKLOG[..], &BACKLOG_WIDE].concat().contains(&name.as_str());
        (exists && self.plan.wants(&name)).then_some(name)
    }

    /// Runs all selected rounds and prints their results.
    pub fn run(mut self) -> Result<()> {
        let rated = ["backlog_vs_kafka_engine", "backlog_vs_insert_limit", "cpu_us_per_click"];
        let rounds =
            if rated.iter().any(|name| self.wants(name).is_some()) { self.plan.rounds } else { 1 };
        for number in 0..rounds {
            let database = format!("ours_{number}");
            self.ours(&database, number == 0)?;
            if self.wants("backlog_vs_kafka_engine").is_some() {
                self.kafka_engine(&database, number)?;
            }
            if self.wants("backlog_vs_insert_limit").is_some() {
                self.bare(&database)?;
            }
            if number == 0
                && let Some(name) = self.wants("bytes_per_click")
            {
                let bytes = size::bytes_a_click(&self.engine, &database)?;
                println!("{}", line(&name, bytes, BYTES));
            }
            self.forget(&database)?;
        }
        self.print();
        Ok(())
    }

    fn ours(&mut self, database: &str, first: bool) -> Result<()> {
        let what = (self.plan.clicks, self.plan.profiled && first);
        let round = ours::backlog(&self.world, &self.engine, &self.others, database, what)?;
        self.plan.report(&format!("ours: {round}, peak {:.0} MiB", round.peak_mib));
        self.ours.push(round);
        Ok(())
    }

    /// First round: both modes of the Kafka engine; later rounds: the faster mode.
    fn kafka_engine(&mut self, model: &str, number: u64) -> Result<()> {
        let KafkaEngine { together, apart } = &mut self.kafka_engine;
        let best = number > 0 && rate(apart) > rate(together);
        for (way, rounds) in [(false, together), (true, apart)] {
            if number > 0 && way != best {
                continue;
            }
            let database = format!("baseline_{number}_{}", u8::from(way));
            let (names, what) = ((model, database.as_str()), (self.plan.clicks, way));
            let round = kafka_engine::round(&self.world, &self.engine, &self.others, names, what)?;
            let how = if way { "apart" } else { "together" };
            self.plan.report(&format!("Kafka engine, consumers {how}: {round}"));
            self.engine.ask(&format!("DROP DATABASE {database} SYNC"))?;
            rounds.push(round);
        }
        Ok(())
    }

    fn bare(&mut self, model: &str) -> Result<()> {
        let Bare { rows, plain, compressed } = &mut self.bare;
        if rows.is_none() {
            *rows = Some(bare::Rows::take(&self.engine, model, self.plan.clicks)?);
        }
        let rows = rows.as_ref().context("rows of ours")?;
        for (way, rounds) in [(false, plain), (true, compressed)] {
            let (names, what) = ((model, "bare"), (self.plan.clicks, way));
            let round = bare::round(&self.engine, &self.others, names, rows, what)?;
            let how = if way { "LZ4" } else { "plain" };
            self.plan.report(&format!("bare insert, {how}: {round}"));
            self.engine.ask("DROP DATABASE bare SYNC")?;
            rounds.push(round);
        }
        Ok(())
    }

    fn forget(&self, database: &str) -> Result<()> {
        self.engine.ask(&format!("DROP DATABASE {database} SYNC")).map(drop)
    }

    fn print(&self) {
        let ours = self.ours.as_slice();
        if let Some(name) = self.wants("backlog_vs_kafka_engine") {
            let best = faster(&self.kafka_engine.apart, &self.kafka_engine.together);
            println!("{}", rates(&name, ours, best));
        }
        if let Some(name) = self.wants("backlog_vs_insert_limit") {
            let best = faster(&self.bare.compressed, &self.bare.plain);
            println!("{}", rates(&name, ours, best));
        }
        if let Some(name) = self.wants("cpu_us_per_click") {
            let processors = |round: &Round| {
                round.cpu.iter().find(|cpu| cpu.0 == ours::NAME).map_or(f64::NAN, |cpu| cpu.1)
            };
            let us = median(ours.iter().map(processors));
            println!("{}", line(&name, us, CPU_US));
        }
        if let Some(name) = self.wants("processor_rss_mb") {
            let peak = ours.iter().map(|round| round.peak_mib).fold(0.0, f64::max);
            let bar = if self.profile.suffix.is_empty() { RSS_MB } else { RSS_MB_WIDE };
            println!("{}", line(&name, peak, bar));
        }
    }
}
