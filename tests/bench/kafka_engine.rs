//! ClickHouse's own Kafka engine as a baseline: it reads the same log into a table with the same keys
//! and settings, with the columns that it can fill, and without enrichment.

use anyhow::{Result, ensure};
use harness::World;

use super::engine::Engine;
use super::round::{Cpu, Process, Round, rate};

/// Columns from the record, with their types in the Kafka table. Plain strings, because the engine
/// makes a block of each record, and a dictionary per block costs as much as the rest of the work.
const FROM_RECORD: [(&str, &str); 23] = [
    ("occurred_at", "DateTime64(6, 'UTC')"),
    ("event_id", "FixedString(16)"),
    ("origin", "String"),
    ("source", "String"),
    ("domain", "String"),
    ("slug", "String"),
    ("query", "String"),
    ("link_id", "String"),
    ("link_version", "UInt32"),
    ("outcome", "String"),
    ("status", "UInt16"),
    ("target_url", "String"),
    ("method", "String"),
    ("scheme", "String"),
    ("http_version", "String"),
    ("client_ip", "String"),
    ("client_ip_policy", "String"),
    ("visitor_id", "FixedString(8)"),
    ("identifiers_stripped", "Bool"),
    ("user_agent", "String"),
    ("referer", "String"),
    ("edge_country", "String"),
    ("latency_us", "UInt32"),
];
/// Columns from the record's location, with their expressions.
const FROM_PLACE: [(&str, &str); 4] = [
    ("kafka_topic", "_topic"),
    ("kafka_partition", "_partition"),
    ("kafka_offset", "_offset"),
    ("logged_at", "_timestamp_ms"),
];

/// The engine's default. Larger blocks were slower: the engine writes one every half second anyway.
const BLOCK: u64 = 65_536;

/// Processes a backlog of `all` clicks into a table like the one in `model`; keeps the database. Two
/// consumers write their blocks together or each `apart`; the faster mode depends on the machine.
pub fn round(
    world: &World,
    engine: &Engine,
    others: &[Process],
    (model, database): (&str, &str),
    (all, apart): (u64, bool),
) -> Result<Round> {
    table(engine, model, database)?;
    let declared: Vec<_> =
        FROM_RECORD.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    engine.ask(&format!(
        "CREATE TABLE {database}.queue ({}) ENGINE = Kafka SETTINGS \
         kafka_broker_list = '{}', kafka_topic_list = '{}', kafka_group_name = '{database}', \
         kafka_format = 'AvroConfluent', format_avro_schema_registry_url = '{}', \
         input_format_avro_null_as_default = 1, kafka_num_consumers = 2, \
         kafka_thread_per_consumer = {}, kafka_flush_interval_ms = 500, \
         kafka_max_block_size = {BLOCK}",
        declared.join(", "),
        world.backends.kafka,
        world.topic,
        world.backends.registry,
        u8::from(apart),
    ))?;
    let taken = FROM_RECORD.iter().map(|(name, _)| match *name {
        // An address and a number in the types of the table.
        "client_ip" => "CAST(toFixedString(if(length(client_ip) = 4, \
             concat(unhex('00000000000000000000ffff'), client_ip), client_ip), 16) AS IPv6) \
             AS client_ip"
            .to_owned(),
        "visitor_id" => "byteSwap(reinterpretAsUInt64(visitor_id)) AS visitor_id".to_owned(),
        name => name.to_owned(),
    });
    let placed = FROM_PLACE.iter().map(|(name, from)| format!("{from} AS {name}"));
    let select: Vec<_> = taken.chain(placed).collect();
    let cpu = Cpu::since_now(others)?;
    engine.ask(&format!(
        "CREATE MATERIALIZED VIEW {database}.feed TO {database}.click_versions AS \
         SELECT {} FROM {database}.queue",
        select.join(", ")
    ))?;
    let rate = rate(all, || engine.rows(database))?;
    engine.calm(database)?;
    let round = Round { rate, cpu: cpu.a_click(all)?, peak_mib: 0.0 };
    same(engine, model, database)?;
    Ok(round)
}

/// Checks that it wrote the same rows as our processors.
fn same(engine: &Engine, model: &str, database: &str) -> Result<()> {
    let names = FROM_RECORD.iter().chain(&FROM_PLACE).map(|(name, _)| *name);
    let names: Vec<_> = names.collect();
    let digest = |database: &str| {
        let names = names.join(", ");
        engine.ask(&format!(
            "SELECT count(), groupBitXor(cityHash64({names})) FROM {database}.click_versions"
        ))
    };
    let (ours, theirs) = (digest(model)?, digest(database)?);
    ensure!(ours == theirs, "the rows of the Kafka engine differ: ours {ours}, its {theirs}");
    Ok(())
}

/// The definition of our table, without the columns that stay empty.
fn table(engine: &Engine, model: &str, database: &str) -> Result<()> {
    engine.ask(&format!("CREATE DATABASE {database}"))?;
    engine.ask(&format!("CREATE TABLE {database}.click_versions AS {model}.click_versions"))?;
    let filled = FROM_RECORD.iter().chain(&FROM_PLACE).map(|(name, _)| *name);
    let kept: Vec<_> = filled.chain(["ingested_at"]).collect();
    let columns = engine.ask(&format!(
        "SELECT name FROM system.columns WHERE database = '{database}' AND table = 'click_versions'"
    ))?;
    let columns: Vec<_> = columns.lines().collect();
    for name in &kept {
        ensure!(columns.contains(name), "the table has no column {name}");
    }
    let empty = columns.iter().filter(|name| !kept.contains(name));
    let drops: Vec<_> = empty.map(|name| format!("DROP COLUMN {name}")).collect();
    engine.ask(&format!("ALTER TABLE {database}.click_versions {}", drops.join(", ")))?;
    Ok(())
}
