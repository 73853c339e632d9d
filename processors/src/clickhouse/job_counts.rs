//! The number of jobs by kind and state.

use std::time::Duration;

use broker::ServerError;

use crate::clickhouse::server::{Server, within};
use crate::jobs::claim_rules::SILENT_AFTER_US;
use crate::jobs::job::JobState;
use crate::jobs::skipped_gap::{GAP, UNSTARTED_AFTER_US};
use crate::metrics::held_jobs::{JobCounts, OPEN_GAP, SILENT};

/// Bounds a query.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Counts the jobs. One that a process should work on, and whose last report is 15 s old, is silent. One of a
/// skip that was cancelled or has failed, or was planned an hour ago and not started, has left an open gap.
///
/// # Errors
/// The server's refusal; retryable while it does not answer.
pub(crate) async fn job_counts(server: &Server) -> Result<JobCounts, ServerError> {
    let client = server.client();
    let list = |states: &[JobState]| {
        let names: Vec<_> = states.iter().map(|state| format!("'{state}'")).collect();
        names.join(", ")
    };
    let working = list(&[JobState::Planning, JobState::Running]);
    let ended = list(&[JobState::Cancelled, JobState::Failed]);
    let planned = JobState::Planned;
    let sql = format!(
        "SELECT toString(kind), multiIf(state IN ({working}) AND \
         updated_at < now64(6) - INTERVAL {SILENT_AFTER_US} MICROSECOND, '{SILENT}', \
         mapContains(counts, '{GAP}') AND (state IN ({ended}) OR state = '{planned}' AND \
         updated_at < now64(6) - INTERVAL {UNSTARTED_AFTER_US} MICROSECOND), '{OPEN_GAP}', toString(state)) AS shown, \
         count() FROM job_versions FINAL GROUP BY kind, shown"
    );
    let rows = within(TIMEOUT, client.query(&sql).fetch_all::<(String, String, u64)>()).await?;
    Ok(rows.into_iter().map(|(kind, state, jobs)| ((kind, state), jobs)).collect())
}
