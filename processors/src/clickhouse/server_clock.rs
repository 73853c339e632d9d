//! The clock of the server.

use std::time::Duration;

use broker::ServerError;

use crate::clickhouse::server::{Server, within};

/// Bounds the question.
const TIMEOUT: Duration = Duration::from_secs(4);

/// What it shows, microseconds since 1970.
///
/// # Errors
/// The server's refusal; retryable while it does not answer.
pub async fn now_us(server: &Server) -> Result<i64, ServerError> {
    let client = server.client();
    within(TIMEOUT, client.query("SELECT toUnixTimestamp64Micro(now64(6))").fetch_one::<i64>())
        .await
}

/// The same in milliseconds.
///
/// # Errors
/// As [`now_us`].
pub async fn now_ms(server: &Server) -> Result<i64, ServerError> {
    Ok(now_us(server).await? / 1_000)
}

/// What it shows, or `own_ms` of this host if that is earlier.
///
/// # Errors
/// As [`now_ms`].
pub async fn earlier_ms(server: &Server, own_ms: i64) -> Result<i64, ServerError> {
    Ok(now_ms(server).await?.min(own_ms))
}
