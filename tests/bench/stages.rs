//! The cost of each stage from a record to its row, in CPU time and in instructions.
//!
//! One thread, without broker and engine: records of the pinned generator, some of them with a unique
//! user agent. The first records are not measured: they fill the caches.

use std::collections::HashSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use harness::rules;
use records::decode::{decode, framed};
use records::encode::columns::{ClickRow, Columns};
use records::encode::encoded_rows::{EncodeBuffers, EncodedRows};
use records::encode::record_location::RecordLocation;
use records::enrich::Enricher;
use records::enrich::rule_set::RuleSet;
use records::flow::block::{Block, RecordMetadata};
use schemas::{Decoder, Encoder, NEWEST, RawClick, SchemaId};

use super::clicks::Clicks;
use super::workload::Workload;
use harness::seeded_random::SeededRandom;

/// The stage that a separate process runs, to count its instructions.
pub const VARIABLE: &str = "BENCH_STAGE";
/// Clicks before the measurement.
const BEFORE: usize = 60_000;
/// Measured clicks.
pub const MEASURED: usize = 100_000;
/// Clicks whose instructions are counted, which is fifty times slower than their run.
const COUNTED: usize = 20_000;
/// Records of one block.
const BLOCK: usize = 10_000;
const LOGGED_AT_MS: i64 = 1_749_100_000_000;

/// Records, and the share of new user agents.
pub struct Records {
    /// Records before the measurement.
    pub before: Vec<Vec<u8>>,
    /// Measured records.
    pub measured: Vec<Vec<u8>>,
    /// Share of measured records with a new user agent.
    pub unseen: f64,
}

/// The last stage that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Decodes the click.
    Decode,
    /// Enriches the click.
    Enrich,
    /// Encodes the rows for the insert.
    Encode,
}

/// All stages, in order.
pub const STAGES: [(Stage, &str); 3] =
    [(Stage::Decode, "decode"), (Stage::Enrich, "enrich"), (Stage::Encode, "encode")];

impl Records {
    /// Those of a workload.
    pub fn new(workload: Workload) -> Result<Self> {
        let encoder = Encoder::new(SchemaId(1));
        let mut clicks = Clicks::of(workload.profile(), 3_000_000);
        let (mut random, mut seen) = (SeededRandom::new(5), HashSet::new());
        let (mut records, mut unseen) = (Vec::with_capacity(BEFORE + MEASURED), 0);
        for number in 0..BEFORE + MEASURED {
            let mut click: RawClick<'_> = clicks.next();
            let agent = fresh_agent(number);
            if random.in_1000(workload.fresh()) {
                click.user_agent = Some(&agent);
            }
            let is_new = seen.insert(click.user_agent.map(str::to_owned));
            unseen += u64::from(is_new && number >= BEFORE);
            let mut value = Vec::new();
            encoder.encode(&click, &mut value)?;
            records.push(value);
        }
        let measured = records.split_off(BEFORE);
        Ok(Self { before: records, measured, unseen: unseen as f64 / MEASURED as f64 })
    }
}

/// The agent of a phone model that does not exist yet.
fn fresh_agent(number: usize) -> String {
    let (build, model) = (number % 9973, number / 7);
    format!(
        "Mozilla/5.0 (Linux; Android 14; SM-{model}B Build/UP1A.{number}; wv) AppleWebKit/537.36 \
         (KHTML, like Gecko) Version/4.0 Chrome/{}.0.{build}.{} Mobile Safari/537.36",
        100 + number % 38,
        number % 211
    )
}

/// Our way from records to rows.
pub struct Way {
    decoder: Decoder,
    enricher: Enricher,
    buffers: EncodeBuffers,
    block: Block,
}

impl Way {
    /// With these rules and empty caches.
    pub fn new(rules: &Arc<RuleSet>) -> Result<Self> {
        let enricher = Enricher::new(Arc::clone(rules));
        let (decoder, buffers, block) =
            (Decoder::new(NEWEST)?, EncodeBuffers::default(), Block::default());
        Ok(Self { decoder, enricher, buffers, block })
    }

    /// Processes records up to `stage`; returns a count of bytes that depends on all of the work.
    pub fn take(&mut self, records: &[Vec<u8>], stage: Stage) -> Result<usize> {
        let mut sum = 0;
        for part in records.chunks(BLOCK) {
            self.block.clear();
            for (offset, value) in (0..).zip(part) {
                let metadata =
                    RecordMetadata { partition: 0, offset, epoch: 1, logged_at_ms: LOGGED_AT_MS };
                self.block.push(metadata, None, Some(value), std::iter::empty());
            }
            let mut columns = Columns::for_rows(part.len());
            for record in self.block.records() {
                let (_, datum) = framed(record)?;
                let click = decode(&self.decoder, datum, LOGGED_AT_MS)?;
                if stage == Stage::Decode {
                    sum += std::hint::black_box(&click).slug.len();
                    continue;
                }
                let enriched = self.enricher.enrich(&click);
                let row = ClickRow::new(&click, &enriched, location(record.offset()));
                match stage {
                    Stage::Encode => columns.push(&row),
                    _ => sum += std::hint::black_box(&row).channel.len(),
                }
            }
            if stage == Stage::Encode {
                sum += EncodedRows::encode(&mut columns, &mut self.buffers)?.bytes();
            }
        }
        Ok(sum)
    }
}

/// The location of a record.
pub fn location(offset: i64) -> RecordLocation<'static> {
    let (topic, trace_id) = ("clicks.raw.v1", [0; 16]);
    RecordLocation { topic, partition: 0, offset, logged_at_ms: LOGGED_AT_MS, trace_id }
}

/// The CPU time of this thread, which does not include the time of other threads.
pub fn thread_time() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let ns = text.split_whitespace().next().context("schedstat")?.parse()?;
    Ok(Duration::from_nanos(ns))
}

/// Instructions per click in each stage; none without `valgrind`.
pub fn instructions(workload: Workload) -> Result<Option<[f64; 3]>> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Ok(None);
    }
    let mut upto = Vec::new();
    for (_, name) in [(Stage::Decode, "none")].iter().chain(&STAGES) {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        command.arg(std::env::current_exe()?).env(VARIABLE, format!("{name} {}", workload.line()));
        let output = command.output().context("valgrind")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "valgrind: {said}");
        let count = said.lines().find_map(|line| line.split_once("Collected : "));
        let (_, count) = count.with_context(|| format!("no count in: {said}"))?;
        upto.push(count.trim().parse::<f64>()?);
    }
    let each = |stage: usize| (upto[stage + 1] - upto[stage]) / COUNTED as f64;
    Ok(Some([each(0), each(1), each(2)]))
}

/// Runs one stage only, after the setup that all stages share.
pub fn alone(what: &str) -> Result<()> {
    let (name, line) = what.split_once(' ').context("a stage and a line")?;
    let workload = Workload::ALL.into_iter().find(|workload| workload.line() == line);
    let workload = workload.with_context(|| format!("{line} is no line of enrichment"))?;
    let stage = match name {
        "none" => None,
        _ => match STAGES.iter().find(|(_, own)| *own == name) {
            Some((stage, _)) => Some(*stage),
            None => bail!("{name} is no stage"),
        },
    };
    let records = Records::new(workload)?;
    let mut way = Way::new(&rules::pinned())?;
    way.take(&records.before, Stage::Encode)?;
    if let Some(stage) = stage {
        std::hint::black_box(way.take(&records.measured[..COUNTED], stage)?);
    }
    Ok(())
}
