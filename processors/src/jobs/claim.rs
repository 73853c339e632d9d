//! Claims a job for this process; the rules and their bound are in [`crate::jobs::claim_rules`].

use broker::ServerError;

use crate::clickhouse::job_table;
use crate::clickhouse::server::Server;
use crate::clickhouse::server_clock;
use crate::jobs::claim_rules::{self, SETTLE};
use crate::jobs::job::{Job, JobState, StoredJob};

/// The version that a process writes to claim a job.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    /// Random number of the process.
    pub owner: u32,
    /// Host and process.
    pub host: String,
    /// State that the job then has.
    pub state: JobState,
    /// Why, where the state is an end.
    pub message: String,
    /// A count that the job then no longer has.
    pub forget: Option<&'static str>,
}

/// Claims a job, and returns it as stored. Takes [`SETTLE`] longer than four requests to the server.
///
/// # Errors
/// No job has the id (`job_unknown`), it is done (`job_ended`), another process works on it or claims it
/// (`job_running`), or the server's refusal.
pub(super) async fn claim(server: &Server, id: &str, claim: Claim) -> Result<Job, ServerError> {
    let StoredJob { job, now_us: read_us } = job_table::job(server, id).await?;
    claim_rules::may_resume(&job, read_us)?;
    job_table::keep_plan(server, id).await?;
    let mut claimed = job;
    claimed.version = claimed.version.next(claim.owner);
    claimed.host = claim.host;
    claimed.state = claim.state;
    claimed.message = claim.message;
    if let Some(name) = claim.forget {
        claimed.counts.remove(name);
    }
    job_table::add_version(server, &claimed).await?;
    let stored_us = server_clock::now_us(server).await?;
    if !claim_rules::was_in_time(read_us, stored_us) {
        let text = format!("to claim job {id} took longer than {SETTLE:?}: repeat this command");
        return Err(ServerError::retryable("job_running", text));
    }
    tokio::time::sleep(SETTLE).await;
    let StoredJob { job: newest, now_us } = job_table::job(server, id).await?;
    if newest.version != claimed.version {
        return Err(claim_rules::running(&newest, now_us));
    }
    Ok(newest)
}
