//! The clock of the server.

use std::time::Duration;

use broker::ServerError;

use crate::clickhouse::server::{Server, within};

/// Bounds the question.
const TIMEOUT: Duration = Duration::from_secs(4);

/// What it shows, milliseconds since 1970.
///
/// # Errors
/// The server's refusal; retryable while it does not answer.
pub async fn now_ms(server: &Server) -> Result<i64, ServerError> {
    let client = server.client();
    within(TIMEOUT, client.query("SELECT toUnixTimestamp64Milli(now64(3))").fetch_one::<i64>())
        .await
}

/// What it shows, or `own_ms` of this host if that is earlier.
///
/// # Errors
/// As [`now_ms`].
pub async fn earlier_ms(server: &Server, own_ms: i64) -> Result<i64, ServerError> {
    Ok(now_ms(server).await?.min(own_ms))
}
