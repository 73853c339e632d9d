//! Bytes per click on disk after all merges.

use anyhow::Result;

use super::engine::Engine;

/// Merges the table of a database and returns its bytes per click; prints the largest columns.
pub fn bytes_a_click(engine: &Engine, database: &str) -> Result<f64> {
    engine.ask(&format!("OPTIMIZE TABLE {database}.click_versions FINAL"))?;
    let rows = engine.rows(database)?;
    let of = format!("WHERE active AND database = '{database}' AND table = 'click_versions'");
    let bytes = engine.number(&format!("SELECT sum(bytes_on_disk) FROM system.parts {of}"))?;
    let columns = engine.ask(&format!(
        "SELECT column, round(sum(column_data_compressed_bytes + column_marks_bytes) / {rows}, 2) AS size \
         FROM system.parts_columns {of} GROUP BY column ORDER BY size DESC LIMIT 10"
    ))?;
    let columns: Vec<_> = columns.lines().map(|line| line.replace('\t', " ")).collect();
    println!("      {rows} clicks merged, bytes a click: {}", columns.join(", "));
    Ok(bytes as f64 / rows as f64)
}
