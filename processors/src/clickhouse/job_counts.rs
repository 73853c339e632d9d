//! The number of jobs by kind and state.

use std::time::Duration;

use broker::ServerError;

use crate::clickhouse::server::{Server, within};
use crate::jobs::claim_rules::SILENT_AFTER_US;
use crate::jobs::job::JobState;
use crate::metrics::held_jobs::{JobCounts, SILENT};

/// Bounds a query.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Counts the jobs. One that a process should work on, and whose last report is 15 s old, is silent.
///
/// # Errors
/// The server's refusal; retryable while it does not answer.
pub(crate) async fn job_counts(server: &Server) -> Result<JobCounts, ServerError> {
    let client = server.client();
    let working = [JobState::Planning, JobState::Running].map(|state| format!("'{state}'"));
    let sql = format!(
        "SELECT toString(kind), if(state IN ({}) AND updated_at < now64(6) - INTERVAL {SILENT_AFTER_US} \
         MICROSECOND, '{SILENT}', toString(state)) AS shown, count() FROM jobs GROUP BY kind, shown",
        working.join(", ")
    );
    let rows = within(TIMEOUT, client.query(&sql).fetch_all::<(String, String, u64)>()).await?;
    Ok(rows.into_iter().map(|(kind, state, jobs)| ((kind, state), jobs)).collect())
}
