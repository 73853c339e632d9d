//! The tables as the server describes them, for the preflight.

use broker::ServerError;
use clickhouse::Row;
use serde::Deserialize;

use crate::clickhouse::click_table::ClickTable;
use crate::clickhouse::server::{Server, server_error};
use crate::setup::preflight::TableFacts;

/// Whether a row has an insertion time after the server's current time. Each start of `run` sends this
/// query, and the server reads the whole column of a partition. Therefore it reads the partitions of the
/// last three days only: most clicks are inserted soon after they occur.
const ROWS_AHEAD: &str = "SELECT toUInt8(max(ingested_at) > now64(6)) FROM click_versions \
                          WHERE occurred_at >= now64(6) - INTERVAL 3 DAY";

#[derive(Default, Row, Deserialize)]
struct Described {
    uuid: String,
    engine: String,
    engine_full: String,
    partition_key: String,
    sorting_key: String,
}

/// The tables as the server describes them, and the view of the clicks that it holds; empty if they do not exist.
///
/// # Errors
/// The server's refusal. A missing database is not an error.
pub async fn facts(
    server: &Server,
    inserts: &ClickTable,
    view_name: &'static str,
) -> Result<TableFacts, ServerError> {
    let client = server.bare();
    let described: Option<Described> = client
        .query(
            "SELECT toString(uuid) AS uuid, engine, engine_full, partition_key, sorting_key FROM system.tables \
             WHERE database = ? AND name = 'click_versions'",
        )
        .bind(&server.database)
        .fetch_optional()
        .await
        .map_err(server_error)?;
    let Some(described) = described else { return Ok(TableFacts::default()) };
    let columns: Vec<(String, String, String)> = client
        .query(
            "SELECT name, type, default_expression FROM system.columns \
             WHERE database = ? AND table = 'click_versions' ORDER BY position",
        )
        .bind(&server.database)
        .fetch_all()
        .await
        .map_err(server_error)?;
    let view_columns: Vec<String> = client
        .query(
            "SELECT name FROM system.columns WHERE database = ? AND table = ? \
             ORDER BY position",
        )
        .bind(&server.database)
        .bind(view_name)
        .fetch_all()
        .await
        .map_err(server_error)?;
    let view_select: Option<String> = client
        .query("SELECT as_select FROM system.tables WHERE database = ? AND name = ?")
        .bind(&server.database)
        .bind(view_name)
        .fetch_optional()
        .await
        .map_err(server_error)?;
    let ahead: u8 = if columns.iter().any(|(name, ..)| name == "ingested_at") {
        let client = server.client();
        client.query(ROWS_AHEAD).fetch_one().await.map_err(server_error)?
    } else {
        0
    };
    let settings = inserts.settings().await?;
    Ok(TableFacts {
        engine: described.engine,
        engine_full: described.engine_full,
        partition_key: described.partition_key,
        sorting_key: described.sorting_key,
        columns,
        uuid: described.uuid,
        view_name,
        view_columns,
        view_select: view_select.unwrap_or_default(),
        ahead_of_the_clock: ahead == 1,
        settings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_of_insert_times_reads_recent_partitions_only() {
        let (_, condition) = ROWS_AHEAD.split_once(" WHERE ").unwrap();
        // The partition key is `toDate(occurred_at)`.
        assert!(condition.starts_with("occurred_at >= now64(6) - INTERVAL "), "{condition}");
    }
}
