//! The number of dead letters in each state, by code.

use std::time::Duration;

use broker::ServerError;
use clickhouse::Row;
use serde::Deserialize;

use crate::clickhouse::server::{Server, within};

/// Bounds a query.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Bounds of the count at the server: threads, which inserts need; memory, 1 GiB (a million dead letters
/// take 400 MiB).
const BOUNDS: [(&str, &str); 2] = [("max_threads", "1"), ("max_memory_usage", "1073741824")];

/// Dead letters of one code in one state.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct HeldDeadLetters {
    /// Error code.
    pub error_code: String,
    /// State, as the view names it.
    pub state_name: String,
    /// Number of dead letters.
    pub letters: u64,
}

/// Rows of both tables that the view reads: when they are the same, so are the counts, unless a merge has
/// removed as many rows as were inserted. The server knows it without reading the tables.
///
/// # Errors
/// The server's refusal; retryable while it does not answer.
pub async fn sizes(server: &Server) -> Result<(u64, u64), ServerError> {
    let client = server.client();
    let query = client.query(
        "SELECT assumeNotNull((SELECT count() FROM dead_letter_versions)), \
         assumeNotNull((SELECT count() FROM dead_letter_events))",
    );
    within(TIMEOUT, query.fetch_one()).await
}

/// Counts the dead letters of the view, within bounds of time, threads and memory.
///
/// # Errors
/// The server's refusal; retryable while it does not answer.
pub async fn held(server: &Server) -> Result<Vec<HeldDeadLetters>, ServerError> {
    held_within(server, TIMEOUT).await
}

/// As [`held`], within `time`.
///
/// # Errors
/// As [`held`].
pub async fn held_within(
    server: &Server,
    time: Duration,
) -> Result<Vec<HeldDeadLetters>, ServerError> {
    // The server would run the query of a client that no longer waits to its end.
    let mut client = server.client().with_setting("max_execution_time", time.as_secs().to_string());
    for (name, value) in BOUNDS {
        client = client.with_setting(name, value);
    }
    let query = client.query(
        "SELECT toString(code) AS error_code, toString(state) AS state_name, count() AS letters \
         FROM dead_letters GROUP BY error_code, state_name ORDER BY error_code, state_name",
    );
    within(time, query.fetch_all()).await
}
