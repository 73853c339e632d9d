//! Cancels a job: asks its process to stop, or marks the job cancelled where no process works on it.

use std::time::Duration;

use broker::ServerError;

use crate::clickhouse::job_table;
use crate::clickhouse::server::Server;
use crate::jobs::claim_rules::is_silent;
use crate::jobs::job::{Job, StoredJob};
use crate::jobs::job_request::JobRequest;
use crate::jobs::running_job;
use crate::jobs::skipped_gap::GAP;

/// How long a cancellation waits for the process.
const WAIT_MAX: Duration = Duration::from_secs(5);
const POLL_EVERY: Duration = Duration::from_millis(250);

/// Cancels a job, and returns its newest version: it has ended, or its process did not stop within five
/// seconds. A job that has ended stays as it is.
///
/// # Errors
/// No job has the id (`job_unknown`), another process resumes it at this moment (`job_running`), or the
/// server's refusal.
pub async fn cancel(server: &Server, id: &str, actor: &str) -> Result<Job, ServerError> {
    let StoredJob { job, now_us } = job_table::job(server, id).await?;
    if job.state.has_ended() {
        return Ok(job);
    }
    if !job.state.has_process() {
        let message = format!("cancelled by {actor:?} before it ran");
        return running_job::cancel_silent(server, id, message, None).await;
    }
    if is_silent(&job, now_us) {
        let message = format!("cancelled by {actor:?}: process {} had ended", job.host);
        return running_job::cancel_silent(server, id, message, None).await;
    }
    job_table::add_request(server, id, JobRequest::Cancel, actor).await?;
    let ended = async {
        loop {
            let StoredJob { job, .. } = job_table::report(server, id).await?;
            if job.state.has_ended() {
                return Ok(job);
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    };
    match tokio::time::timeout(WAIT_MAX, ended).await {
        Ok(ended) => ended,
        Err(_) => Ok(job_table::job(server, id).await?.job),
    }
}

/// Marks the job of a skip cancelled, and its gap closed: live processing, or another replay, reads the offsets.
///
/// # Errors
/// No job has the id (`job_unknown`), it is done (`job_ended`), a process works on it (`job_running`), or the
/// server's refusal.
pub(crate) async fn close_gap(server: &Server, id: &str, actor: &str) -> Result<Job, ServerError> {
    let message = format!("cancelled by {actor:?}, and its gap is closed");
    running_job::cancel_silent(server, id, message, Some(GAP)).await
}
