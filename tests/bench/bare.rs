//! The limit of the engine: the rows that our processors wrote, inserted again into an empty table as
//! prepared Native blocks, one insert after another.

use anyhow::Result;

use super::engine::{Batch, Engine};
use super::log::PARTITIONS;
use super::round::{Cpu, Process, Round, rate};

/// Offsets of each partition in a batch: 100,000 rows of all six.
const OFFSETS: u64 = 100_000 / PARTITIONS;

/// The rows of a table, in log order.
pub struct Rows {
    columns: String,
    plain: Vec<Batch>,
    packed: Vec<Batch>,
}

impl Rows {
    /// Reads `all` rows from a database that our processors filled.
    pub fn take(engine: &Engine, database: &str, all: u64) -> Result<Self> {
        let columns = engine.ask(&format!(
            "SELECT arrayStringConcat(groupArray(name), ', ') FROM system.columns \
             WHERE database = '{database}' AND table = 'click_versions' AND name != 'ingested_at'"
        ))?;
        let mut rows = Self { columns, plain: Vec::new(), packed: Vec::new() };
        let end = engine
            .number(&format!("SELECT max(kafka_offset) + 1 FROM {database}.click_versions"))?;
        for first in (0..end).step_by(usize::try_from(OFFSETS)?) {
            let sql = format!(
                "SELECT {} FROM click_versions \
                 WHERE kafka_offset >= {first} AND kafka_offset < {first} + {OFFSETS} \
                 ORDER BY kafka_offset, kafka_partition FORMAT Native \
                 SETTINGS max_block_size = 200000, preferred_block_size_bytes = 0",
                rows.columns
            );
            for (packed, batches) in [(false, &mut rows.plain), (true, &mut rows.packed)] {
                let compress = if packed { "1" } else { "0" };
                let parameters = [("database", database), ("compress", compress)];
                let bytes = engine.send(&parameters, sql.clone().into_bytes())?;
                batches.push(Batch { packed, bytes });
            }
        }
        let there = engine.rows(database)?;
        anyhow::ensure!(there == all, "{there} rows, not {all}");
        Ok(rows)
    }
}

/// Inserts them into its own database, into a table with the definition of the one in `model`.
pub fn round(
    engine: &Engine,
    others: &[Process],
    (model, database): (&str, &str),
    rows: &Rows,
    (all, packed): (u64, bool),
) -> Result<Round> {
    engine.ask(&format!("CREATE DATABASE {database}"))?;
    engine.ask(&format!("CREATE TABLE {database}.click_versions AS {model}.click_versions"))?;
    let cpu = Cpu::since_now(others)?;
    let rate = std::thread::scope(|scope| {
        let batches = if packed { &rows.packed } else { &rows.plain };
        let insert =
            || batches.iter().try_for_each(|batch| engine.insert(database, &rows.columns, batch));
        let writing = scope.spawn(insert);
        let rate = rate(all, || engine.rows(database));
        writing.join().expect("an insert does not panic")?;
        rate
    })?;
    engine.calm(database)?;
    Ok(Round { rate, cpu: cpu.a_click(all)?, peak_mib: 0.0 })
}
