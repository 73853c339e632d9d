//! The clicks of one time in the table.

use broker::ServerError;
use clickhouse::Row;
use serde::Deserialize;

use crate::clickhouse::server::{Server, server_error};

/// How many clicks occurred at one microsecond.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct ClicksAt {
    /// How many.
    pub clicks: u64,
    /// Event id of one of them, 32 hexadecimal digits.
    pub example_id: String,
}

/// Counts the clicks that occurred at this time, microseconds since 1970. The table is in the order of
/// times, so that the server reads a few thousand rows.
///
/// # Errors
/// The server's refusal.
pub async fn clicks_at(server: &Server, occurred_at_us: i64) -> Result<ClicksAt, ServerError> {
    let text = format!(
        "SELECT count() AS clicks, lower(hex(any(event_id))) AS example_id FROM clicks \
         WHERE occurred_at = fromUnixTimestamp64Micro(toInt64({occurred_at_us}), 'UTC')"
    );
    server.client().query_raw(&text).fetch_one().await.map_err(server_error)
}
