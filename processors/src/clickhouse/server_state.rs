//! The state of the server and of the tables, for `processors status`. Every query is cheap.

use broker::ServerError;
use clickhouse::Row;
use clickhouse::query::Query;
use serde::Deserialize;

use crate::clickhouse::server::{Server, server_error};
use crate::status::facts::{DiskState, PartsState, ReplicaState};
use crate::status::known_balance::KnownBalance;

/// Bounds of a query at the server, which would run that of a client that no longer waits to its end:
/// seconds, and threads, which inserts need.
const BOUNDS: [(&str, &str); 2] = [("max_execution_time", "2"), ("max_threads", "2")];

fn query(server: &Server, sql: &str) -> Query {
    let client = server.client();
    BOUNDS.iter().fold(client.query(sql), |query, (name, value)| query.with_setting(*name, *value))
}

/// Its version.
///
/// # Errors
/// The server's refusal; retryable while it does not answer.
pub async fn version(server: &Server) -> Result<String, ServerError> {
    query(server, "SELECT version()").fetch_one().await.map_err(server_error)
}

/// Its disks.
///
/// # Errors
/// As [`version`]; the user may lack the right to read `system.disks`.
pub async fn disks(server: &Server) -> Result<Vec<DiskState>, ServerError> {
    let sql =
        "SELECT name, toUInt64(free_space), toUInt64(total_space) FROM system.disks ORDER BY name";
    let rows = query(server, sql).fetch_all::<(String, u64, u64)>().await.map_err(server_error)?;
    let disk = |(name, free, total)| DiskState { name, free, total };
    Ok(rows.into_iter().map(disk).collect())
}

/// The active parts of the database.
///
/// # Errors
/// As [`version`].
pub async fn parts(server: &Server) -> Result<PartsState, ServerError> {
    let limit = |name: &str| {
        let default = "(SELECT value FROM system.merge_tree_settings WHERE name =";
        format!("toUInt64OrZero(assumeNotNull({default} '{name}')))")
    };
    let sql = format!(
        "SELECT toUInt64(sum(parts)), toUInt64(max(parts)), argMax(name, parts), {}, {} FROM \
         (SELECT concat(table, ' ', partition) AS name, count() AS parts FROM system.parts \
         WHERE active AND database = currentDatabase() GROUP BY name)",
        limit("parts_to_delay_insert"),
        limit("parts_to_throw_insert")
    );
    let row = query(server, &sql).fetch_one::<(u64, u64, String, u64, u64)>().await;
    let (all, most, most_in, slow, fail) = row.map_err(server_error)?;
    Ok(PartsState { all, most, most_in, limits: (slow, fail) })
}

/// The replicated tables of the database.
///
/// # Errors
/// As [`version`].
pub async fn replicas(server: &Server) -> Result<ReplicaState, ServerError> {
    let sql = "SELECT toUInt64(count()), toUInt64(countIf(is_readonly)), toUInt64(max(absolute_delay)) \
               FROM system.replicas WHERE database = currentDatabase()";
    let row = query(server, sql).fetch_one::<(u64, u64, u64)>().await.map_err(server_error)?;
    let (tables, read_only, delay_seconds) = row;
    Ok(ReplicaState { tables, read_only, delay_seconds })
}

/// When the newest click of the last day occurred, milliseconds since 1970. A key of which there is a version
/// is visible, so that the view, which is slower, has the same one.
///
/// # Errors
/// As [`version`].
pub async fn newest_click_ms(server: &Server) -> Result<Option<i64>, ServerError> {
    let sql = "SELECT toInt64(toUnixTimestamp64Milli(occurred_at)) FROM click_versions \
               WHERE occurred_at >= now64(6) - INTERVAL 1 DAY ORDER BY occurred_at DESC LIMIT 1";
    query(server, sql).fetch_optional().await.map_err(server_error)
}

/// When a link changed last, milliseconds since 1970.
///
/// # Errors
/// As [`version`].
pub async fn newest_link_ms(server: &Server) -> Result<Option<i64>, ServerError> {
    let sql = "SELECT toInt64(toUnixTimestamp64Milli(changed_at)) FROM link_versions \
               ORDER BY changed_at DESC LIMIT 1";
    query(server, sql).fetch_optional().await.map_err(server_error)
}

#[derive(Row, Deserialize)]
struct BalanceRow {
    state: String,
    newest_state: String,
    newest_code: String,
    age_seconds: i64,
    balanced_until_ms: Option<i64>,
    differences_from_ms: Option<i64>,
}

/// What audits have found of a log; `None`: no verdict is stored.
///
/// # Errors
/// As [`version`].
pub async fn balance(server: &Server, topic: &str) -> Result<Option<KnownBalance>, ServerError> {
    let sql = "SELECT toString(state) AS state, toString(newest_state) AS newest_state, \
               toString(newest_code) AS newest_code, \
               toInt64(dateDiff('second', judged_at, now64(3))) AS age_seconds, \
               toUnixTimestamp64Milli(balanced_until) AS balanced_until_ms, \
               toUnixTimestamp64Milli(differences_from) AS differences_from_ms \
               FROM audit_balance WHERE topic = ?";
    let row = query(server, sql).bind(topic).fetch_optional::<BalanceRow>().await;
    let known = |row: BalanceRow| KnownBalance {
        state: row.state,
        newest_state: row.newest_state,
        newest_code: row.newest_code,
        age_seconds: row.age_seconds,
        balanced_until_ms: row.balanced_until_ms,
        differences_from_ms: row.differences_from_ms,
    };
    row.map(|row| row.map(known)).map_err(server_error)
}
