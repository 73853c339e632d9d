//! The row of the table `cluster_layout`: which shard a server holds, of which layout.

use std::time::Duration;

use broker::ServerError;
use clickhouse::Row;
use serde::Deserialize;

use crate::clickhouse::migrations::{statements_of, table_exists};
use crate::clickhouse::server::{Server, in_time, server_error};
use crate::clickhouse::sql_text::literal;
use crate::shards::shard_layout::ShardLayout;

const MIGRATION: &str = "0017_cluster_layout";
/// Bounds [`check`].
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// The shard of one server. A single server has no row.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub(crate) struct LayoutRow {
    /// Number of its shard, from 1.
    pub(crate) shard: u32,
    /// Number of shards.
    pub(crate) shards: u32,
    /// Weights of the shards in their order, such as `1,1,2`.
    pub(crate) weights: String,
}

impl LayoutRow {
    /// The row of a server that holds this shard; `None` where one shard holds all clicks.
    #[expect(clippy::expect_used, reason = "the shards come from a file that a person writes")]
    pub(crate) fn of(layout: &ShardLayout, shard: u32) -> Option<Self> {
        let shards = u32::try_from(layout.weights().len()).expect("fewer shards than 2^32");
        let row = Self { shard, shards, weights: layout.text() };
        (!layout.is_single()).then_some(row)
    }

    /// The statement that stores it.
    pub(crate) fn statement(&self) -> String {
        let Self { shard, shards, weights } = self;
        let weights = literal(weights);
        format!(
            "INSERT INTO cluster_layout (shard, shards, weights) VALUES ({shard}, {shards}, {weights})"
        )
    }
}

impl std::fmt::Display for LayoutRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { shard, shards, weights } = self;
        write!(f, "shard {shard} of {shards} with the weights {weights}")
    }
}

/// The rows of a server; more than one is a contradiction. Empty without the table.
///
/// # Errors
/// The server's refusal. A missing database is not an error.
pub(crate) async fn stored(server: &Server) -> Result<Vec<LayoutRow>, ServerError> {
    if !table_exists(server, "cluster_layout").await? {
        return Ok(Vec::new());
    }
    let client = server.client();
    let query = client.query(
        "SELECT DISTINCT shard, shards, weights FROM cluster_layout ORDER BY shard, shards, weights",
    );
    query.fetch_all().await.map_err(server_error)
}

/// Compares what a server states with the layout of the settings. It costs a query, and none where there is one shard.
///
/// # Errors
/// The server states another shard; or its refusal, retryable while it does not answer.
pub(crate) async fn check(
    server: &Server,
    layout: &ShardLayout,
    shard: u32,
) -> Result<(), ServerError> {
    let expected = LayoutRow::of(layout, shard);
    if expected.is_none() {
        return Ok(());
    }
    let stored = in_time(CHECK_TIMEOUT, stored(server)).await?;
    if stored.iter().eq(&expected) {
        return Ok(());
    }
    let text = |rows: &[LayoutRow]| match rows {
        [] => "of no shard".to_owned(),
        rows => rows.iter().map(LayoutRow::to_string).collect::<Vec<_>>().join(" and "),
    };
    let (is, should) = (text(&stored), text(expected.as_slice()));
    let text = format!(
        "the server is {is} by its table cluster_layout, and {should} by CLICKHOUSE_SHARDS: correct the file, or run \
         `processors setup` for a new server"
    );
    Err(ServerError::fatal("cluster_layout", text))
}

/// Whether a server holds a click.
///
/// # Errors
/// Likewise.
pub(crate) async fn has_clicks(server: &Server) -> Result<bool, ServerError> {
    if !table_exists(server, "click_versions").await? {
        return Ok(false);
    }
    let client = server.client();
    let query = client.query("SELECT count() FROM (SELECT 1 FROM click_versions LIMIT 1)");
    let clicks: u64 = query.fetch_one().await.map_err(server_error)?;
    Ok(clicks > 0)
}

/// Replaces the rows of a server, whose database exists. It comes before the first table of clicks: a replica that
/// ClickHouse fills has clicks at once, and clicks without a row are those of a single server.
///
/// # Errors
/// The server's refusal.
pub(crate) async fn store(server: &Server, row: Option<&LayoutRow>) -> Result<(), ServerError> {
    let client = server.client();
    let mut statements: Vec<_> =
        statements_of(MIGRATION).map(|statement| statement.replace('?', "??")).collect();
    statements.push("TRUNCATE TABLE cluster_layout".to_owned());
    statements.extend(row.map(LayoutRow::statement));
    for statement in statements {
        client.query(&statement).execute().await.map_err(server_error)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shard_has_no_row_and_several_have_number_and_weights() {
        assert_eq!(LayoutRow::of(&ShardLayout::new(vec![3]), 1), None);
        let row = LayoutRow::of(&ShardLayout::new(vec![1, 1, 2]), 3).unwrap();
        assert_eq!(row.to_string(), "shard 3 of 3 with the weights 1,1,2");
        assert_eq!(
            row.statement(),
            "INSERT INTO cluster_layout (shard, shards, weights) VALUES (3, 3, '1,1,2')"
        );
    }

    #[test]
    fn its_table_is_created_by_its_migration() {
        let statements: Vec<_> = statements_of(MIGRATION).collect();
        assert!(
            matches!(statements.as_slice(), [one] if one.contains("CREATE TABLE IF NOT EXISTS cluster_layout"))
        );
    }
}
