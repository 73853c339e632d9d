//! What became of the dead letters that a job selected.

use broker::ServerError;
use clickhouse::Row;
use records::dead_letters::state::DeadLetterState;
use serde::Deserialize;

use crate::clickhouse::origin_columns::KEY;
use crate::clickhouse::redrive_queries::state;
use crate::clickhouse::server::{Server, server_error};
use crate::clickhouse::sql_text::quoted;

/// What a job did with the dead letters that it selected.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct JobCount {
    /// Name of the event.
    pub event: String,
    /// Of a dead letter that was not sent: its cause.
    pub cause: String,
    /// Dead letters.
    pub letters: u64,
}

/// Counts the dead letters of a job by what the job did with them. One that was sent, and one that was not,
/// has one row of the last event only.
///
/// # Errors
/// The server's refusal.
pub async fn counts_of_job(server: &Server, job: &str) -> Result<Vec<JobCount>, ServerError> {
    let text = format!(
        "SELECT toString(last.1) AS event, last.2 AS cause, count() AS letters FROM \
         (SELECT argMax((kind, if(kind = 'skipped', splitByString(': ', reason)[1], '')), at) AS last \
         FROM dead_letter_events WHERE job = {} AND kind IN ('selected', 'sent', 'skipped', 'parked') \
         GROUP BY {KEY}) GROUP BY event, cause ORDER BY event, cause",
        quoted(job)
    );
    server.client().query_raw(&text).fetch_all().await.map_err(server_error)
}

/// Dead letters that a job sent, by what became of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeCount {
    /// State now.
    pub state: DeadLetterState,
    /// Group now.
    pub group: String,
    /// Dead letters.
    pub letters: u64,
}

/// Counts the dead letters that a job sent by state and group.
///
/// # Errors
/// The server's refusal.
pub async fn outcome(server: &Server, job: &str) -> Result<Vec<OutcomeCount>, ServerError> {
    let text = format!(
        "SELECT toString(state) AS state_name, toString(group_id) AS own_group, count() AS letters \
         FROM dead_letters WHERE ({KEY}) IN \
         (SELECT {KEY} FROM dead_letter_events WHERE job = {} AND kind = 'sent') \
         GROUP BY state_name, own_group ORDER BY letters DESC, own_group",
        quoted(job)
    );
    let client = server.client();
    let query = client.query_raw(&text).fetch_all::<(String, String, u64)>();
    let rows = query.await.map_err(server_error)?.into_iter();
    rows.map(|(name, group, letters)| Ok(OutcomeCount { state: state(&name)?, group, letters }))
        .collect()
}
